"""Captions as a page: image, captions side by side, what is wrong with them, their scores. Captions are other people's text.

The page opens from disk, asks no network and is whole without its script, which filters. Files' places stay out of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recap_eval.data.items import ImageItem
from recap_eval.errors import DataError
from recap_eval.files import write_text
from recap_eval.gallery.captions import MISSING, Captions, Row, Score
from recap_eval.report.failures_text import visible
from recap_eval.report.forms import form
from recap_eval.report.html import environment
from recap_eval.report.thumbnails import EMBEDDED, Small, Thumbnail, beside, save, shrink
from recap_eval.tasks.base import PERCENT, SHARE

ALT = 240  # characters of a caption read out with its image
LONG = 1200  # characters of a caption that gets a field of its own to scroll in


@dataclass(frozen=True)
class Written:
    """What came of a page.

    Args:
        path: The page.
        folder: The folder of its thumbnails; None if they lie in the page.
        unread: Images that should be on it and cannot be read.
    """

    path: Path
    folder: Path | None
    unread: int


def write_captions_page(path: Path, captions: Captions) -> Written:
    """Write a page of captions, and its thumbnails where they are too many for it.

    Raises:
        DataError: A folder cannot be written.
    """
    images = {number: row.image for number, row in enumerate(captions.rows) if row.image is not None}
    smalls = {number: small for number, image in images.items() if (small := _small(image)) is not None}
    folder = beside(path) if sum(len(small.jpeg) for small in smalls.values()) > EMBEDDED else None
    thumbs = {number: small.embedded for number, small in smalls.items()} if folder is None else save(folder, smalls)
    write_text(path, _page(captions, thumbs, len(images) - len(smalls)))
    return Written(path, folder, len(images) - len(smalls))


def _small(image: ImageItem) -> Small | None:
    try:
        return shrink(image.read_image(), image.where, image.box)
    except DataError:
        return None


def _page(captions: Captions, thumbs: dict[int, Thumbnail], unread: int) -> str:
    notes = [*captions.notes, *([f"{unread} images cannot be read; a grey field stands for each."] if unread else [])]
    page: str = environment().get_template("captions.html").render(
        name=captions.name, columns=captions.columns, count=_count(captions), notes=notes, facts=_facts(captions),
        sample=captions.sample,
        cards=[_card(captions, number, row, thumbs) for number, row in enumerate(captions.rows)],
    )  # fmt: skip
    return visible(page, keep="\n\t") + "\n"


def named(flag: str) -> str:
    """Return a flag in words."""
    return "no caption" if flag == MISSING else flag.replace("_", " ")


def _count(captions: Captions) -> str:
    more = len(captions.rows) - captions.chosen
    told = f"{captions.chosen:,} rows drawn at random of {captions.total:,}, by the hash of their keys: other captions of "
    told += "the same images show the same rows."
    return told + (f" After them {more:,} more, so that each flag can be seen." if more else "")


def _facts(captions: Captions) -> list[tuple[str, str]]:
    told = zip(captions.columns, captions.revisions, captions.counts, strict=True)
    return [(column, f"{_counts(counts)}; digest of all captions {revision[:12]}") for column, revision, counts in told]


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{named(flag)} {count:,}" for flag, count in counts.items()) or "no flag"


def _card(captions: Captions, number: int, row: Row, thumbs: dict[int, Thumbnail]) -> dict[str, Any]:
    said = zip(captions.columns, row.texts, row.flags, captions.scores, strict=True)
    sides = [
        {"column": column, "text": text, "long": len(text or "") > LONG, "words": len((text or "").split()),
         "flags": [named(flag) for flag in flags if flag != MISSING], "scores": _scores(row, scores)}
        for column, text, flags, scores in said
    ]  # fmt: skip
    marks = [f"{column}:{flag}" for column, flags in enumerate(row.flags) for flag in flags]
    facts: dict[str, Any] = {"name": row.name, "sides": sides, "flags": " ".join(marks), "pictured": row.image is not None}
    facts |= {"thumb": thumbs.get(number, Thumbnail(None))}
    return facts | {"alt": f"Image of {row.name}: {next((text for text in row.texts if text), '')[:ALT]}"}


def _scores(row: Row, scores: tuple[Score, ...]) -> list[tuple[str, str]]:
    return [(score.label, _value(score, score.values[row.name])) for score in scores if row.name in score.values]


def _value(score: Score, value: float) -> str:
    """Return one caption's score: a share in per cent, a cosine × 100, a rating as it is."""
    if score.unit == SHARE and score.scale == PERCENT:
        return f"{PERCENT * value:.0f} %"
    return form(score.scale, score.unit, [max(abs(one) for one in score.values.values())]).figure(value)
