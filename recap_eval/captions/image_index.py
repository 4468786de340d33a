"""Images at hand, found by what a caption's row says of its own: the digest it states, or its key.

In memory are an 8-byte hash and a number an image, so ten million take 160 MB. With n images and m rows some n·m / 2^64 rows
are expected to be taken for another's: 1 in 1,500 for those ten million and the 1.24 billion rows published.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recap_eval.captions.image_source import BLOCK, Source, blocks_of
from recap_eval.console import progress_bar
from recap_eval.data.coco_ids import coco_id
from recap_eval.errors import DataError
from recap_eval.hashrand import text_hashes


@dataclass(frozen=True)
class ImageIndex:
    """Images found by what rows state.

    Args:
        source: The images.
        on: What they are found by; one of `JOINS`.
        hashes: (M,) sorted hashes of it.
        numbers: (M,) which image has each.
        example: It, of one image, for messages.
    """

    source: Source
    on: str
    hashes: np.ndarray
    numbers: np.ndarray
    example: str

    def find(self, values: Sequence[str | None]) -> np.ndarray:
        """Return (N,) numbers of the images that N values name, -1 where there is none."""
        wanted = text_hashes([_form(value, self.on) for value in values])
        places = np.minimum(np.searchsorted(self.hashes, wanted), len(self.hashes) - 1)
        there = (self.hashes[places] == wanted) & np.array([bool(value) for value in values], dtype=bool)
        return np.where(there, self.numbers[places], -1)


def _form(value: str | None, on: str) -> str | None:
    """Return what is compared of a value: a digest in lower case, of a COCO image its id."""
    if value is None or on == "key":
        return value
    return value.lower() if on == "sha256" else str(coco_id(value) or value)


def index_images(source: Source, on: str) -> ImageIndex:
    """Return an index of images.

    Args:
        source: The images.
        on: One of `JOINS`.

    Raises:
        DataError: There are none, one is unreadable, or two share a key.
    """
    hashes, known, example = [np.empty(0, np.uint64)], [np.empty(0, bool)], ""
    values = source.digests() if on == "sha256" else source.keys()
    with progress_bar(len(source), "indexing images", "img", disable=len(source) < BLOCK, unit_scale=True) as bar:
        for block in blocks_of(values):
            example = example or next(filter(None, block), "")
            hashes.append(text_hashes([_form(value, on) for value in block]))
            known.append(np.array([bool(value) for value in block]))
            bar.update(len(block))
    numbers = np.flatnonzero(np.concatenate(known))
    if not len(numbers):
        raise DataError("There is no image to join captions with.", "Name another place: --images PLACE")
    flat = np.concatenate(hashes)[numbers]
    order = np.argsort(flat, kind="stable")
    index = ImageIndex(source, on, flat[order], numbers[order], example)
    if on != "sha256":
        _refuse_twice(index)
    return index


def _refuse_twice(index: ImageIndex) -> None:
    twice = np.flatnonzero(index.hashes[1:] == index.hashes[:-1])
    if len(twice):
        one, two = (index.source.item(int(index.numbers[twice[0] + step]), "").where for step in (0, 1))
        raise DataError(
            f"{len(twice):,} keys name several images; the first: {one} and {two}.",
            "Keep one image a key, or join by what images are, where the captions state it: --join-on sha256",
        )
