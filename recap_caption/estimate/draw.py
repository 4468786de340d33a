"""Which images of an input an estimate captions: those whose key has the smallest hash, of a few parts chosen alike."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from recap_caption.sources.base import Item, Opened, Source
from recap_eval.errors import DataError
from recap_eval.hashrand import combine, text_key

PARTS = 8  # parts that are opened
PURPOSE = text_key("estimate")


@dataclass(frozen=True)
class Drawn:
    """Images of an input.

    Args:
        items: The images.
        parts: How many parts they are from.
        of: How many parts the input has.
        total: How many images the input has, as parts say or by their sizes.
        exactly: Whether every part says so.
    """

    items: list[Item]
    parts: int
    of: int
    total: int
    exactly: bool


@contextlib.contextmanager
def draw(source: Source, n: int) -> Iterator[Drawn]:
    """Give n images of an input, or all if there are fewer; the same ones every time. They can be read within the block.

    Raises:
        DataError: The input has no images, or cannot be read.
    """
    parts = list(source.parts())
    chosen = sorted(parts, key=lambda part: combine(PURPOSE, text_key(part.name)))[:PARTS]
    opened: list[Opened] = []
    try:
        for part in chosen:
            opened.append(source.open(part).first(part.take))
        items = _spread([one.items for one in opened], n)
        if not items:
            raise DataError("The input holds no image.", "Check --input.")
        exactly = all(part.rows is not None for part in parts)
        seen, size = sum(len(one.items) for one in opened), sum(part.size for part in chosen)
        by_size = round(seen * sum(part.size for part in parts) / max(1, size))
        total = sum(part.rows or 0 for part in parts) if exactly else by_size
        yield Drawn(items, len(chosen), len(parts), total, exactly or len(chosen) == len(parts))
    finally:
        for one in opened:
            one.close()


def _spread(parts: list[list[Item]], n: int) -> list[Item]:
    """Return n items, as evenly from all parts as these allow."""
    ranked = [sorted(items, key=lambda item: combine(PURPOSE, text_key(item.key))) for items in parts]
    rounds = (items[place] for place in range(max(map(len, ranked), default=0)) for items in ranked if place < len(items))
    return [item for item, _ in zip(rounds, range(n), strict=False)]
