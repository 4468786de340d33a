"""The few ways in which a run writes: each is whole or not there, whenever it is cut off."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recap_eval.errors import DataError

GO_ON = "Free some space or mend the folder; then the same command goes on, and nothing that was kept is lost."
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)  # what file systems without them say
NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)
PART = ".part"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Tell an error of the system in two lines.

    Raises:
        DataError: A system call failed: full disk, read-only folder, quota, ….
    """
    try:
        yield
    except OSError as error:
        raise DataError(f"Cannot write {path}: {error.strerror or error}.", GO_ON) from error


def write_all(handle: int, payload: bytes) -> None:
    """Write all bytes; a system call may take fewer."""
    left = memoryview(payload)
    while left:
        left = left[os.write(handle, left) :]


def write_part(path: Path, payload: bytes) -> Path:
    """Write a file beside `path`, hidden and synced, that `publish` can put into its place.

    Raises:
        DataError: It cannot be written; nothing is left of it.
    """
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}{PART}")
    with writing(path):
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            write_all(handle, payload)
            os.fsync(handle)
        except OSError:
            part.unlink(missing_ok=True)
            raise
        finally:
            os.close(handle)
    return part


def publish(part: Path, path: Path) -> bool:
    """Give a finished file its name, unless something has the name already; returns whether it did.

    A hard link does both in one step of the file system. Where there are none, looking and renaming are two steps: of two
    processes that do both at the same time the later one wins, with a file as whole as the other's.

    Raises:
        DataError: The folder cannot be written.
    """
    with writing(path):
        try:
            is_ours = _take_name(part, path)
        finally:
            part.unlink(missing_ok=True)
        sync_folder(path.parent)  # another's, too: what is there is to outlive what it was made of
    return is_ours


def _take_name(part: Path, path: Path) -> bool:
    try:
        os.link(part, path)
    except FileExistsError:
        return False
    except OSError as error:
        if path.exists():  # with the hidden file swept away, perhaps, because another was first
            return False
        if error.errno not in NO_LINKS:
            raise
        part.rename(path)
    return True


def create(path: Path, payload: bytes) -> bool:
    """Write a file that is not there yet; returns whether it was not.

    Raises:
        DataError: It cannot be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    return publish(write_part(path, payload), path)


def sync_folder(folder: Path) -> None:
    """Let what was named, renamed or removed in a folder outlive a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in NO_FOLDER_SYNC:
            raise
    finally:
        os.close(handle)


def check_room(folder: Path, needed: int) -> None:
    """Check that there is room before anything is spent on what could not be kept.

    Raises:
        DataError: There is not.
    """
    with writing(folder):
        free = shutil.disk_usage(folder).free
    if free < needed:
        raise DataError(f"{folder} has {free >> 20:,} MiB left; the next shard may need {needed >> 20:,} MiB.", GO_ON)
