"""What is told of an image by captions, wherever they come from, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from recap_caption.sources.base import Item, Part

PAIRED = "paired"
NO_ROW, FAILED, NO_CAPTION, CHANGED, UNREADABLE = "no_row", "failed", "no_caption", "changed", "unreadable"
WORDS = {  # in reports
    PAIRED: "with both captions",
    NO_ROW: "without a row",
    FAILED: "whose captioning failed",
    NO_CAPTION: "whose row has no recaption",
    CHANGED: "of which other bytes were captioned at the same URL (--accept-changed takes them)",
    UNREADABLE: "that cannot be read",
}


@dataclass(frozen=True)
class Told:
    """The captions of an image.

    Args:
        outcome: One of the keys of `WORDS`.
        org_caption: The original; None if there is none.
        re_caption: The recaption.
        facts: What else its row says, by column.
        how: What it was found by.
    """

    outcome: str
    org_caption: str | None = None
    re_caption: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    how: str = ""


class Captions(Protocol):
    """Where the captions of images come from."""

    def of(self, number: int, part: Part, items: Sequence[Item]) -> list[Told]:
        """Return what is told of a part's images.

        Args:
            number: The part's.
            part: The part.
            items: (N) its images.

        Returns:
            (N) what is told.
        """


class OwnCaptions:
    """Captions that lie beside the images themselves."""

    def of(self, number: int, part: Part, items: Sequence[Item]) -> list[Told]:
        """Return what is told of a part's images; see `Captions.of`."""
        return [tell(item.org_caption, item.re_caption, {}, "its own row") for item in items]


def tell(original: str | None, recaption: str | None, facts: dict[str, Any], how: str) -> Told:
    """Return what is told by a row; without a recaption, that there is none."""
    there = bool(recaption and recaption.strip())
    return Told(PAIRED if there else NO_CAPTION, original, recaption, facts, how)
