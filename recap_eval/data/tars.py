"""The files in a tar and where their bytes lie, by tarfile, which is too trusting in two places."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import NamedTuple

BLOCK = 512  # a tar's unit
NEGATIVE = "a file in it has a negative size"
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


def list_entries(path: Path) -> tuple[list[Entry], str | None]:
    """Return a tar's files in the order in which they lie in it, and why it ended too early (None if it is whole).

    The last one may lie beyond the end of a tar that is cut short.
    """
    found: list[Entry] = []
    try:
        with tarfile.open(path, "r:") as tar:
            for info in tar:
                if info.size < 0:  # tarfile would walk back, and round and round
                    return found, NEGATIVE
                if info.issparse():
                    return found, f"{info.name} is stored with holes"
                if info.isfile():
                    found.append(Entry(info.name, info.offset_data, info.size))
            return found, _end(path, tar.offset)
    except (tarfile.TarError, OSError, EOFError) as error:
        return found, str(error)


def _end(path: Path, at: int) -> str | None:
    """Return what is wrong with a tar's end: tarfile takes a damaged header for one, and a cut between members for whole."""
    with path.open("rb") as stream:
        stream.seek(at)
        block = stream.read(BLOCK)
    if len(block) < BLOCK:
        return CUT
    return None if not block.strip(b"\0") else f"its header at byte {at:,} is damaged"
