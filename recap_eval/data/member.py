"""One sample of a shard, read by its record in the index: its name from the header before the image, and its texts."""

from __future__ import annotations

import os
import tarfile
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from recap_eval.data.shard_index import BLOCK
from recap_eval.data.shards import AGAIN, Member, Sample, parse_sample
from recap_eval.errors import DataError
from recap_eval.hashrand import text_key


def read_sample(path: Path, record: Any) -> Sample:
    """Read a sample's name and texts.

    Args:
        path: Its shard.
        record: Its record, see `shard_index.RECORD`.

    Raises:
        DataError: The shard is gone, or is not what was indexed.
    """
    key, suffix = read_name(path, record)
    parts: dict[str, Any] = {"image": Member(int(record["image"]) * BLOCK, int(record["image_size"])), "suffix": suffix}
    for name, field in ((".txt", "text"), (".json", "meta")):
        if record[field]:
            parts[name] = _read(path, int(record[field]) * BLOCK, int(record[f"{field}_size"]))
    return parse_sample(path, key, parts)


def read_name(path: Path, record: Any) -> tuple[str, str]:
    """Return a sample's key and its image's file ending.

    Raises:
        DataError: The shard is gone, or another sample lies there than was indexed.
    """
    block, wanted = int(record["image"]), int(record["key"])
    if found := _matching(_header_name(_read(path, (block - 1) * BLOCK, BLOCK)), wanted):
        return found
    if found := _matching(_long_names(path).get(block * BLOCK, ""), wanted):
        return found
    raise DataError(f"{path} is not what it was when it was indexed.", AGAIN)


def _matching(name: str, wanted: int) -> tuple[str, str] | None:
    suffix = PurePosixPath(name).suffix
    key = name.removesuffix(suffix)
    return (key, suffix) if text_key(key) == wanted else None


def _read(path: Path, offset: int, size: int) -> bytes:
    try:
        handle = os.open(path, os.O_RDONLY)
        try:
            payload = os.pread(handle, size, offset)
        finally:
            os.close(handle)
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror}.", "Restore the shard.") from error
    if len(payload) != size:
        raise DataError(f"{path} is cut short.", AGAIN)
    return payload


def _header_name(header: bytes) -> str:
    """Return the name in a tar header, as it is for names of up to 100 bytes, or 255 with folders."""
    name, prefix = (field.partition(b"\0")[0].decode(errors="replace") for field in (header[:100], header[345:500]))
    return f"{prefix}/{name}" if prefix and header[257:262] == b"ustar" and header[263:265] == b"00" else name


@lru_cache(maxsize=64)
def _long_names(path: Path) -> dict[int, str]:
    """Return the names of a tar's members by where their contents begin, for names that a header cannot hold."""
    try:
        with tarfile.open(path, "r:") as tar:
            return {info.offset_data: info.name for info in tar}
    except (tarfile.TarError, OSError, EOFError):
        return {}
