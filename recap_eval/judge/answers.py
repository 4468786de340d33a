"""Answers, kept for good: paid once, asked once. One SQLite file for all judges, shared by any number of processes.

An answer is on disk before it counts. The raw answer is what is kept, and it is read anew each time: a better parser costs
nothing.
"""

from __future__ import annotations

import fcntl
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from recap_eval.endpoint.reply import Reply
from recap_eval.errors import DataError

NAME = "judge.sqlite"  # in the cache folder
PART = 500  # keys of one query
PATIENCE = 60.0  # seconds that another process may hold the file
T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    """One answer with all it depends on.

    Args:
        key: Digest of image, texts, template, model, settings and repeat.
        image: Digest of the image.
        texts: Digest of the texts.
        template: Digest of the template.
        model: The model asked.
        settings: All settings, as canonical JSON.
        repeat: Number of the repeat, from 0.
        raw: The answer, as it is.
        refusal: The model's refusal, or None.
        finish_reason: Why it ended.
        status: How it was read when it came: rated, unparsable or refused.
        value: The figure then, or None.
        answered_by: The model, as the server names it.
        fingerprint: The server's `system_fingerprint`, or "".
        tokens_in: Tokens of the question.
        tokens_out: Tokens of the answer.
        via: "chat" or "batch".
        asked: When it came, in UTC.
    """

    key: str
    image: str
    texts: str
    template: str
    model: str
    settings: str
    repeat: int
    raw: str
    refusal: str | None
    finish_reason: str
    status: str
    value: float | None
    answered_by: str
    fingerprint: str
    tokens_in: int
    tokens_out: int
    via: str
    asked: str

    @property
    def reply(self) -> Reply:
        """The answer in the form in which it came."""
        return Reply(
            self.raw, self.finish_reason, self.refusal, self.answered_by, self.fingerprint, self.tokens_in, self.tokens_out
        )  # fmt: skip


COLUMNS = tuple(field.name for field in fields(Answer))
SCHEMA = f"""CREATE TABLE IF NOT EXISTS answers (
  key TEXT PRIMARY KEY, {", ".join(COLUMNS[1:])}
) WITHOUT ROWID"""


class Answers:
    """The file of answers; use it as a context, from any thread.

    Args:
        path: The file; it is made with its folder if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._guard = path, threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._marks = path.with_name(f"{path.name}.lock").open("ab")
        except OSError as error:
            raise DataError(f"Cannot write {path}: {error.strerror}.", "Choose another file: --judge-cache FILE") from error
        self._file: sqlite3.Connection = self._tried(self._open)

    def __enter__(self) -> Answers:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()
        self._marks.close()

    def get(self, keys: Sequence[str]) -> dict[str, Answer]:
        """Return the answers that are there, by key.

        Raises:
            DataError: The file is damaged.
        """
        found: dict[str, Answer] = {}
        for start in range(0, len(keys), PART):
            part = list(keys[start : start + PART])
            query = f"SELECT {', '.join(COLUMNS)} FROM answers WHERE key IN ({','.join('?' * len(part))})"
            rows = self._tried(partial(self._rows, query, part))
            found |= {row[0]: Answer(*row) for row in rows}
        return found

    def add(self, answers: Iterable[Answer]) -> None:
        """Write answers to disk; of a key that is there already the first answer stays.

        Raises:
            DataError: The disk is full, or the file is damaged.
        """
        rows = [astuple(answer) for answer in answers]
        marks = ", ".join("?" * len(COLUMNS))

        def write() -> None:
            with self._file:
                self._file.executemany(f"INSERT OR IGNORE INTO answers ({', '.join(COLUMNS)}) VALUES ({marks})", rows)

        self._tried(write)

    def claim(self, key: str) -> bool:
        """Take a question for this process; False if another process is asking it.

        The mark is a lock on a byte of a file beside the answers, which the system takes away when a process dies.
        """
        try:
            fcntl.lockf(self._marks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _place(key))
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks: a question may be asked twice, its first answer counts
            return True
        return True

    def release(self, key: str) -> None:
        """Give a question back."""
        try:
            fcntl.lockf(self._marks, fcntl.LOCK_UN, 1, _place(key))
        except OSError:
            return

    def _rows(self, query: str, keys: list[str]) -> list[Any]:
        return self._file.execute(query, keys).fetchall()

    def _open(self) -> sqlite3.Connection:
        file = sqlite3.connect(self.path, timeout=PATIENCE, check_same_thread=False)
        file.execute("PRAGMA synchronous = FULL")
        with file:
            file.execute(SCHEMA)
        return file

    def _tried(self, act: Callable[[], T]) -> T:
        try:
            with self._guard:
                return act()
        except sqlite3.Error as error:
            raise DataError(
                f"The answers in {self.path} cannot be read or written ({error}).",
                "Free some space or move the file away; another one is named by --judge-cache FILE",
            ) from error


def _place(key: str) -> int:
    return int(key[:15], 16)
