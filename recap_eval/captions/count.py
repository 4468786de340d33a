"""One caption file to its surveys, and surveys to bytes and back."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from recap_eval.captions.files import KEPT_ON_FAILURE, Wanted, read_rows
from recap_eval.captions.part import Part, Rows, take_part
from recap_eval.captions.words import Lexicon
from recap_eval.hashrand import text_hashes

if TYPE_CHECKING:
    from recap_eval.captions.scan import Question
    from recap_eval.captions.survey import Survey


class FileCounter:
    """Counts files, one after the other; what it found out about words serves the next file, too, and changes no figure.

    Args:
        question: What is counted.
    """

    def __init__(self, question: Question) -> None:
        self._question, self._lexicon = question, Lexicon()

    def count(self, path: Path, limit: int | None, seen: Callable[[int], None]) -> dict[str, Survey]:
        """Return what a file says, by column.

        Args:
            path: The file.
            limit: Rows looked at, the first ones; None for all.
            seen: Told how many rows every batch had.

        Raises:
            DataError: See `read_rows`.
        """
        surveys, wanted = self._question.surveys(), Wanted(self._question.columns, self._question.key)
        for rows in at_most(read_rows(path, wanted), limit):
            for column, part in self._parts(rows):
                surveys[column].add(part)
            seen(len(rows))
        return surveys

    def _parts(self, rows: Rows) -> Iterator[tuple[str, Part]]:
        self._lexicon.begin()
        hashes = text_hashes(rows.keys.to_numpy(zero_copy_only=False))
        for column in self._question.columns:
            own = column == self._question.column
            original = self._question.against if own else None
            yield column, take_part(rows, hashes, column, original, own and column != KEPT_ON_FAILURE, self._lexicon)


def at_most(batches: Iterator[Rows], limit: int | None) -> Iterator[Rows]:
    """Yield batches up to so many rows, the last one cut; all without a limit."""
    left = limit
    for rows in batches:
        if left is None:
            yield rows
            continue
        yield rows.first(left)
        left -= len(rows)
        if left <= 0:
            return


def pack_surveys(surveys: dict[str, Survey]) -> bytes:
    """Return surveys by column as plain JSON, compressed."""
    buffer = io.BytesIO()
    with gzip.open(buffer, "wt", encoding="utf-8", compresslevel=1) as stream:
        json.dump({column: survey.to_json() for column, survey in surveys.items()}, stream)
    return buffer.getvalue()


def unpack_surveys(packed: bytes, question: Question) -> dict[str, Survey]:
    """Return the surveys that `pack_surveys` was given.

    Raises:
        OSError, EOFError, ValueError, KeyError, TypeError: The bytes are damaged, or answer another question.
    """
    surveys, record = question.surveys(), json.loads(gzip.decompress(packed))
    for column, survey in surveys.items():
        survey.load(record[column])
    return surveys
