"""What can be claimed of a scene: things, relations, counts, background."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Mention:
    """A thing that is told of; None and () stand for what is not told.

    Args:
        colour: Index into `lexicon.TOLD_COLOURS`; those beyond COLOURS are no thing's.
        shape: Index into SHAPES.
        size: Index into SIZES.
        places: The PLACES where it may be: one, or two for "on the left".
    """

    colour: int | None = None
    shape: int | None = None
    size: int | None = None
    places: tuple[int, ...] = ()

    @property
    def told(self) -> dict[str, Any]:
        """What is told, by field."""
        return {field.name: value for field in fields(self) if (value := getattr(self, field.name)) not in (None, ())}


@dataclass(frozen=True)
class Relation:
    """Mention number `a` is to the `name` ("left", "right", "above", "below") of mention number `b`."""

    a: int
    name: str
    b: int


@dataclass(frozen=True)
class Count:
    """There are exactly `n` things like `what`; a mention in which nothing is told means all things."""

    n: int
    what: Mention = Mention()


@dataclass(frozen=True)
class Claims:
    """All that a text claims.

    Args:
        mentions: The things told of; "two circles" are two.
        relations: Between them.
        counts: How many there are of what.
        ground: Index into `lexicon.TOLD_GROUNDS`, or None.
        texture: Index into TEXTURES, or None.
        words: Words of the text.
        unknown: Words that were not understood.
    """

    mentions: tuple[Mention, ...] = ()
    relations: tuple[Relation, ...] = ()
    counts: tuple[Count, ...] = ()
    ground: int | None = None
    texture: int | None = None
    words: int = 0
    unknown: int = 0

    @property
    def n(self) -> int:
        """How many claims these are: each attribute of each thing is one."""
        told = sum(
            (m.colour is not None) + (m.shape is not None) + (m.size is not None) + bool(m.places) for m in self.mentions
        )
        return told + len(self.relations) + len(self.counts) + (self.ground is not None) + (self.texture is not None)
