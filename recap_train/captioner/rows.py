"""What a stage is shown: rows of images and turns of a conversation, by number, whatever they are read from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from recap_eval.errors import DataError

HUMAN, MODEL, SYSTEM = "user", "assistant", "system"
IMAGE = "<image>"


@dataclass(frozen=True, slots=True)
class Picture:
    """Where an encoded image is: a file, a part of a file, or the bytes themselves.

    Args:
        where: The file, or a name for messages.
        offset: Where in the file it begins.
        size: Bytes it takes; None for the rest of the file.
        payload: The image itself.
    """

    where: str
    offset: int = 0
    size: int | None = None
    payload: bytes | None = None

    def read(self) -> bytes:
        """Return the encoded image.

        Raises:
            DataError: It cannot be read.
        """
        if self.payload is not None:
            return self.payload
        try:
            with Path(self.where).open("rb") as stream:
                stream.seek(self.offset)
                return stream.read(-1 if self.size is None else self.size)
        except OSError as error:
            raise DataError(f"{self.where} cannot be read: {error.strerror}.", "Is it there? --images DIR") from error


@dataclass(frozen=True, slots=True)
class Row:
    """One conversation.

    Args:
        name: What messages call it.
        pictures: Its images, all shown before the first thing that is told.
        turns: (role, text) in order: a system message perhaps, then user and assistant in turn.
    """

    name: str
    pictures: tuple[Picture, ...]
    turns: tuple[tuple[str, str], ...]

    @property
    def length(self) -> int:
        """Words of all turns."""
        return sum(len(text.split()) for _, text in self.turns)

    def messages(self) -> list[dict[str, Any]]:
        """Return the turns as a chat template takes them, places for the images in the first of the user's."""
        told = [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in self.turns]
        first = next(one for one in told if one["role"] == HUMAN)
        first["content"] = [*({"type": "image"} for _ in self.pictures), *first["content"]]
        return told


class Rows(Protocol):
    """A data set of a stage."""

    @property
    def fingerprint(self) -> str:
        """Digest of what is shown, in order."""

    @property
    def facts(self) -> dict[str, Any]:
        """What was found while it was read: rows left out, changed, without an image."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Row: ...

    def lengths(self) -> Sequence[int]:
        """Return (N) words of each row."""

    def shown(self) -> Sequence[bool]:
        """Return (N) whether a row has an image."""


@dataclass(frozen=True)
class Marks:
    """The special tokens of a tokenizer, which mean nothing where they stand in data.

    Args:
        tokens: The tokens.
    """

    tokens: tuple[str, ...]

    @cached_property
    def _found(self) -> re.Pattern[str]:
        long = sorted((token for token in self.tokens if len(token) > 1), key=len, reverse=True)
        return re.compile("|".join(map(re.escape, long)) or r"(?!)")

    def within(self, text: str) -> bool:
        """Tell whether one of them stands in a text."""
        return self._found.search(text) is not None

    def broken(self, text: str) -> str:
        """Return a text in which a space is put into each, so that `<image>` in a talk about HTML is no image."""
        while self.within(text):
            text = self._found.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)
        return text
