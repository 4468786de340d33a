"""Files of an input: reading one, and what tells whether it is still what it was (size and time, or digest)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from recap_eval.errors import DataError
from recap_eval.files import digest_file, digest_json

GONE = "Restore the input as it was when the run began, or begin another run: --output DIR"


def identify(paths: Iterable[Path], hashed: bool) -> str:
    """Return one identity for files, whatever folder they lie in.

    Raises:
        DataError: One is gone or cannot be read.
    """
    found = [_of_file(path, hashed) for path in paths]
    return found[0] if len(found) == 1 else f"{len(found)} files: {digest_json(found)[:32]}"


def _of_file(path: Path, hashed: bool) -> str:
    try:
        facts = path.stat()
        if hashed:
            return _digest(path, facts.st_size, facts.st_mtime_ns)
        return f"{facts.st_size} bytes of {facts.st_mtime_ns}"
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror}.", GONE) from error


@lru_cache(maxsize=1024)  # a parquet file has many parts
def _digest(path: Path, size: int, time: int) -> str:
    return f"sha256:{digest_file(path)}"


def size_of(path: Path) -> int:
    """Return a file's bytes.

    Raises:
        DataError: It is gone.
    """
    try:
        return path.stat().st_size
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror}.", GONE) from error


def read_file(path: Path, where: str) -> bytes:
    """Return a file's bytes; an error calls it `where`.

    Raises:
        DataError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:  # a path out of a table may hold a null character
        raise DataError(f"Cannot read {where}: {getattr(error, 'strerror', None) or error}.", GONE) from error
