"""Caption files to surveys: file by file, each kept when it is done, so that a stopped run goes on and parts of a run meet."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recap_eval.captions import flags
from recap_eval.captions.files import KEPT_ON_FAILURE, Wanted, count_rows, read_rows
from recap_eval.captions.part import Rows, take_part
from recap_eval.captions.survey import VERSION, Survey
from recap_eval.captions.tokens import Tokenizer
from recap_eval.captions.words import Lexicon
from recap_eval.console import progress_bar
from recap_eval.data.items import file_stamp
from recap_eval.errors import DataError
from recap_eval.files import digest_json, replacing

FOLDER = "captions"
SHOWN = 3  # samples shown before anything is counted


@dataclass(frozen=True)
class Question:
    """What is counted.

    Args:
        column: The captions.
        against: The texts that they are to replace, or None.
        key: The column of keys, or None for the usual ones.
        states: Which of `survey.STATES`.
        tokenizers: Whose tokens are counted.
        limit: Rows looked at, of all files together; None for all.
    """

    column: str
    against: str | None = None
    key: str | None = None
    states: tuple[str, ...] = ()
    tokenizers: tuple[Tokenizer, ...] = field(default=(), repr=False)
    limit: int | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns, the captions first."""
        return (self.column,) if self.against is None else (self.column, self.against)

    def surveys(self) -> dict[str, Survey]:
        """Return a survey by column that has seen nothing."""
        return {column: Survey.of(list(self.states), list(self.tokenizers)) for column in self.columns}

    def digest(self, path: Path, rows: int | None) -> str:
        """Return the digest of what is asked of a file, by what of it changes when it does."""
        tokenizers = [[one.name, one.digest] for one in self.tokenizers]
        asked = [VERSION, flags.VERSION, self.column, self.against, self.key, list(self.states), tokenizers, rows]
        return digest_json([*asked, file_stamp(path)])


@dataclass
class Scan:
    """A walk over caption files.

    Args:
        files: The files, in order.
        question: What is counted.
        cache: Where what was counted of each file is kept; None to keep nothing.
        progress: Show a progress bar.
    """

    files: list[Path]
    question: Question
    cache: Path | None = None
    progress: bool = True

    def __post_init__(self) -> None:
        self._lexicon = Lexicon()

    def run(self, shard: tuple[int, int] | None = None) -> dict[str, Survey]:
        """Return what all files say, or those of one part, by column.

        Args:
            shard: Which part of how many, from 0; files are dealt out in turn.

        Raises:
            DataError: A file is damaged, lacks a column, or the same command changed it meanwhile.
        """
        files = self.files if shard is None else self.files[shard[0] :: shard[1]]
        totals, left = self.question.surveys(), self.question.limit
        with _Bar(files, self.progress) as bar:
            for path in files:
                if left is not None and left <= 0:
                    break
                found = self._of_file(path, left, bar)
                for column, survey in found.items():
                    totals[column].merge(survey)
                if left is not None:
                    left -= found[self.question.column].content.rows
        return totals

    def _of_file(self, path: Path, rows: int | None, bar: _Bar) -> dict[str, Survey]:
        kept = None if self.cache is None else self.cache / FOLDER / f"{self.question.digest(path, rows)[:32]}.json.gz"
        if kept is not None and kept.is_file():
            found = _read(kept, self.question)
            bar.skip(path, found[self.question.column].content.rows)
            return found
        found = self._count(path, rows, bar)
        if kept is not None:
            _write(kept, found)
        return found

    def _count(self, path: Path, limit: int | None, bar: _Bar) -> dict[str, Survey]:
        surveys, wanted = self.question.surveys(), Wanted(self.question.columns, self.question.key)
        for rows in at_most(read_rows(path, wanted), limit):
            for column, part in self._parts(rows):
                surveys[column].add(part)
            bar.step(path, len(rows))
        bar.end(path)
        return surveys

    def _parts(self, rows: Rows) -> Iterator[tuple[str, Any]]:
        from recap_eval.hashrand import text_hashes

        self._lexicon.begin()
        hashes = text_hashes(rows.keys.to_numpy(zero_copy_only=False))
        for column in self.question.columns:
            own = column == self.question.column
            original = self.question.against if own else None
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


def _write(path: Path, surveys: dict[str, Survey]) -> None:
    record = {column: survey.to_json() for column, survey in surveys.items()}
    with replacing(path) as part, gzip.open(part, "wt", encoding="utf-8", compresslevel=1) as stream:
        json.dump(record, stream)


def _read(path: Path, question: Question) -> dict[str, Survey]:
    surveys = question.surveys()
    try:
        with gzip.open(path, "rt", encoding="utf-8") as stream:
            record = json.load(stream)
        for column, survey in surveys.items():
            survey.load(record[column])
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error}).", "Delete it; its file is read again then.") from error
    return surveys


def first_samples(path: Path, question: Question, n: int = SHOWN) -> list[tuple[str, dict[str, str | None]]]:
    """Return the first rows of a file: keys, and texts by column.

    Raises:
        DataError: See `read_rows`.
    """
    rows = next(read_rows(path, Wanted(question.columns, question.key)), None)
    if rows is None:
        return []
    some = rows.first(n)
    texts = {column: some.texts[column].to_pylist() for column in question.columns}
    return [(key, {column: texts[column][row] for column in texts}) for row, key in enumerate(some.keys.to_pylist())]


class _Bar:
    """Progress in rows; how many there are in all follows from the files' sizes as soon as one is known."""

    def __init__(self, files: list[Path], shown: bool) -> None:
        self._sizes = {path: path.stat().st_size for path in files}
        self._bytes = sum(self._sizes.values())
        self._done_bytes = self._done_rows = 0
        self._bar = progress_bar(None, "captions", "row", disable=not shown, unit_scale=True)  # type: ignore[arg-type]
        if files and (rows := count_rows(files[0])):
            self._guess(rows, self._sizes[files[0]])

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def _guess(self, rows: int, size: int) -> None:
        self._bar.total = max(1, round(rows / max(size, 1) * self._bytes))

    def step(self, path: Path, rows: int) -> None:
        """Tell that rows of a file were read."""
        self._done_rows += rows
        self._bar.update(rows)

    def end(self, path: Path) -> None:
        """Tell that a file is done."""
        self._done_bytes += self._sizes[path]
        self._guess(self._done_rows, self._done_bytes)

    def skip(self, path: Path, rows: int) -> None:
        """Tell that a file was done before: its rows count as done and not in the rate."""
        self._bar.initial += rows
        self._bar.n += rows
        self._done_rows += rows
        self.end(path)
