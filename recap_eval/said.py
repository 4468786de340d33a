"""Answers of captioners, kept for good: one SQLite file; what is there is not generated again."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import astuple
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from recap_eval.errors import DataError
from recap_eval.models.captioner import Ask, Said

NAME = "captioner.sqlite"  # in the cache folder
PART = 500  # keys of one query
PATIENCE = 60.0  # seconds that another process may hold the file
T = TypeVar("T")


class Kept:
    """The file of answers; use it as a context, from any thread.

    Args:
        path: The file; it is made with its folder if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._guard = path, threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"Cannot write {path}: {error.strerror}.", "Choose another file: --answers FILE") from error
        self._file: sqlite3.Connection = self._tried(self._open)

    def __enter__(self) -> Kept:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def get(self, keys: Sequence[str]) -> dict[str, Said]:
        """Return the answers that are there, by key.

        Raises:
            DataError: The file is damaged.
        """
        found: dict[str, Said] = {}
        for start in range(0, len(keys), PART):
            part = list(keys[start : start + PART])
            query = (
                f"SELECT key, text, finish_reason, tokens_in, tokens_out FROM said WHERE key IN ({','.join('?' * len(part))})"
            )

            def read(query: str = query, part: list[str] = part) -> list[tuple[str, str, str, int, int]]:
                return self._file.execute(query, part).fetchall()

            found |= {key: Said(text, reason, n_in, n_out) for key, text, reason, n_in, n_out in self._tried(read)}
        return found

    def add(self, answers: Sequence[tuple[Ask, Said]]) -> None:
        """Write answers to disk; of a key that is there already the first answer stays.

        Raises:
            DataError: The disk is full, or the file is damaged.
        """
        rows = [(ask.key, *astuple(said)) for ask, said in answers]

        def write() -> None:
            with self._file:
                self._file.executemany("INSERT OR IGNORE INTO said VALUES (?, ?, ?, ?, ?)", rows)

        self._tried(write)

    def _open(self) -> sqlite3.Connection:
        file = sqlite3.connect(self.path, timeout=PATIENCE, check_same_thread=False)
        file.execute("PRAGMA synchronous = FULL")
        with file:
            file.execute(
                "CREATE TABLE IF NOT EXISTS said (key TEXT PRIMARY KEY, text TEXT, finish_reason TEXT, tokens_in INTEGER, "
                "tokens_out INTEGER) WITHOUT ROWID"
            )
        return file

    def _tried(self, act: Callable[[], T]) -> T:
        try:
            with self._guard:
                return act()
        except sqlite3.Error as error:
            raise DataError(
                f"The answers in {self.path} cannot be read or written ({error}).",
                "Free some space or move the file away; another one is named by --answers FILE",
            ) from error
