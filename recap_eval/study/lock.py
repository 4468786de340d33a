"""One study at a time in a root, and none beside what a killed one left running.

The lock is the open file's, and the children inherit it: it is free only when the study and all that it started have
ended. So a study killed outright is not started again beside its own orphans; the next one waits for them.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from recap_eval.errors import DataError
from recap_eval.study.state import LOCK

WAIT = 0.5  # seconds


@contextmanager
def held(root: Path, tell: Callable[[str], None]) -> Iterator[int]:
    """Hold a root's lock; gives the descriptor that children inherit.

    Raises:
        DataError: Another study runs there, or the folder cannot be written.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        handle = os.open(root / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise DataError(f"Cannot write {root / LOCK}: {error.strerror}.", "Choose another --root.") from error
    try:
        _acquire(handle, root, tell)
        note(handle, [])
        yield handle
    finally:
        os.close(handle)


def note(handle: int, children: list[int]) -> None:
    """Write down who holds the lock: the study's process, then its children's."""
    os.ftruncate(handle, 0)
    os.pwrite(handle, " ".join(map(str, [os.getpid(), *children])).encode(), 0)


def _acquire(handle: int, root: Path, tell: Callable[[str], None]) -> None:
    told = False
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            owner, *children = [int(word) for word in os.pread(handle, 4096, 0).split()] or [0]
            if owner and _alive(owner):
                raise DataError(
                    f"A study runs in {root} already (process {owner}).", "Wait, or choose another --root."
                ) from None
        if not told:
            alive = ", ".join(str(child) for child in children if _alive(child))
            tell(f"A study that was killed left commands running in {root} (process {alive}): waiting for their end.")
            told = True
        time.sleep(WAIT)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
