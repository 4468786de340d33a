"""What tasks ask of a model that answers about images in words, and the loop of those that answer in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from recap_eval.console import progress_bar
from recap_eval.data.items import ImageItem
from recap_eval.errors import DataError
from recap_eval.models.base import ModelId
from recap_eval.models.pixels import decode_image

STOP, LENGTH = "stop", "length"  # why an answer ended: by itself, or at the most tokens allowed


@dataclass(frozen=True)
class Ask:
    """One thing asked.

    Args:
        key: What its answer is kept under.
        where: What it is of, for messages.
        parts: What is shown and told, in order.
        most: The most tokens of the answer.
    """

    key: str
    where: str
    parts: tuple[str | ImageItem, ...]
    most: int

    @property
    def n_words(self) -> int:
        """Characters told: a measure of its length."""
        return sum(len(part) for part in self.parts if isinstance(part, str))


@dataclass(frozen=True)
class Said:
    """An answer as it was generated.

    Args:
        text: Its words, untouched.
        finish_reason: "stop", "length", or a server's own word.
        tokens_in: Tokens of the question, those of images included; 0 if unknown.
        tokens_out: Tokens of the answer, the one that ends it included; 0 if unknown.
    """

    text: str
    finish_reason: str = STOP
    tokens_in: int = 0
    tokens_out: int = 0


@dataclass
class Missed:
    """What has no answer.

    Args:
        failed: Why, by key.
        bad: What is wrong with unreadable images, by the key of what was asked about them.
    """

    failed: dict[str, str] = field(default_factory=dict)
    bad: dict[str, str] = field(default_factory=dict)


Keep = Callable[[list[tuple[Ask, Said]]], None]


class Captioner(Protocol):
    """Answers about images in words, greedily: the likeliest token each time.

    Attributes:
        id: Which model it is, and how it is fed.
        context: Tokens that a question and its answer may have together; 0 if unknown.
    """

    id: ModelId
    context: int

    def answer(self, asks: Sequence[Ask], keep: Keep, skip_bad: bool, progress: bool) -> Missed:
        """Answer everything asked, each once, in any order.

        Args:
            asks: What is asked.
            keep: Called with answers as they come; what it has been called with is not asked again.
            skip_bad: Leave out unreadable images instead of stopping.
            progress: Show progress on standard error.

        Raises:
            UserError, DataError: Nothing can be answered, or an image is unreadable and those are not to be left out.
        """


class Generator(Protocol):
    """A model in this process: what `in_batches` drives, and what any other loop over images may drive."""

    def generate(self, prompts: Sequence[Sequence[Any]], max_new_tokens: int) -> list[Said]:
        """Answer (B) prompts greedily, each a sequence of words and decoded RGB images in the order shown.

        Args:
            prompts: (B) sequences of `str` and PIL images.
            max_new_tokens: The most tokens of an answer.
        """


def in_batches(
    generator: Generator, asks: Sequence[Ask], size: int, keep: Keep, skip_bad: bool, progress: bool
) -> Missed:  # fmt: skip
    """Answer in batches of things of like length; every batch is kept before the next begins.

    Args:
        generator: The model.
        asks: What is asked.
        size: Things a batch.
        keep: See `Captioner.answer`.
        skip_bad: Likewise.
        progress: Likewise.

    Raises:
        DataError: An image is unreadable, and those are not to be left out.
    """
    missed = Missed()
    with progress_bar(len(asks), "  answering", "answers", disable=not progress) as bar:
        for batch in batches(asks, size):
            shown = [(ask, parts) for ask in batch if (parts := _decoded(ask, missed, skip_bad)) is not None]
            if shown:
                said = generator.generate([parts for _, parts in shown], batch[0].most)
                keep([(ask, one) for (ask, _), one in zip(shown, said, strict=True)])
            bar.update(len(batch))
    return missed


def batches(asks: Sequence[Ask], size: int) -> Iterator[list[Ask]]:
    """Yield what is asked in batches of one limit of tokens and as many images each, sorted by length."""
    groups: dict[tuple[int, int], list[Ask]] = {}
    for ask in asks:
        images = sum(not isinstance(part, str) for part in ask.parts)
        groups.setdefault((ask.most, images), []).append(ask)
    for _, group in sorted(groups.items()):
        ordered = sorted(group, key=lambda ask: ask.n_words)
        yield from (ordered[start : start + size] for start in range(0, len(ordered), size))


def _decoded(ask: Ask, missed: Missed, skip_bad: bool) -> list[Any] | None:
    try:
        return [
            part if isinstance(part, str) else decode_image(part.read_image(), part.where, part.box).convert("RGB")
            for part in ask.parts
        ]
    except DataError as error:
        if not skip_bad:
            raise
        missed.bad[ask.key] = error.what
        return None
