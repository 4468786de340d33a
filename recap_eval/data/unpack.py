"""Archives into their place: nothing outside it, nothing half, nothing of the user's replaced."""

from __future__ import annotations

import errno
import filecmp
import gzip
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath

from recap_eval.console import progress_bar
from recap_eval.errors import DataError

THROWN_AWAY = "Nothing of it was kept. Do not use it by hand either."
SLACK = 1.1  # how much more than stated an archive may hold
DAMAGE = (zipfile.BadZipFile, zlib.error, gzip.BadGzipFile, lzma.LZMAError, EOFError, NotImplementedError, tarfile.TarError)


class HostileArchive(DataError):
    """An archive that would write elsewhere, or far more than it should."""


def readable(size: float) -> str:
    """Return a number of bytes for people: "6.6 GB"."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def check_space(folder: Path, need: int, what: str) -> None:
    """Make sure that a folder's disk has room.

    Args:
        folder: The folder; it need not exist yet.
        need: How many bytes are going to be written.
        what: What needs them, for the message.

    Raises:
        DataError: It has not.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < need:
        raise no_space(folder, need, free, what)


def no_space(folder: Path, need: int, free: int, what: str) -> DataError:
    """Build the error for a full disk."""
    return DataError(
        f"{what} needs {readable(need)} ({need:,} bytes) in {folder}, where {readable(free)} ({free:,} bytes) are free.",
        "Free some space or choose another --data, then run the same command again.",
    )


def unpack(archive: Path, kind: str, folder: Path, stated: int = 0) -> None:
    """Unpack an archive into a folder.

    Args:
        archive: The archive.
        kind: "zip", "tar" or "tar.gz".
        folder: The folder; nothing is written outside it.
        stated: How many bytes the archive is said to hold; 0 if nobody says. A tenth more is refused.

    Raises:
        HostileArchive: It holds a path or a link that leads elsewhere, or more than it should.
        DataError: It is damaged, or the disk is full.
    """
    limit = int(stated * SLACK) if stated else None
    folder.mkdir(parents=True, exist_ok=True)
    try:
        UNPACKERS[kind](archive, folder, limit)
    except DAMAGE as error:
        raise DataError(
            f"{archive} cannot be unpacked ({error}).",
            "Its digest is right: getting it again does not help; unpack it by hand.",
        ) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = shutil.disk_usage(folder).free
            raise no_space(folder, max(stated, archive.stat().st_size), free, f"Unpacking {archive.name}") from error
        raise DataError(
            f"Cannot unpack {archive} into {folder}: {error.strerror or error}.", "Choose another --data."
        ) from error


def _unzip(archive: Path, folder: Path, limit: int | None) -> None:
    with zipfile.ZipFile(archive) as file:
        members = file.infolist()
        for member in members:
            _check_path(archive, member.filename)
            mode = stat.S_IFMT(member.external_attr >> 16)
            if member.flag_bits & 1 or mode not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _hostile(archive, member.filename, "is encrypted, a link or a device")
        total = sum(member.file_size for member in members)
        _check_total(archive, total, limit)
        check_space(folder, total, f"Unpacking {archive.name}")
        with progress_bar(total, f"  unpacking {archive.name}", "B", unit_scale=True) as bar:
            for member in members:
                file.extract(member, folder)  # reads no more than file_size, and checks the CRC
                bar.update(member.file_size)


def _untar(archive: Path, folder: Path, limit: int | None) -> None:
    total, size = 0, archive.stat().st_size
    with tarfile.open(archive, "r:*") as file, progress_bar(size, f"  unpacking {archive.name}", "B", unit_scale=True) as bar:
        for member in file:
            _check_path(archive, member.name)
            if member.islnk() or member.issym():
                _check_path(archive, member.linkname)
            total += member.size
            _check_total(archive, total, limit)
            _extract(file, member, folder, archive)
            bar.update(member.size)


def _extract(file: tarfile.TarFile, member: tarfile.TarInfo, folder: Path, archive: Path) -> None:
    try:
        file.extract(member, folder, filter="data")  # refuses devices, and links that lead out of the folder by other links
    except tarfile.FilterError as error:
        raise _hostile(archive, member.name, "leads out of its folder or is a device") from error


UNPACKERS: dict[str, Callable[[Path, Path, int | None], None]] = {"zip": _unzip, "tar": _untar, "tar.gz": _untar}


def _check_path(archive: Path, name: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or PureWindowsPath(name).drive:
        raise _hostile(archive, name, "leads out of its folder")


def _check_total(archive: Path, total: int, limit: int | None) -> None:
    if limit is not None and total > limit:
        raise HostileArchive(f"{archive} holds {total:,} bytes or more, where {limit:,} are the most.", THROWN_AWAY)


def _hostile(archive: Path, name: str, what: str) -> HostileArchive:
    return HostileArchive(f"{archive}: {name!r} {what}.", THROWN_AWAY)


def move_into(folder: Path, place: Path) -> None:
    """Move what a folder holds into another; folders that are there already are merged.

    Killed in between and called again, it goes on.

    Raises:
        DataError: A file of that name is there already and has other contents, or cannot be written.
    """
    place.mkdir(parents=True, exist_ok=True)
    for entry in _sorted(folder):
        target = place / entry.name
        if entry.is_dir() and not entry.is_symlink() and target.is_dir():
            move_into(entry, target)
        elif target.exists() and not _same(entry, target):
            raise DataError(
                f"{target} is there already and differs from what was fetched.",
                "Move it away, then run the same command again.",
            )
        else:
            entry.replace(target)
    folder.rmdir()


def _sorted(folder: Path) -> Iterable[Path]:
    return sorted(folder.iterdir())


def _same(one: Path, other: Path) -> bool:
    return one.is_file() and other.is_file() and filecmp.cmp(one, other, shallow=False)
