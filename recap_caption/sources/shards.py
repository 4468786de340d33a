"""Shards in the layout of img2dataset as an input; what a torn one still has is read, and what it lacks is counted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from recap_caption.rows import BAD_IMAGE
from recap_caption.sources.base import Fault, Item, Opened, Part, Reading, mark_repeated, plain_key
from recap_caption.sources.files import GONE, identify, size_of
from recap_caption.sources.sidecars import texts_of
from recap_eval.data.shard_index import stated_size
from recap_eval.data.shards import IMAGE_SUFFIXES, Member, walk
from recap_eval.errors import DataError

IMAGE = "image"
READ = (".txt", ".json")
NO_IMAGE = Fault(BAD_IMAGE, "NoImage", f"there are texts of this key, and no image that ends in {', '.join(IMAGE_SUFFIXES)}")


class Shards:
    """Numbered tars.

    Args:
        paths: The tars, in order.
        reading: How they are read.
    """

    form, has_texts = "shards", True

    def __init__(self, paths: list[Path], reading: Reading) -> None:
        self._paths, self._roles = paths, reading.roles
        self.names = [path.name for path in paths]

    def parts(self) -> Iterator[Part]:
        """Yield a part a tar."""
        for number, path in enumerate(self._paths):
            yield Part(path.stem, size_of(path), number, stated_size(path))

    def identity(self, part: Part, hashed: bool) -> str:
        """Return size and time of a tar, or its digest."""
        return identify([self._paths[part.file]], hashed)

    def open(self, part: Part) -> Opened:
        """Read a tar's headers and texts.

        Raises:
            DataError: It cannot be opened.
        """
        path = self._paths[part.file]
        tar = OpenFile(path)
        groups, torn = read_groups(path)
        if torn is not None and groups:
            groups.pop()  # of the last one, members may be missing
        items = mark_repeated([self._item(tar, key, found) for key, found in groups])
        return Opened(items, torn, _lost(path, len(items)) if torn else 0, tar.close)

    def _item(self, tar: OpenFile, key: str, found: dict[str, Any]) -> Item:
        fields, fault = texts_of({suffix: found[suffix] for suffix in READ if suffix in found}, self._roles)
        key = plain_key(key)
        if IMAGE not in found:
            return Item(key, f"{tar.name}:{key}", **fields, fault=fault or NO_IMAGE)
        suffix, place = found[IMAGE]
        where = f"{tar.name}:{key}{suffix}"
        return Item(key, where, **fields, read_image=partial(tar.read, place, where), fault=fault)


def read_groups(path: Path) -> tuple[list[tuple[str, dict[str, Any]]], str | None]:
    """Return a tar's samples, and why it ended too early.

    Members of one key belong together wherever they lie; a second image, or a second text of a kind, begins another sample of
    the same key.

    Returns:
        Key and members: "image" as ending and byte range, texts as contents by ending; in the order of their first members.
    """
    groups: list[tuple[str, dict[str, Any]]] = []
    latest: dict[str, dict[str, Any]] = {}

    def add(key: str, suffix: str, place: Member, payload: bytes | None) -> None:
        kind = IMAGE if payload is None else suffix
        if key not in latest or kind in latest[key]:
            latest[key] = {}
            groups.append((key, latest[key]))
        latest[key][kind] = (suffix, place) if payload is None else payload

    torn = walk(path, add)
    return groups, torn


def _lost(path: Path, whole: int) -> int:
    stated = stated_size(path)
    return -1 if stated is None else max(0, stated - whole)


class OpenFile:
    """A file that threads read byte ranges of.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.name = path.name
        try:
            self._handle: int | None = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise DataError(f"Cannot read {path}: {error.strerror}.", GONE) from error

    def read(self, place: Member, where: str) -> bytes:
        """Return a byte range.

        Raises:
            DataError: It cannot be read, or ends too early.
        """
        if self._handle is None:
            raise DataError(f"{where} was given back already.", "Read images before their shard is done.")
        try:
            payload = os.pread(self._handle, place.size, place.offset)
        except OSError as error:
            raise DataError(f"Cannot read {where}: {error.strerror}.", GONE) from error
        if len(payload) != place.size:
            raise DataError(f"{where} is cut short.", GONE)
        return payload

    def close(self) -> None:
        """Give the file back."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
