"""Joins caption files onto the images of a training set; `recap_eval.captions.joined` does the finding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recap_eval.captions.joined import ANOTHER_DOWNLOAD, Asked, Images, JoinCount, Joined, find_rows
from recap_eval.captions.row_files import list_files
from recap_eval.console import warn
from recap_eval.data.root import default_cache
from recap_eval.errors import DataError, UserError
from recap_eval.hashrand import text_hashes
from recap_train.captions import Texts

JOINS = {"sha256": "json:sha256", "key": "key", "url": "json:url"}  # what of a sample is joined on


@dataclass(frozen=True)
class CaptionSource:
    """Caption files and how they are joined.

    Args:
        files: A parquet file, a folder of them, or a pattern.
        join_on: "sha256", "key" or "url".
        max_unjoined: Most images that may have no row, or several rows that say different things.
    """

    files: str
    join_on: str = "sha256"
    max_unjoined: int = 0


def join(texts: Texts, source: CaptionSource, columns: list[str], cache: Path | None = None) -> Joined:
    """Find the rows of caption files that belong to the images at hand.

    Args:
        texts: The texts beside the images, with what is joined on among them.
        source: The files, and how they are joined.
        columns: The caption columns wanted.
        cache: Where the texts found are kept; the user's cache by default.

    Raises:
        UserError: Unknown `join_on`.
        DataError: Files are unreadable, lack a column, or too many images have no row of their own.
    """
    files = list_files(source.files)
    images = Images(_wanted(texts, source.join_on), _known_digests(texts) if source.join_on == "key" else None)
    joined = find_rows(files, Asked(source.join_on, tuple(columns)), images, (cache or default_cache()) / "joined")
    _judge(joined.count, texts, source)
    return joined


def _wanted(texts: Texts, join_on: str) -> np.ndarray:
    """Return (N,) hashes of what the images are joined on."""
    if join_on not in JOINS:
        raise UserError(f"--join-on {join_on!r} is unknown.", f"Choose one of {', '.join(JOINS)}.")
    values = texts.column(JOINS[join_on])
    without = next((number for number, value in enumerate(values) if not value), None)
    if without is not None:
        others = " or ".join(f"--join-on {name}" for name in JOINS if name != join_on)
        raise DataError(
            f"{texts.where(without)} has no {join_on} in its KEY.json to join captions on.",
            f"Try {others}; key only if the captions were made from this very download.",
        )
    return text_hashes(values)


def _known_digests(texts: Texts) -> np.ndarray | None:
    """Return (N,) hashes of the images' sha256, by which a join on keys is checked; None if there are none."""
    digests = text_hashes(texts.column("json:sha256"))
    if not digests.any():
        warn(f"joined on key, and the shards have no sha256 to check it by. {ANOTHER_DOWNLOAD}")
        return None
    return digests


def _judge(count: JoinCount, texts: Texts, source: CaptionSource) -> None:
    """Stop if too many images have no row of their own; tell of the others."""
    odd = count.unjoined + count.conflicting
    if odd > source.max_unjoined:
        where = texts.where(count.first)
        raise DataError(
            f"{count.unjoined} of {count.images} images have no row in {source.files}, {count.conflicting} have rows that "
            f"differ; the first is {where}.",
            f"Joined on {source.join_on}. Other files, another --join-on, or accept them: --max-unjoined {odd}",
        )
    if odd or count.failed:
        warn(f"captions joined on {source.join_on}: {count.describe()}.")


def read_joined(texts: Texts, source: CaptionSource | None, columns: Sequence[str]) -> Joined | None:
    """Join the caption files, if there are any; see `join`."""
    return None if source is None else join(texts, source, list(columns))
