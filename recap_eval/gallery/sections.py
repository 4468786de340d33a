"""Which rows of a gallery are worth seeing, and why: a random sample, extremes, differences, what costs a distance most."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from recap_eval.gallery.pairing import all_keys
from recap_eval.gallery.scores import Score
from recap_eval.generate.plan import Key
from recap_eval.generate.sheet import Sheet, item_name
from recap_eval.hashrand import text_key


@dataclass(frozen=True)
class Section:
    """Some rows, and why these.

    Args:
        anchor: Its name in links.
        title: Its title.
        note: How its rows were chosen.
        keys: The rows, in order.
        marked: By row, the models whose images are the reason.
    """

    anchor: str
    title: str
    note: str
    keys: tuple[Key, ...]
    marked: dict[Key, frozenset[int]] = field(default_factory=dict)


def sections(sheets: Sequence[Sheet], scores: Sequence[Score], by: Score | None, n: int) -> list[Section]:
    """Return the sections of a gallery: a random sample, extremes of a score, differences, what costs a distance most.

    Args:
        sheets: The models' images.
        scores: Their scores.
        by: The score whose extremes and differences are shown.
        n: Rows a section.
    """
    keys = all_keys(sheets)
    found = [_sample(keys, n)]
    if by is not None and not by.is_distance:
        found += _extremes(keys, by, n)
    if by is not None and len(by.values) > 1:
        found += _differences(keys, by, n)
    distance = (
        by if by is not None and by.is_distance else next((one for one in scores if one.is_distance and one.values), None)
    )
    return found + (_costs(keys, distance, n) if distance is not None else [])


def _sample(keys: list[Key], n: int) -> Section:
    chosen = sorted(keys, key=lambda key: text_key(item_name(key)))[:n]
    note = (
        f"{len(chosen):,} of {len(keys):,}, drawn by the hash of the prompt's id: the same at every call and for every model."
    )
    return Section("sample", "A random sample", note, tuple(chosen))


def _ranked(keys: list[Key], worth: Callable[[Key], float | None]) -> list[Key]:
    """Return the rows that have a worth, the highest first; of equals the first in order."""
    known = [(found, place) for place, found in enumerate(map(worth, keys)) if found is not None]
    return [keys[place] for _, place in sorted(known, key=lambda one: (-one[0], one[1]))]


def _extremes(keys: list[Key], by: Score, n: int) -> list[Section]:
    models = sorted(by.values)

    def mean(key: Key) -> float | None:
        found = [by.of(model, key) for model in models]
        known = [value for value in found if value is not None]
        return None if len(known) < len(models) else sum(known) / len(known) * (1 if by.upward else -1)

    order = _ranked(keys, mean)
    few = min(n, -(-len(order) // 2))
    if not order:
        return []
    over = "" if len(models) == 1 else f", by the mean over the {len(models)} models that have it"
    note = f"{few:,} of {len(order):,} prompts{over}."
    worst = order[::-1][: min(few, len(order) - few)]
    best = Section("best", f"Best by {by.label}", note, tuple(order[:few]))
    return [best] + (
        [Section("worst", f"Worst by {by.label}", note.replace(f"{few:,}", f"{len(worst):,}", 1), tuple(worst))]
        if worst
        else []
    )


def _differences(keys: list[Key], by: Score, n: int) -> list[Section]:
    models = sorted(by.values)

    def values(key: Key) -> dict[int, float]:
        found = {model: by.of(model, key) for model in models}
        return {model: value for model, value in found.items() if value is not None}

    def spread(key: Key) -> float | None:
        known = values(key).values()
        return max(known) - min(known) if len(known) == len(models) else None

    order = [key for key in _ranked(keys, spread)[:n] if (spread(key) or 0) > 0]
    ends = {
        key: frozenset({max(values(key), key=values(key).__getitem__), min(values(key), key=values(key).__getitem__)})
        for key in order
    }
    note = f"{len(order):,} prompts, by the highest {by.label} less the lowest; both are marked."
    return [Section("differences", "Largest differences between the models", note, tuple(order), ends)] if order else []


def _costs(keys: list[Key], distance: Score, n: int) -> list[Section]:
    pairs = [(value, model, key) for model in distance.values for key in keys if (value := distance.of(model, key)) is not None]
    worst = sorted(pairs, key=lambda one: -one[0] if not distance.upward else one[0])[:n]
    marked: dict[Key, frozenset[int]] = {}
    for _, model, key in worst:
        marked[key] = marked.get(key, frozenset()) | {model}
    note = f"{len(worst):,} of {len(pairs):,} images, those that add most to {distance.label} above its mean; they are marked."
    return [Section("cost", f"What adds most to {distance.label}", note, tuple(marked), marked)] if worst else []
