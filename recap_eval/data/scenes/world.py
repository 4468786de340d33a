"""The space of scenes: what can be in one, and the numbering that makes every scene unique.

A scene is one integer. Its digits, in a mixed base, say what is where. The ticket of a scene is that integer sent
through one fixed permutation; the ticket's last decimal digit (0 test, 1 validation, 2-9 training) keeps the splits apart
at any seed and any size, and a seeded permutation walks a split's tickets, so that no scene repeats within a split before
its whole space is used up.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING

from recap_eval.hashrand import permute_array, text_key

if TYPE_CHECKING:
    import numpy as np

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown")
SHAPES = ("circle", "square", "triangle", "diamond", "star", "cross", "ring", "crescent")
SIZES = ("small", "medium", "large")
PLACES = ("top left", "top right", "bottom left", "bottom right", "centre")
GROUNDS = ("white", "gray", "black", "beige")
TEXTURES = ("plain", "striped", "checkered", "dotted")
KINDS = tuple((colour, shape) for colour in COLOURS for shape in SHAPES)

CENTRE = PLACES.index("centre")
SPLIT_DIGITS = {"test": (0,), "val": (1,), "train": (2, 3, 4, 5, 6, 7, 8, 9)}
COUNTS = (1, 1, 1, 2, 2, 2, 3, 4)  # objects in scene number i: COUNTS[i % 8]


@dataclass(frozen=True)
class Thing:
    """One object: indices into COLOURS, SHAPES, SIZES and PLACES."""

    colour: int
    shape: int
    size: int
    place: int

    @property
    def kind(self) -> tuple[int, int]:
        """Colour and shape: no two things of a scene share both."""
        return self.colour, self.shape


@dataclass(frozen=True)
class Scene:
    """1-4 things on a background; `things[0]` is the main one, strictly the largest."""

    things: tuple[Thing, ...]
    ground: int
    texture: int

    @property
    def label(self) -> int:
        """Class of the main thing: its index in KINDS, 0-63."""
        return self.things[0].colour * len(SHAPES) + self.things[0].shape


@cache
def _size_patterns(count: int) -> tuple[tuple[int, ...], ...]:
    """List the sizes of (main, others …) with the main one strictly the largest."""
    patterns: list[tuple[int, ...]] = [(1,) + (0,) * (count - 1)]
    for bits in range(2 ** (count - 1)):
        patterns.append((2, *((bits >> i) & 1 for i in range(count - 1))))
    return tuple(patterns)


@cache
def _place_patterns(count: int) -> tuple[tuple[int, ...], ...]:
    """List the places of (main, others in reading order)."""
    if count == 1:
        return tuple((place,) for place in range(len(PLACES)))
    patterns = []
    for main in range(CENTRE):
        rest = [place for place in range(CENTRE) if place != main]
        patterns += [(main, *chosen) for chosen in combinations(rest, count - 1)]
    return tuple(patterns)


def _bases(count: int) -> tuple[int, ...]:
    kinds = tuple(len(KINDS) - i for i in range(count))
    return (len(GROUNDS), len(TEXTURES), len(_size_patterns(count)), len(_place_patterns(count)), *kinds)


@cache
def space_size(count: int) -> int:
    """Return how many scenes with `count` things there are."""
    size = 1
    for base in _bases(count):
        size *= base
    return size


def decode(number: int, count: int) -> Scene:
    """Return the scene with this number among those with `count` things.

    Args:
        number: Integer in [0, space_size(count)).
        count: Number of things, 1-4.
    """
    digits = []
    for base in _bases(count):
        number, digit = divmod(number, base)
        digits.append(digit)
    ground, texture, size_digit, place_digit, *kind_digits = digits
    free = list(range(len(KINDS)))
    kinds = [divmod(free.pop(digit), len(SHAPES)) for digit in kind_digits]
    sizes, places = _size_patterns(count)[size_digit], _place_patterns(count)[place_digit]
    things = tuple(Thing(colour, shape, size, place) for (colour, shape), size, place in zip(kinds, sizes, places, strict=True))
    return Scene(things, ground, texture)


def split_capacity(split: str, count: int) -> int:
    """Return how many distinct scenes with `count` things a split can hold."""
    return space_size(count) // 10 * len(SPLIT_DIGITS[split])


def _numbers(split: str, count: int, ranks: np.ndarray, seed: int) -> np.ndarray:
    """Send ranks within a split to scene numbers: seeded walk over tickets, then the fixed ticket-to-scene map.

    Without that map the last decimal digit would leak into the mixed base's lowest digit (every test scene would stand on
    an even-numbered ground).
    """
    import numpy as np

    digits = np.asarray(SPLIT_DIGITS[split])
    capacity = split_capacity(split, count)
    walked = permute_array(ranks % capacity, capacity, seed, text_key("scene"), text_key(split), count)
    tickets = walked // len(digits) * 10 + digits[walked % len(digits)]
    return permute_array(tickets, space_size(count), text_key("ticket"), count)


def draw_scenes(split: str, start: int, stop: int, seed: int) -> list[Scene]:
    """Return the scenes numbered [start, stop) of a split: the same ones however the range is cut.

    Args:
        split: "train", "val" or "test".
        start: First index.
        stop: One past the last index.
        seed: The world's seed; splits share no scene at any pair of seeds.
    """
    import numpy as np

    index = np.arange(start, stop)
    counts = np.asarray(COUNTS)[index % len(COUNTS)]
    scenes: list[Scene | None] = [None] * len(index)
    for count in sorted(set(COUNTS)):
        rows = np.flatnonzero(counts == count)
        slots = [slot for slot, value in enumerate(COUNTS) if value == count]
        ranks = index[rows] // len(COUNTS) * len(slots) + np.searchsorted(slots, index[rows] % len(COUNTS))
        for row, number in zip(rows, _numbers(split, count, ranks, seed), strict=True):
            scenes[row] = decode(int(number), count)
    return [scene for scene in scenes if scene is not None]
