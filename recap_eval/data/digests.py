"""What the images of a data set are: digests of their bytes, remembered by file, size and time of change.

A data set's fingerprint needs every byte of it; the memory makes the second run need only their `stat`.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from recap_eval.console import progress_bar
from recap_eval.data.items import ImageItem, file_stamp
from recap_eval.files import canonical_json, digest_file

MEMORY = "digests.sqlite"  # in the cache folder
READERS = 8  # threads that read and digest: both leave Python's lock
SHARE = 8  # images that a thread takes at a time
CHUNK = 4096  # images digested between two commits to the memory


def fingerprint(keys: Sequence[str], digests: Sequence[str], contents: Sequence[object]) -> str:
    """Return a digest of what a data set is: keys, image digests and texts or labels, in order."""
    state = hashlib.sha256()
    for key, digest, content in zip(keys, digests, contents, strict=True):
        state.update(f"{key}\0{digest}\0{canonical_json(content)}\n".encode())
    return state.hexdigest()


class Digests:
    """Digests images, each file once.

    Args:
        path: Where digests are remembered between runs, or None.
        progress: Show a progress bar when many images have to be read.
    """

    def __init__(self, path: Path | None = None, progress: bool = True) -> None:
        self.path, self.progress = path, progress
        self._known: dict[str, str] = {}

    def of(self, items: Sequence[ImageItem]) -> list[str]:
        """Return (N) digests of the images as they are meant: sha256 of the bytes, and the box if only a part counts.

        Raises:
            DataError: An image cannot be read.
        """
        stamps = [item.stamp() or f"\0{item.where}" for item in items]
        todo = {stamp: item for stamp, item in zip(stamps, items, strict=True) if stamp not in self._known}
        self._known |= self._recall(list(todo))
        unread = [(stamp, item) for stamp, item in todo.items() if stamp not in self._known]
        with (
            progress_bar(len(unread), "  reading images", "it", disable=not self.progress or len(unread) < CHUNK) as bar,
            ThreadPoolExecutor(READERS) as pool,
        ):
            for start in range(0, len(unread), CHUNK):
                part = unread[start : start + CHUNK]
                shares = pool.map(_digest_all, [part[first : first + SHARE] for first in range(0, len(part), SHARE)])
                found = dict(pair for share in shares for pair in share)
                self._known |= found
                self._remember(found)
                bar.update(len(part))
        return [
            self._known[stamp] + (f":{','.join(map(str, item.box))}" if item.box else "")
            for stamp, item in zip(stamps, items, strict=True)
        ]

    def of_files(self, paths: Sequence[Path]) -> list[str]:
        """Return (N) sha256 digests of whole files of any size, remembered likewise.

        Raises:
            OSError: A file cannot be read.
        """
        stamps = [file_stamp(path) or "" for path in paths]
        known = self._known | self._recall(stamps)
        todo = [(stamp, path) for stamp, path in zip(stamps, paths, strict=True) if stamp not in known]
        with ThreadPoolExecutor(READERS) as pool:
            found = dict(zip([stamp for stamp, _ in todo], pool.map(digest_file, [path for _, path in todo]), strict=True))
        self._remember(found)
        self._known |= known | found
        return [self._known[stamp] for stamp in stamps]

    def _recall(self, stamps: list[str]) -> dict[str, str]:
        if self.path is None or not self.path.is_file():
            return {}
        found: dict[str, str] = {}
        try:
            with closing(_connect(self.path)) as memory, memory:
                for start in range(0, len(stamps), 500):
                    part = stamps[start : start + 500]
                    marks = ",".join("?" * len(part))
                    found |= dict(memory.execute(f"SELECT stamp, digest FROM digests WHERE stamp IN ({marks})", part))
        except sqlite3.Error:
            return {}  # a damaged or locked memory costs time, never a figure
        return found

    def _remember(self, found: dict[str, str]) -> None:
        kept = [(stamp, digest) for stamp, digest in found.items() if not stamp.startswith("\0")]
        if self.path is None or not kept:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(_connect(self.path)) as memory, memory:
                memory.executemany("INSERT OR REPLACE INTO digests VALUES (?, ?)", kept)
        except (sqlite3.Error, OSError):
            return  # likewise


def _connect(path: Path) -> sqlite3.Connection:
    memory = sqlite3.connect(path, timeout=10)
    memory.execute("CREATE TABLE IF NOT EXISTS digests (stamp TEXT PRIMARY KEY, digest TEXT) WITHOUT ROWID")
    return memory


def _digest_all(share: list[tuple[str, ImageItem]]) -> list[tuple[str, str]]:
    return [(stamp, _digest(item)) for stamp, item in share]


def _digest(item: ImageItem) -> str:
    return hashlib.sha256(item.read_image()).hexdigest()
