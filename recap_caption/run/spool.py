"""Answers to a part that is not committed yet: appended line by line, synced every second, each line with its checksum.

Every holder of a lease writes a file of its own and reads those of all before it, so nothing that was paid for is asked again.
A line that is torn, empty or damaged does not count, wherever it stands.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

from recap_caption.run.disk import sync_folder, write_all, writing

ENCODE = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


class Spool:
    """The file of one holder of a part.

    Args:
        folder: The part's folder.
        token: The holder's.
    """

    def __init__(self, folder: Path, token: str) -> None:
        self.path = folder / f"{token}.jsonl"
        self._handle: int | None = None
        self._dirty = False
        self._lock = Lock()  # answers come in one thread, syncs in another

    def append(self, place: int, answer: dict[str, Any]) -> None:
        """Keep an answer.

        Raises:
            DataError: It cannot be written.
        """
        with writing(self.path), self._lock:
            if self._handle is None:
                self._handle = self._open()
            write_all(self._handle, _line({"place": place, **answer}))
            self._dirty = True

    def _open(self) -> int:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        sync_folder(self.path.parent)
        return handle

    def sync(self) -> None:
        """Let what was appended outlive a loss of power.

        Raises:
            DataError: It cannot be written.
        """
        with writing(self.path), self._lock:
            if self._dirty and self._handle is not None:
                self._dirty = False
                os.fsync(self._handle)

    def close(self) -> None:
        """Sync and close it.

        Raises:
            DataError: It cannot be written.
        """
        try:
            self.sync()
        finally:
            with self._lock:
                if self._handle is not None:
                    os.close(self._handle)
                    self._handle = None


def _line(record: dict[str, Any]) -> bytes:
    text = ENCODE(record).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


@dataclass
class Kept:
    """What was answered before.

    Args:
        answers: By place.
        all: Every answer, those to a question that was asked again, too.
        damaged: Lines that do not count.
    """

    answers: dict[int, dict[str, Any]] = field(default_factory=dict)
    all: list[dict[str, Any]] = field(default_factory=list)
    damaged: int = 0


def read_spool(folder: Path) -> Kept:
    """Return what all holders of a part kept; of two answers to one question a good one comes first, then the earlier file's.

    Raises:
        DataError: A file cannot be read.
    """
    kept = Kept()
    for path in sorted(folder.glob("*.jsonl")) if folder.is_dir() else ():
        with writing(path):
            lines = path.read_bytes().split(b"\n")
        for line in lines:
            if not line:
                continue
            record = _parse(line)
            if record is None:
                kept.damaged += 1
                continue
            place = record.pop("place")
            kept.all.append(record)
            if place not in kept.answers or kept.answers[place]["status"] != "ok":
                kept.answers[place] = record
    return kept


def _parse(line: bytes) -> dict[str, Any] | None:
    checksum, _, text = line.partition(b" ")
    try:
        if int(checksum, 16) != zlib.crc32(text):
            return None
        found: dict[str, Any] = json.loads(text)
    except ValueError:
        return None
    return found


def drop_spool(folder: Path) -> None:
    """Remove what was kept, once it is committed."""
    shutil.rmtree(folder, ignore_errors=True)
