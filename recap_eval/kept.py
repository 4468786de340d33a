"""Rows kept for good by key, in one SQLite file that any number of processes share: what answers are kept in."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from recap_eval.errors import DataError

PART = 500  # keys of one query
PATIENCE = 60.0  # seconds that another process may hold the file
T = TypeVar("T")


class KeptRows:
    """A table of rows, from any thread; its first column is the key, and of a key the first row stays.

    Args:
        path: The file; it is made with its folder if it is not there.
        table: The table's name.
        columns: Its columns, with their types where they have one.
        option: The option that names another file, for messages.

    Raises:
        DataError: The file cannot be made, or is damaged.
    """

    def __init__(self, path: Path, table: str, columns: Sequence[str], option: str) -> None:
        self.path, self._table, self._columns, self._option = path, table, columns, option
        self._names, self._guard = [column.split()[0] for column in columns], threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"Cannot write {path}: {error.strerror}.", f"Choose another file: {option} FILE") from error
        self._file: sqlite3.Connection = self._tried(self._open)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def get(self, keys: Sequence[str]) -> list[tuple[Any, ...]]:
        """Return the rows that are there, in no order.

        Raises:
            DataError: The file is damaged.
        """
        found: list[tuple[Any, ...]] = []
        for start in range(0, len(keys), PART):
            found += self._tried(partial(self._select, list(keys[start : start + PART])))
        return found

    def add(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Write rows to disk, all or none.

        Raises:
            DataError: The disk is full, or the file is damaged.
        """
        self._tried(partial(self._insert, list(rows)))

    def _select(self, keys: list[str]) -> list[tuple[Any, ...]]:
        marks = ",".join("?" * len(keys))
        query = f"SELECT {', '.join(self._names)} FROM {self._table} WHERE {self._names[0]} IN ({marks})"
        return self._file.execute(query, keys).fetchall()

    def _insert(self, rows: list[tuple[Any, ...]]) -> None:
        marks = ", ".join("?" * len(self._names))
        with self._file:
            self._file.executemany(f"INSERT OR IGNORE INTO {self._table} ({', '.join(self._names)}) VALUES ({marks})", rows)

    def _open(self) -> sqlite3.Connection:
        file = sqlite3.connect(self.path, timeout=PATIENCE, check_same_thread=False)
        file.execute("PRAGMA synchronous = FULL")
        key, *rest = self._columns
        with file:
            file.execute(f"CREATE TABLE IF NOT EXISTS {self._table} ({key} PRIMARY KEY, {', '.join(rest)}) WITHOUT ROWID")
        return file

    def _tried(self, act: Callable[[], T]) -> T:
        try:
            with self._guard:
                return act()
        except sqlite3.Error as error:
            raise DataError(
                f"The answers in {self.path} cannot be read or written ({error}).",
                f"Free some space or move the file away; another one is named by {self._option} FILE",
            ) from error
