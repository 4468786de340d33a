"""Caption files to surveys: file by file, each kept when it is done, so that a stopped run goes on and parts of a run meet."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from recap_eval.captions import flags
from recap_eval.captions.count import FileCounter, pack_surveys, unpack_surveys
from recap_eval.captions.files import Wanted, count_rows, read_rows
from recap_eval.captions.survey import VERSION, Survey
from recap_eval.captions.tokens import Tokenizer
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
        self._counter = FileCounter(self.question)

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

    def kept(self, path: Path, rows: int | None = None) -> Path | None:
        """Return where what was counted of a file is kept, be it there or not; None without a cache.

        Args:
            path: The file.
            rows: How many rows of it at most; None for all.
        """
        return None if self.cache is None else self.cache / FOLDER / f"{self.question.digest(path, rows)[:32]}.json.gz"

    def _of_file(self, path: Path, rows: int | None, bar: _Bar) -> dict[str, Survey]:
        kept = self.kept(path, rows)
        if kept is not None and kept.is_file():
            found = _read(kept, self.question)
            bar.skip(path, found[self.question.column].content.rows)
            return found
        found = self._counter.count(path, rows, bar.step)
        bar.end(path)
        if kept is not None:
            keep(kept, pack_surveys(found))
        return found


def keep(kept: Path, packed: bytes) -> None:
    """Write down what was counted of a file: whole or not at all."""
    with replacing(kept) as part:
        part.write_bytes(packed)


def _read(kept: Path, question: Question) -> dict[str, Survey]:
    try:
        return unpack_surveys(kept.read_bytes(), question)
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{kept} is damaged ({error}).", "Delete it; its file is read again then.") from error


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

    def step(self, rows: int) -> None:
        """Tell that rows were read."""
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
