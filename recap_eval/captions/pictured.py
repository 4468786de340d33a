"""A keyed sample of the rows of caption files whose image is at hand: the rows whose keys have the smallest hashes.

So sets of the same keys and images give the same rows, a smaller sample is part of a larger one, and the order of files does
not matter. A row is drawn whether or not it has captions: what a captioner failed on is in the sample of its set too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from recap_eval.captions.count import at_most
from recap_eval.captions.files import KEPT_ON_FAILURE, Wanted, count_rows, read_rows
from recap_eval.captions.image_index import ImageIndex
from recap_eval.captions.options import JOINS
from recap_eval.captions.part import Rows
from recap_eval.captions.sample import STREAM
from recap_eval.captions.scan import Question
from recap_eval.console import progress_bar
from recap_eval.data.digests import Digests, fingerprint
from recap_eval.data.items import ImageItem
from recap_eval.errors import DataError
from recap_eval.hashrand import combine_array, text_hashes

SHOWN = 16  # characters of a digest that tell images apart
Texts = tuple[str | None, ...]


@dataclass(frozen=True)
class Pictured:
    """A row of the sample.

    Args:
        rank: Hash of its key.
        key: Its key.
        texts: Its captions by column, the captions first; None where there is none.
        sha256: Digest of the image as the row states it, or "".
        image: Number of its image.
    """

    rank: int
    key: str
    texts: Texts
    sha256: str
    image: int

    @property
    def order(self) -> tuple[Any, ...]:
        """What rows are sorted by: where keys repeat, by what the rows say and not by where they lie."""
        return self.rank, self.key, tuple(text or "" for text in self.texts), self.sha256, self.image


@dataclass
class Tally:
    """What became of the rows.

    Args:
        rows: Rows looked at.
        nameless: Rows that do not state what is joined on.
        without: Rows that do, and whose image is not at hand.
        example: What the first row states, for messages.
    """

    rows: int = 0
    nameless: int = 0
    without: int = 0
    example: str = ""

    @property
    def joined(self) -> int:
        """Rows whose image is at hand."""
        return self.rows - self.nameless - self.without


@dataclass(frozen=True)
class Views:
    """The rows of a sample with their images.

    Args:
        columns: The columns, the captions first.
        keys: (N) keys.
        images: (N) images.
        digests: (N) digests of the images' bytes.
        stated: (N) digests that the rows state, "" where they state none.
        texts: (N) captions, each by column.
        numbers: (N) the images' numbers, in the order in which they lie.
        on: What was joined on.
        tally: What became of all rows.
    """

    columns: tuple[str, ...]
    keys: list[str]
    images: list[ImageItem]
    digests: list[str]
    stated: list[str]
    texts: list[Texts] = field(repr=False)
    numbers: list[int]
    on: str
    tally: Tally

    def __len__(self) -> int:
        return len(self.keys)

    @cached_property
    def names(self) -> list[str]:
        """(N) item ids: keys, and from the second row of a key on "KEY#2"."""
        seen: dict[str, int] = {}
        found = []
        for key in self.keys:
            seen[key] = seen.get(key, 0) + 1
            found.append(key if seen[key] == 1 else f"{key}#{seen[key]}")
        return found

    @property
    def clusters(self) -> list[str]:
        """(N) what items belong to: rows of one image say the same of it, whatever their keys."""
        return [digest[:SHOWN] for digest in self.digests]

    def first(self, n: int) -> Views:
        """Return the sample of the first n rows, which is that of size n."""
        cut = (self.keys[:n], self.images[:n], self.digests[:n], self.stated[:n], self.texts[:n], self.numbers[:n])
        return Views(self.columns, *cut, self.on, self.tally)

    @cached_property
    def as_stored(self) -> list[int]:
        """(N) places in the order in which the images lie: in another, each would cost a row group of a parquet file."""
        return sorted(range(len(self)), key=self.numbers.__getitem__)

    def column(self, name: str) -> list[str | None]:
        """Return (N) captions of a column, None where there is none."""
        place = self.columns.index(name)
        return [texts[place] for texts in self.texts]

    @property
    def fingerprint(self) -> str:
        """Digest of which rows and images these are, whatever their captions."""
        return fingerprint(self.names, self.digests, [""] * len(self))

    @property
    def differ(self) -> int:
        """Rows of the sample that state another digest than their image has."""
        return sum(bool(said) and said.lower() != known for said, known in zip(self.stated, self.digests, strict=True))

    def facts(self) -> dict[str, float]:
        """Return what became of the rows, for a result."""
        told = {"rows": self.tally.rows, "rows_joined": self.tally.joined, "rows_without_image": self.tally.without}
        told |= {f"rows_without_{self.on.replace('-', '_')}": self.tally.nameless, "sha256_differs": self.differ}
        return {name: float(count) for name, count in told.items()}

    def line(self) -> str:
        """Return what became of the rows in a sentence."""
        tally = self.tally
        told = [f"{tally.joined:,} of {tally.rows:,} rows have theirs at hand, joined by {self.on}"]
        told += [f"{tally.without:,} have not"] if tally.without else []
        told += [f"{tally.nameless:,} state no {self.on}"] if tally.nameless else []
        told += [f"sample of {len(self):,}"]
        told += [f"{self.differ:,} of these state another sha256 than their image has"] if self.differ else []
        return "; ".join(told)


def states_digests(path: Path, question: Question) -> bool:
    """Return whether the rows of a caption file state the sha256 of their images, by its first ones."""
    rows = next(read_rows(path, Wanted(question.columns, question.key, digests=True)), None)
    return rows is not None and rows.sha256 is not None and rows.sha256.null_count < len(rows)


def draw_rows(
    files: Sequence[Path], question: Question, index: ImageIndex, size: int, progress: bool = True
) -> tuple[list[Pictured], Tally]:
    """Walk over caption files and keep the `size` rows of the smallest hashes among those whose image is at hand.

    Memory holds at most twice so many rows, whatever the number of rows and images.

    Raises:
        DataError: A file is damaged, lacks a column, or no row has an image.
    """
    tally, limit = Tally(), np.uint64(2**64 - 1)
    kept: list[Pictured] = []
    for rows in _batches(files, question, progress):
        numbers = _numbers(rows, index, tally)
        ranks = combine_array(text_hashes(rows.keys.to_numpy(zero_copy_only=False)), STREAM)
        places = np.flatnonzero((numbers >= 0) & (ranks <= limit))
        if len(places) > size:
            places = places[ranks[places] <= np.partition(ranks[places], size - 1)[size - 1]]
        kept += _taken(rows, question, places, ranks, numbers)
        if len(kept) >= 2 * size:
            kept = _smallest(kept, size)
            limit = np.uint64(kept[-1].rank)
    if not kept:
        raise _none_joined(files, index, tally)
    return _smallest(kept, size), tally


def _smallest(rows: list[Pictured], size: int) -> list[Pictured]:
    return sorted(rows, key=lambda one: one.order)[:size]


def _batches(files: Sequence[Path], question: Question, progress: bool) -> Iterator[Rows]:
    wanted, left = Wanted(question.columns, question.key, digests=True), question.limit
    counts = [count_rows(path) for path in files]
    total = None if None in counts else sum(count or 0 for count in counts)
    with progress_bar(total, "drawing rows", "row", disable=not progress, unit_scale=True) as bar:  # type: ignore[arg-type]
        for path in files:
            for rows in at_most(read_rows(path, wanted), left):
                yield rows
                left = None if left is None else left - len(rows)
                bar.update(len(rows))
            if left is not None and left <= 0:
                return


def _numbers(rows: Rows, index: ImageIndex, tally: Tally) -> np.ndarray:
    """Return the number of each row's image, -1 where there is none, and count."""
    found = rows.sha256 if index.on == "sha256" else rows.keys
    values = [None] * len(rows) if found is None else found.to_pylist()
    numbers, nameless = index.find(values), sum(not value for value in values)
    tally.rows += len(rows)
    tally.nameless += nameless
    tally.without += int((numbers < 0).sum()) - nameless
    tally.example = tally.example or next((value for value in values if value), "")
    return numbers


