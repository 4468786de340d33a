"""Where shards lie: a folder, a brace pattern of files, or of http(s) URLs, whose shards are fetched into the cache first.

`https://host/{00000..00099}.tar` stands for a hundred URLs, `{a,b}` for two; several patterns are joined by `::`, as in
open_clip and webdataset. Shards are fetched whole, four at a time, resumed where they broke off, before training begins: at no
time is a run at the mercy of a server.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from recap_eval.console import progress_bar
from recap_eval.data.download import Refused, ask
from recap_eval.data.shard_index import Problem
from recap_eval.data.shards import list_shards
from recap_eval.errors import DataError, UserError
from recap_eval.files import digest_json, write_text

SEPARATOR = "::"
BRACES = re.compile(r"\{([^{}]+)\}")
AT_ONCE = 4  # shards fetched at a time
BLOCK = 1 << 20
GO_ON = "Check address and network, then give the same command again: what has come in is kept. Or leave it out: --skip-bad"
ROOM = "Free some space, or set $RECAP_CACHE to another folder."


def is_pattern(text: str) -> bool:
    """Tell whether a text names shards by URL or pattern, and not by a folder."""
    return "://" in text or SEPARATOR in text or (text.endswith(".tar") and BRACES.search(text) is not None)


def expand(pattern: str) -> list[str]:
    """Return what a pattern stands for, in order: `{00000..00012}` counts with its leading zeros, `{a,b}` lists.

    Raises:
        UserError: A range is not one.
    """
    found: list[str] = []
    for word in pattern.split(SEPARATOR):
        parts = BRACES.split(word)
        choices = [_choices(part, word) if number % 2 else [part] for number, part in enumerate(parts)]
        found += ["".join(choice) for choice in itertools.product(*choices)]
    return found


def _choices(inside: str, pattern: str) -> list[str]:
    if ".." not in inside:
        return inside.split(",")
    low, _, high = inside.partition("..")
    if not (low.isdecimal() and high.isdecimal() and int(low) <= int(high)):
        raise UserError(f"{{{inside}}} in {pattern} is not a range.", "Example: https://host/{00000..00099}.tar")
    width = len(low) if low.startswith("0") else 0
    return [f"{number:0{width}d}" for number in range(int(low), int(high) + 1)]


def find_shards(data: Path | str, cache: Path, skip_bad: bool = False) -> tuple[list[Path], tuple[Problem, ...]]:
    """Return the shards that are meant, fetched if they lie elsewhere, and those that cannot be had.

    Args:
        data: A folder of shards, or a pattern.
        cache: Folder in which what is fetched is kept.
        skip_bad: Go on without a shard that cannot be had.

    Raises:
        UserError: The pattern is not one, or names another scheme than http and https.
        DataError: No such folder, no shard in it, or a shard that cannot be had.
    """
    if isinstance(data, Path):
        return list_shards(data), ()
    words = expand(data)
    for word in words:
        if "://" in word and urlsplit(word).scheme not in ("http", "https"):
            raise UserError(f"{word} is neither a file nor an http(s) URL.", "Fetch it first, and name the folder.")
    with progress_bar(sum("://" in word for word in words), "fetching", "shard") as bar, ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            found = list(pool.map(partial(_have, cache=cache, skip_bad=skip_bad, bar=bar), words))
        finally:  # after an error or Ctrl-C, nothing further is begun
            pool.shutdown(cancel_futures=True)
    paths = [path for path in found if isinstance(path, Path)]
    problems = tuple(problem for problem in found if isinstance(problem, Problem))
    if not paths:
        raise problems[0].error()
    return paths, problems


def _have(word: str, cache: Path, skip_bad: bool, bar: Any) -> Path | Problem:
    """Return a shard's file, or why there is none."""
    try:
        path = fetch_shard(word, cache, bar) if "://" in word else Path(word).expanduser()
        if not path.is_file():
            raise DataError(f"{path} does not exist.", "Check the pattern.")
    except DataError as error:
        if not skip_bad:
            raise
        return Problem(PurePosixPath(urlsplit(word).path).name, error.what, error.hint, -1)
    return path


def fetch_shard(url: str, cache: Path, bar: Any) -> Path:
    """Return a shard's file in the cache; what is there once is not asked for again.

    Raises:
        DataError: It cannot be had; what has come in is kept.
    """
    parts = urlsplit(url)
    place = PurePosixPath(parts.path)
    folder = cache / "fetched" / digest_json([parts.netloc, str(place.parent)])[:16]
    path = folder / place.name
    try:
        with _alone(folder, place.name):
            if not path.is_file():
                incoming = Incoming(path)
                ask(url, incoming.receive, incoming.headers, lambda: incoming.got, bar.set_postfix_str)
                incoming.finish()
    except Refused as error:
        raise DataError(f"Cannot get {url.partition('?')[0]}: {error}.", GO_ON) from error
    except OSError as error:
        raise DataError(f"Cannot write {path}: {error.strerror or error}.", ROOM) from error
    bar.update()
    return path


@contextmanager
def _alone(folder: Path, name: str) -> Iterator[None]:
    """Hold a lock, so that the processes of one run fetch a shard once; the others wait and find it there."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / f".{name}.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


class Incoming:
    """A file that is coming in, of which neither size nor digest is known beforehand.

    Args:
        path: Where it will lie when it is whole.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.part, self.tag = path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.etag")

    @property
    def got(self) -> int:
        """Bytes that have come in."""
        return self.part.stat().st_size if self.part.exists() else 0

    def headers(self) -> dict[str, str]:
        """Return the headers that ask for the rest, if the server can tell that it is the rest of the same file."""
        if self.got and self.tag.exists():
            return {"Range": f"bytes={self.got}-", "If-Range": self.tag.read_text(encoding="utf-8")}
        return {}

    def receive(self, answer: Any) -> None:
        """Append an answer; from the beginning where it is the whole file.

        Raises:
            Refused: It comes encoded.
            ConnectionError: It ended too early.
        """
        if (answer.headers.get("Content-Encoding") or "identity") != "identity":
            raise Refused("it comes encoded, not as it is")
        goes_on = answer.status == 206 and (answer.headers.get("Content-Range") or "").startswith(f"bytes {self.got}-")
        if not goes_on:
            self.part.unlink(missing_ok=True)
            self.tag.unlink(missing_ok=True)
            if answer.status == 206:
                raise ConnectionError("it answers with another part than asked for")
            self._note(answer.headers.get("ETag") or "")
        whole = self.got + int(answer.headers.get("Content-Length") or -1)
        self._append(answer)
        if answer.headers.get("Content-Length") and self.got != whole:
            raise ConnectionError(f"it ended after {self.got:,} of {whole:,} bytes")

    def _note(self, tag: str) -> None:
        if tag and not tag.startswith("W/"):  # a weak one does not say that the bytes are the same
            write_text(self.tag, tag)

    def _append(self, answer: Any) -> None:
        with self.part.open("ab") as stream:
            while block := answer.read(BLOCK):
                try:
                    stream.write(block)
                    stream.flush()
                except OSError as error:  # here, so that a full disk is not taken for a lost connection
                    raise DataError(f"Cannot write {self.part}: {error.strerror}.", ROOM) from error

    def finish(self) -> None:
        """Let the file take its place, synced to disk."""
        with self.part.open("rb+") as stream:
            os.fsync(stream.fileno())
        self.part.replace(self.path)
        self.tag.unlink(missing_ok=True)
