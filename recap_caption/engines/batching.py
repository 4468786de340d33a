"""Which questions go into a batch: those that are alike, of similar length, so that little padding is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

T = TypeVar("T")

WINDOW = 4  # batches whose questions are sorted by length together
TOKENS = 1024  # a whole batch of prompts of so many tokens fits; of longer ones, fewer


def batches(
    questions: Iterable[T], size: Callable[[], int], length: Callable[[T], int], kind: Callable[[T], object]
) -> Iterator[list[T]]:
    """Yield batches; questions of one kind only in each, and every question in one.

    No more are read ahead than the next batch if all of it are of the same kind and length; else `WINDOW` batches.

    Args:
        questions: The questions; taken as there is room.
        size: Tells how many fit into a batch, which may become fewer on the way.
        length: Tells the tokens of a question.
        kind: Tells what a batch's questions must have in common.
    """
    waiting = iter(questions)
    while window := list(islice(waiting, size())):
        if len({(kind(one), length(one)) for one in window}) > 1:
            window += islice(waiting, (WINDOW - 1) * size())
        yield from _sorted_batches(window, size, length, kind)


def _sorted_batches(
    window: Sequence[T], size: Callable[[], int], length: Callable[[T], int], kind: Callable[[T], object]
) -> Iterator[list[T]]:
    groups: dict[object, list[T]] = {}
    for one in window:
        groups.setdefault(kind(one), []).append(one)
    for group in groups.values():
        group.sort(key=length)
        while group:
            n = fitting([length(one) for one in group], size())
            yield group[:n]
            del group[:n]


def fitting(lengths: Sequence[int], size: int) -> int:
    """Return how many of the first questions fit into one batch, at least one.

    Args:
        lengths: Their tokens, ascending.
        size: How many fit if they are of usual length.
    """
    n = min(size, len(lengths))
    while n > 1 and n * lengths[n - 1] > size * TOKENS:
        n -= 1
    return n