def _taken(rows: Rows, question: Question, places: np.ndarray, ranks: np.ndarray, numbers: np.ndarray) -> list[Pictured]:
    texts = [_captions(rows, column, places, question) for column in question.columns]
    stated = [None] * len(places) if rows.sha256 is None else rows.sha256.take(places).to_pylist()
    keys = rows.keys.take(places).to_pylist()
    found = zip(ranks[places].tolist(), keys, zip(*texts, strict=True), stated, numbers[places].tolist(), strict=True)
    return [Pictured(rank, key, each, said or "", number) for rank, key, each, said, number in found]


def _captions(rows: Rows, column: str, places: np.ndarray, question: Question) -> list[str | None]:
    """Return the captions at some places; None where a text is missing or blank, or captioning failed."""
    generated = column == question.column and column != KEPT_ON_FAILURE
    failed = ~rows.ok[places] if generated and rows.ok is not None else np.zeros(len(places), dtype=bool)
    texts = rows.texts[column].take(places).to_pylist()
    return [text if text and text.strip() and not lost else None for text, lost in zip(texts, failed.tolist(), strict=True)]


def _none_joined(files: Sequence[Path], index: ImageIndex, tally: Tally) -> DataError:
    what = f"No row of {files[0]}{' and others' if len(files) > 1 else ''} has an image at hand, joined by {index.on}."
    such = f"Rows' are such as {tally.example}, images' {index.example}." if tally.example else f"The rows state no {index.on}."
    return DataError(what, f"{such} Another way: --join-on {' or '.join(way for way in JOINS if way != index.on)}")


def view(rows: Sequence[Pictured], question: Question, index: ImageIndex, tally: Tally, digests: Digests) -> Views:
    """Return drawn rows with their images, whose bytes are digested.

    Raises:
        DataError: An image cannot be read.
    """
    order = sorted(range(len(rows)), key=lambda place: rows[place].image)
    items = {place: index.source.item(rows[place].image, rows[place].key) for place in order}
    found = dict(zip(order, digests.of(list(items.values())), strict=True))
    places = range(len(rows))
    return Views(
        question.columns, [row.key for row in rows], [items[place] for place in places], [found[place] for place in places],
        [row.sha256 for row in rows], [row.texts for row in rows], [row.image for row in rows], index.on, tally,
    )  # fmt: skip
