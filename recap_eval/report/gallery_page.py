"""A gallery as a page: it opens from disk, asks no network and works without JavaScript; prompts are other people's text.

Only images that are shown are opened. Thumbnails lie in the page as data while they are few, else in a folder beside it. Files'
places stay out of it: pages are passed on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recap_eval.errors import DataError
from recap_eval.files import write_text
from recap_eval.gallery.pairing import all_keys
from recap_eval.gallery.scores import Score
from recap_eval.gallery.sections import Section
from recap_eval.gallery.whole import Gallery
from recap_eval.generate.plan import Key
from recap_eval.generate.sheet import Shot, item_name
from recap_eval.report.failures_text import visible
from recap_eval.report.forms import form
from recap_eval.report.html import environment
from recap_eval.report.thumbnails import EMBEDDED, Small, Thumbnail, beside, save, shrink
from recap_eval.tasks.base import PERCENT, SHARE

LONG = 1200  # characters of a prompt that gets a field of its own to scroll in
ALT = 240  # characters of a prompt read out with each of its images
REAL = -1  # the place of the real image in a row, before the models'
Place = tuple[int, Key]


@dataclass(frozen=True)
class Written:
    """What came of a page.

    Args:
        path: The page.
        folder: The folder of its thumbnails; None if they lie in the page.
        shown: Images on it, each once.
        unread: Images that should be on it and cannot be read.
    """

    path: Path
    folder: Path | None
    shown: int
    unread: int


def write_gallery(path: Path, gallery: Gallery) -> Written:
    """Write a gallery's page, and its thumbnails where they are too many for it.

    Raises:
        DataError: A folder cannot be written.
    """
    opened = {place: _open(gallery, place) for place in _places(gallery)}
    smalls = {place: small for place, small in opened.items() if isinstance(small, Small)}
    times = Counter((place, key) for section in gallery.sections for key in section.keys for place in _columns(gallery))
    size = sum(len(small.jpeg) * times[place] for place, small in smalls.items())
    folder = beside(path) if size > EMBEDDED else None
    thumbs = {place: small.embedded for place, small in smalls.items()} if folder is None else save(folder, smalls)
    reasons = {place: why for place, why in opened.items() if isinstance(why, str)}
    write_text(path, _page(gallery, thumbs, reasons))
    return Written(path, folder, len(thumbs), len(reasons))


def _columns(gallery: Gallery) -> list[int]:
    return ([REAL] if gallery.has_real else []) + list(range(len(gallery.sheets)))


def _places(gallery: Gallery) -> Iterator[Place]:
    """Return every image that is there to be shown, each once."""
    for key in dict.fromkeys(key for section in gallery.sections for key in section.keys):
        for place in _columns(gallery):
            shot = None if place == REAL else gallery.sheets[place].shots.get(key)
            if gallery.real_of(key) if place == REAL else shot is not None and shot.sha256 and not shot.blanked:
                yield place, key


def _open(gallery: Gallery, place: Place) -> Small | str:
    """Return a small copy of an image, or why there is none."""
    model, key = place
    item = gallery.real_of(key) if model == REAL else gallery.sheets[model].shots[key]
    assert item is not None
    try:
        payload = item.read_image()
    except DataError as error:
        return error.what if isinstance(item, Shot) else "cannot be read"
    try:
        return shrink(payload, "") or "cannot be read"
    except DataError:
        return "cannot be read"


def _page(gallery: Gallery, thumbs: dict[Place, Thumbnail], reasons: dict[Place, str]) -> str:
    names = [sheet.name for sheet in gallery.sheets]
    notes = list(gallery.notes) + [f"{len(reasons):,} images cannot be shown; each says why."] * bool(reasons)
    page: str = environment().get_template("gallery.html").render(
        names=names, count=_count(gallery), table=_table(gallery), legend=_legend(gallery), notes=notes, facts=_facts(gallery),
        columns=len(_columns(gallery)), sections=[_section(gallery, section, thumbs, reasons) for section in gallery.sections],
    )  # fmt: skip
    return visible(page, keep="\n\t") + "\n"


def _count(gallery: Gallery) -> str:
    keys = all_keys(gallery.sheets)
    prompts = len({key[0] for key in keys})
    several = f", {len(keys):,} images a model" if len(keys) > prompts else ""
    same = "images of one row are of the same prompt and, where nothing else is said, of the same seed"
    return f"{prompts:,} prompts{several}" + (f"; {same}." if len(gallery.sheets) > 1 else ".")


def _table(gallery: Gallery) -> dict[str, Any]:
    rows = [(sheet.name, [_figure(score, model) for score in gallery.scores]) for model, sheet in enumerate(gallery.sheets)]
    units = [", %" if score.unit == SHARE else "" for score in gallery.scores]
    arrows = [" ↑" if score.upward else " ↓" for score in gallery.scores]
    return {
        "head": [score.label + "".join(more) for score, *more in zip(gallery.scores, units, arrows, strict=True)],
        "rows": rows,
    }


def _figure(score: Score, model: int) -> tuple[str, str]:
    """Return the figure of a whole set, and its half-width."""
    found = score.figures.get(model)
    if found is None:
        return "–", ""
    shape = form(score.scale, score.unit, [one.value for one in score.figures.values()])
    return shape.figure(
        found.value
    ), "" if found.low is None or found.high is None else f" ± {shape.figure((found.high - found.low) / 2)}"


def _legend(gallery: Gallery) -> list[str]:
    if not gallery.scores:
        return []
    told = [
        "Above: figures of the whole sets, with half of their 95 % interval. Columns are apart where anything differs in how "
        "they were measured: such figures are not to be compared."
    ]
    if any(score.is_distance and score.values for score in gallery.scores):
        told.append(
            "Of a distance, what stands under an image is how far its linearised value lies above the mean, which is the "
            "distance itself. Without that image it would be lower by about so much over the number of images."
        )
    return told


def _facts(gallery: Gallery) -> list[tuple[str, str]]:
    return [(sheet.name, ", ".join(_told(sheet.facts, sheet.revision, len(sheet.shots)))) for sheet in gallery.sheets]


def _told(facts: dict[str, Any], revision: str, n: int) -> Iterator[str]:
    yield f"{n:,} images"
    if "p_original" in facts:
        yield f"p = {facts['p_original']:g}"
    if "prompts" in facts:
        yield f"prompts {facts['prompts'].get('name', '')}"
    if "sampled" in facts:
        yield f"sampled with {facts['sampled']}"
    yield f"revision {revision[:12]}"


def _section(
    gallery: Gallery, section: Section, thumbs: dict[Place, Thumbnail], reasons: dict[Place, str]
) -> dict[str, Any]:  # fmt: skip
    rows = [_row(gallery, key, section.marked.get(key, frozenset()), thumbs, reasons) for key in section.keys]
    return {"anchor": section.anchor, "title": section.title, "note": section.note, "rows": rows}


def _row(
    gallery: Gallery, key: Key, marked: frozenset[int], thumbs: dict[Place, Thumbnail], reasons: dict[Place, str]
) -> dict[str, Any]:  # fmt: skip
    figures = []
    for place in _columns(gallery):
        lost = reasons.get((place, key)) or _absent(gallery, place, key)
        thumb = thumbs.get((place, key), Thumbnail(None))
        facts = {"who": _who(gallery, place), "marked": place in marked}
        facts |= {"told": _noted(gallery, place, key), "scores": _scores(gallery, place, key), "lost": lost}
        figures.append(facts | {"thumb": thumb, "alt": f"{facts['who']}: {_short(gallery, key)}"})
    return {"id": item_name(key), "prompts": _prompts(gallery, key), "figures": figures}


def _who(gallery: Gallery, place: int) -> str:
    """Return whose an image is; of models that were trained on a mix, at which p."""
    if place == REAL:
        return "real image"
    sheet = gallery.sheets[place]
    return f"{sheet.name} (p = {sheet.facts['p_original']:g})" if "p_original" in sheet.facts else sheet.name


def _absent(gallery: Gallery, place: int, key: Key) -> str:
    """Say why no image is there to be opened."""
    if place == REAL:
        return "no real image"
    shot = gallery.sheets[place].shots.get(key)
    if shot is None:
        return "no image of this prompt"
    if shot.blanked:
        return "blanked by the safety checker"
    return f"failed: {shot.error}" if shot.error else "the file is missing"


def _short(gallery: Gallery, key: Key) -> str:
    prompt = next(sheet.shots[key].prompt for sheet in gallery.sheets if key in sheet.shots)
    return prompt if len(prompt) <= ALT else f"{prompt[:ALT]}…"


def _noted(gallery: Gallery, place: int, key: Key) -> list[str]:
    """Say what sets an image apart from its row: another seed, a prompt that its model cut."""
    shot = None if place == REAL else gallery.sheets[place].shots.get(key)
    if shot is None:
        return []
    seeds = [sheet.shots[key].seed for sheet in gallery.sheets if key in sheet.shots]
    told = [] if shot.seed == seeds[0] else [f"another seed: {shot.seed}" if shot.seed is not None else "seed unknown"]
    return told + [f"prompt cut by the model's {name.replace(':', ' at ')} tokens" for name in shot.cut_by]


def _scores(gallery: Gallery, place: int, key: Key) -> list[tuple[str, str]]:
    found = [(score, score.of(place, key)) for score in gallery.scores]
    return [(score.label, _value(score, value)) for score, value in found if value is not None]


def _value(score: Score, value: float) -> str:
    """Return one image's value: shares in per cent, what it adds to a distance with its sign."""
    if score.unit == SHARE:
        return f"{100 * value:.3g} %"
    if score.is_distance:
        return form(score.scale, score.unit, [one.value for one in score.figures.values()]).signed(value)
    return f"{score.scale * value:.1f}" if score.scale == PERCENT else f"{score.scale * value:.3g}"


def _prompts(gallery: Gallery, key: Key) -> list[dict[str, Any]]:
    """Return a row's prompts, one if all models had the same, each cut where a scorer stopped reading."""
    found: dict[str, list[int]] = {}
    for model, sheet in enumerate(gallery.sheets):
        if key in sheet.shots:
            found.setdefault(sheet.shots[key].prompt, []).append(model)
    return [_prompt(gallery, key, prompt, models, len(found) > 1) for prompt, models in found.items()]


def _prompt(gallery: Gallery, key: Key, prompt: str, models: list[int], several: bool) -> dict[str, Any]:
    found = [gallery.read.get(model, {}).get(item_name(key)) for model in models]
    end, scorer = min([one for one in found if one is not None], default=(len(prompt), ""))
    of = ", ".join(gallery.sheets[model].name for model in models) if several else ""
    facts = {"of": of, "read": prompt[:end] or ("" if prompt else "no prompt is known"), "cut": prompt[end:]}
    return facts | {"scorer": scorer, "long": len(prompt) > LONG}
