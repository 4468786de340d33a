"""What a page of captions shows: rows of the keyed sample, what is wrong with each caption, its scores. No formatting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from recap_eval.board import VARIANT
from recap_eval.captions.flags import CUT, NAMES, flags
from recap_eval.captions.pictured import Views
from recap_eval.captions.sample import Drawn, Sample
from recap_eval.data.items import ImageItem
from recap_eval.results import Result, scale_of, unit_of
from recap_eval.tasks.captions import FAMILIES, TWO_WAY

MISSING = "missing"  # said of what has no caption; the others are flags of its text
MORE = 12  # rows a flag beyond the random ones, so that rare flags can be seen
SCORED = {FAMILIES[key].name: FAMILIES[key].primary.label for key in ("clip", "longclip", "judge", "truth")} | {
    family.name: family.primary.label for family in TWO_WAY.values()
}  # tasks whose primary metric is one of single captions, with its label


@dataclass(frozen=True)
class Row:
    """A row of caption files.

    Args:
        name: Its item id.
        image: Its image, or None.
        texts: Its captions by column, None where there is none.
        flags: What is wrong with each.
    """

    name: str
    image: ImageItem | None
    texts: tuple[str | None, ...]
    flags: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Score:
    """A score of single captions of one column.

    Args:
        label: What it is called, with who measured it where that is not the usual one.
        scale: By what it is multiplied where it is shown.
        unit: In what it is.
        values: By item.
    """

    label: str
    scale: float
    unit: str
    values: Mapping[str, float] = field(repr=False)


@dataclass(frozen=True)
class Captions:
    """A page of captions, as it is to be shown.

    Args:
        name: What the files are called.
        columns: The columns' labels.
        revisions: Digests of the columns' captions.
        rows: The rows shown.
        chosen: How many of them are the random ones; the others were added for a flag.
        sample: Rows that they were chosen from.
        total: Rows of the files.
        counts: Captions of the sample by flag, by column.
        scores: Scores by column.
        notes: What a reader must know, a sentence each.
    """

    name: str
    columns: tuple[str, ...]
    revisions: tuple[str, ...]
    rows: tuple[Row, ...]
    chosen: int
    sample: int
    total: int
    counts: tuple[Mapping[str, int], ...]
    scores: tuple[tuple[Score, ...], ...]
    notes: tuple[str, ...] = ()


def rows_with_images(views: Views, cut: Sequence[frozenset[str]]) -> list[Row]:
    """Return the rows of a sample whose images are at hand, in the sample's order.

    Args:
        views: The sample.
        cut: Keys of captions that a limit of tokens cut, by column.
    """
    found = zip(views.names, views.keys, views.images, views.texts, strict=True)
    return [_row(name, image, texts, [key in some for some in cut]) for name, key, image, texts in found]


def rows_of_texts(samples: Sequence[Sample]) -> list[Row]:
    """Return the rows of columns' keyed samples by their texts alone, in the order of the draw; a key that repeats once.

    A sample has no row without a caption, so columns' samples end at different ranks: beyond the least nothing is known.
    """
    by_key = [{one.key: one for one in reversed(some.drawn)} for some in samples]
    end = min((some.drawn[-1].rank for some in samples if not some.whole), default=None)
    keys = sorted({(one.rank, key) for some in by_key for key, one in some.items()})
    return [_drawn(key, by_key) for rank, key in keys if end is None or rank <= end]


def _drawn(key: str, by_key: Sequence[Mapping[str, Drawn]]) -> Row:
    found = [some.get(key) for some in by_key]
    texts = tuple(None if one is None else one.text for one in found)
    return _row(key, None, texts, [one is not None and one.cut for one in found])


def _row(name: str, image: ImageItem | None, texts: tuple[str | None, ...], cut: Sequence[bool]) -> Row:
    """Return a row with its flags: the first column's captions are those that are to replace the second's."""
    originals = (texts[1] if len(texts) > 1 else None, *[None] * (len(texts) - 1))
    told = zip(texts, originals, cut, strict=True)
    return Row(name, image, texts, tuple(_flags(text, original, was) for text, original, was in told))


def _flags(text: str | None, original: str | None, cut: bool) -> tuple[str, ...]:
    return (MISSING,) if text is None or not text.strip() else flags(text, original, CUT if cut else None)


def counted(rows: Sequence[Row], column: int) -> dict[str, int]:
    """Return how many captions of a column have each flag; what none has is left out."""
    found = Counter(name for row in rows for name in row.flags[column])
    return {name: found[name] for name in (MISSING, *NAMES) if found[name]}


def choose(rows: Sequence[Row], n: int) -> list[Row]:
    """Return the first n rows of a sample, and after them up to `MORE` of each flag of each column."""
    taken: Counter[tuple[int, str]] = Counter()
    more = []
    for row in rows[n:]:
        wanted = [(column, name) for column, found in enumerate(row.flags) for name in found if taken[column, name] < MORE]
        if wanted:
            more.append(row)
            taken.update(wanted)
    return [*rows[:n], *more]


def find_scores(results: Sequence[Result], name: str, revision: str) -> tuple[Score, ...]:
    """Return the scores of single captions among results of these very captions.

    Raises:
        DataError: Per-item scores are missing or were changed.
    """
    return tuple(_scores(one for one in results if (one.model, one.record["model"]["revision"]) == (name, revision)))


def _scores(results: Iterator[Result]) -> Iterator[Score]:
    for result in results:
        task, _, who = result.task.partition(VARIANT)
        metric = result.record["task"]["primary"]
        if task not in SCORED or result.partial or metric not in result.record["metrics"]:
            continue
        cell, items = result.record["metrics"][metric], result.items(metric)
        values = dict(zip(items.items, map(float, items.values), strict=True))
        yield Score(f"{SCORED[task]}{f' by {who}' if who else ''}", scale_of(cell), unit_of(cell), values)
