"""Who works on what: a file that one process only can make, touched while that process lives, taken over when it does not.

No two clocks are compared. A lease's age is the difference of two times that the file system gave: its own, and that of a file
touched a moment ago. Where file systems take the time from their clients, a lease also counts as left when it has not changed
for as long while somebody watched, by the watcher's own clock. On one machine a dead process is seen at once.

Nothing depends on a lease for being right: who loses one without knowing works for nothing, and finds the shard committed.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recap_caption.run.disk import write_all, writing
from recap_caption.run.who import is_dead, is_near, this_process

BEAT, STALE = 10.0, 120.0  # seconds between signs of life; without one for so long a lease is left


@dataclass
class Lease:
    """A part in this process's hands.

    Args:
        path: Its file.
        token: What tells it from everybody else's.
    """

    path: Path
    token: str

    def beat(self) -> bool:
        """Give a sign of life; returns False if the lease is another's by now."""
        try:
            if _read(self.path).get("token") != self.token:
                return False
            os.utime(self.path)
        except FileNotFoundError:
            return False
        except OSError:
            return True  # a file system that hiccups: the next sign may come through
        return True

    def release(self) -> None:
        """Give it back, unless it is another's by now."""
        with suppress(OSError):
            if _read(self.path).get("token") == self.token:
                self.path.unlink()


@dataclass
class Leases:
    """The leases of a run, as one worker sees them.

    Args:
        folder: Where they lie.
        worker: The worker's name.
        stale: Seconds without a sign of life after which a lease is left.
    """

    folder: Path
    worker: str
    stale: float = STALE
    _watched: dict[str, tuple[str | None, int, float]] = field(default_factory=dict)

    def take(self, name: str) -> Lease | None:
        """Return the lease of a part, or None if a living process has it.

        Raises:
            DataError: The folder cannot be written.
        """
        path = self._path(name)
        if (lease := self._create(path)) is not None:
            return lease
        holder = self._left(path)
        return None if holder is None else self._take_over(path, holder)

    def is_free(self, name: str) -> bool:
        """Return whether nobody has a part, or one who left it."""
        path = self._path(name)
        return not path.exists() or self._left(path) is not None

    def sign(self, name: str) -> int | None:
        """Return the time of a holder's last sign of life, comparable with such times only; None without a lease."""
        with suppress(OSError):
            return self._path(name).stat().st_mtime_ns
        return None

    def is_near(self, name: str) -> bool:
        """Return whether a part's holder is a process of this machine that lives."""
        with suppress(OSError):
            holder = _read(self._path(name))
            return is_near(holder) and not is_dead(holder)
        return False

    def names(self) -> set[str]:
        """Return the parts of which there is a lease, living or left."""
        return {path.name.removesuffix(".lease") for path in self.folder.glob("*.lease")} if self.folder.is_dir() else set()

    def _take_over(self, path: Path, holder: dict[str, Any]) -> Lease | None:
        """Put a lease into the place of one that was left: one process at a time, which looks again first."""
        lock_path = path.with_suffix(".steal")
        lock = self._create(lock_path)
        if lock is None:
            if self._left(lock_path) is not None:
                lock_path.unlink(missing_ok=True)
            return None
        try:
            now = self._left(path)
            if now is None or now.get("token") != holder.get("token"):
                return None
            path.unlink(missing_ok=True)
            return self._create(path)
        finally:
            lock.release()

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.lease"

    def _create(self, path: Path) -> Lease | None:
        token = uuid.uuid4().hex
        record = {"token": token, "worker": self.worker} | this_process()
        with writing(path):
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            except FileExistsError:
                return None
            try:
                write_all(handle, json.dumps(record).encode())
            except OSError:
                path.unlink(missing_ok=True)
                raise
            finally:
                os.close(handle)
        return Lease(path, token)

    def _left(self, path: Path) -> dict[str, Any] | None:
        """Return what a lease says that nobody keeps any more; None if somebody does, or it is gone."""
        try:
            holder = _read(path)
            changed = path.stat().st_mtime_ns
        except FileNotFoundError:
            return None
        except OSError:
            return None  # it cannot be read now: perhaps next time
        if is_dead(holder) or self._now() - changed > self.stale * 1e9:
            return holder
        return holder if self._unchanged(path.name, holder.get("token"), changed) > self.stale else None

    def _unchanged(self, name: str, token: str | None, changed: int) -> float:
        """Return for how many seconds of this process's own clock a lease has been seen without a change."""
        now = time.monotonic()
        seen = self._watched.get(name)
        if seen is None or seen[:2] != (token, changed):
            self._watched[name] = (token, changed, now)
            return 0.0
        return now - seen[2]

    def _now(self) -> int:
        """Return the file system's time in nanoseconds."""
        probe = self.folder / f".{self.worker}.clock"
        with writing(probe):
            handle = os.open(probe, os.O_WRONLY | os.O_CREAT, 0o666)
            try:
                os.utime(handle)
                return os.fstat(handle).st_mtime_ns
            finally:
                os.close(handle)


def _read(path: Path) -> dict[str, Any]:
    """Return what a lease says; nothing if its maker was cut off before it could say anything."""
    with path.open(encoding="utf-8") as stream:  # opened, so that a network file system asks its server
        try:
            found = json.load(stream)
        except ValueError:
            return {}
    return found if isinstance(found, dict) else {}
