"""Questions about images, in the form in which a captioner's tasks take them, whatever files they come from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from recap_eval.data.items import DataId, ImageItem


@dataclass(frozen=True)
class Question:
    """One question.

    Args:
        key: Its key, unique in the data set.
        parts: What is shown and told, in order.
        right: What is right, in JSON's types: an answer, several, or the truth that an answer is held against.
        cluster: What it shares with others, such as their image; empty for its images' own content.
        kind: Its kind, such as "open".
        groups: What it counts for besides the whole, such as its subject.
        options: What can be chosen from, if anything.
    """

    key: str
    parts: tuple[str | ImageItem, ...]
    right: Any
    cluster: str = ""
    kind: str = ""
    groups: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    @property
    def images(self) -> list[ImageItem]:
        """Its images, in order."""
        return [part for part in self.parts if not isinstance(part, str)]

    @property
    def words(self) -> list[str]:
        """Its words, in order."""
        return [part for part in self.parts if isinstance(part, str)]


@dataclass(frozen=True)
class Questions:
    """A set of questions.

    Args:
        source: Which data this is.
        items: The questions.
        settings: What of them is the user's choice and changes a figure.
        official: How many the official set has; 0 if nobody says. Other numbers make a result partial.
    """

    source: DataId
    items: list[Question]
    settings: dict[str, Any] = field(default_factory=dict)
    official: int = 0

    @property
    def incomplete(self) -> str | None:
        """How the set differs in size from the official one; None if it does not, or if nobody says what its size is."""
        differs = self.official and len(self.items) != self.official
        return f"{len(self.items):,} questions instead of {self.official:,}" if differs else None

    def first(self, n: int) -> Questions:
        """Return the part of the first `n` questions."""
        return replace(self, items=self.items[:n])

    def contents(self) -> list[object]:
        """Return per question what besides its images counts for the fingerprint."""
        return [[item.words, item.right, item.kind, list(item.options)] for item in self.items]
