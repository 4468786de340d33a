"""The files in a tar and where their bytes lie, by a walk over its headers.

Shards are made of ordinary files with ordinary names, and those headers are read here, at a fifth of tarfile's cost. At the
first header of another kind (long names, extensions, links, sizes beyond eight gigabytes, damage) the whole tar is tarfile's.
"""

from __future__ import annotations

import os
import tarfile
from pathlib import Path
from typing import NamedTuple

BLOCK = 512  # a tar's unit
FILE, FOLDER = (b"0", b"\0"), b"5"  # types of members that are read here
LARGE = 0x80  # begins a size in another notation than octal
CUT = "the mark of its end is missing: it is cut short"


class Entry(NamedTuple):
    """One file of a tar.

    Args:
        name: Its name; bytes that are no UTF-8 are kept as `os.fsdecode` keeps them.
        offset: Where its contents begin.
        size: Its bytes.
    """

    name: str
    offset: int
    size: int


class _OtherKind(Exception):
    """A header is not for this reader."""


def list_entries(path: Path) -> tuple[list[Entry], str | None]:
    """Return a tar's files in the order in which they lie in it, and why it ended too early (None if it is whole).

    The last one may lie beyond the end of a tar that is cut short.
    """
    try:
        with path.open("rb", buffering=0) as stream:
            try:
                return _plain_entries(stream.fileno(), os.fstat(stream.fileno()).st_size)
            except _OtherKind:
                return _entries_by_tarfile(path)
    except OSError as error:
        return [], str(error)


def _plain_entries(handle: int, size: int) -> tuple[list[Entry], str | None]:
    found: list[Entry] = []
    at = 0
    while header := os.pread(handle, BLOCK, at):
        if not header.strip(b"\0") and len(header) == BLOCK:
            return found, None
        name, length, is_file = _parse(header)
        if is_file:
            found.append(Entry(name, at + BLOCK, length))
        at += BLOCK + (length + BLOCK - 1) // BLOCK * BLOCK
        if at > size:
            return found, "unexpected end of data"
    return found, CUT  # else one that is cut between two members would look whole


def _parse(header: bytes) -> tuple[str, int, bool]:
    """Return name, size, and whether it is a file.

    Raises:
        _OtherKind: Another kind of header, or no header.
    """
    kind = header[156:157]
    if len(header) < BLOCK or header[124] >= LARGE or (kind not in FILE and kind != FOLDER):
        raise _OtherKind
    try:
        size, checksum = (int(_text(field).strip() or b"0", 8) for field in (header[124:136], header[148:156]))
    except ValueError as error:
        raise _OtherKind from error
    if sum(header) - sum(header[148:156]) + 8 * ord(" ") != checksum:
        raise _OtherKind
    name, prefix = _text(header[:100]), _text(header[345:500])
    whole = os.fsdecode(prefix + b"/" + name if prefix else name)
    is_folder = kind == FOLDER or whole.endswith("/")
    return whole, 0 if kind == FOLDER else size, not is_folder


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _entries_by_tarfile(path: Path) -> tuple[list[Entry], str | None]:
    found: list[Entry] = []
    try:
        with tarfile.open(path, "r:") as tar:
            for info in tar:
                if info.issparse():
                    return found, f"{info.name} is stored with holes"
                if info.isfile():
                    found.append(Entry(info.name, info.offset_data, info.size))
            return found, _end(path, tar.offset)
    except (tarfile.TarError, OSError, EOFError) as error:
        return found, str(error)


def _end(path: Path, at: int) -> str | None:
    """Return what is wrong with a tar's end: tarfile takes a damaged header for one."""
    with path.open("rb") as stream:
        stream.seek(at)
        block = stream.read(BLOCK)
    if len(block) < BLOCK:
        return CUT
    return None if not block.strip(b"\0") else f"its header at byte {at:,} is damaged"
