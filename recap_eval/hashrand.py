"""Random numbers as pure functions of what they are drawn for; no generator is ever advanced.

Every draw is a hash of integers such as (seed, stream, sample, epoch), in 64-bit integer arithmetic only. So the same
question has the same answer on any machine, in any order, at any number of workers, and a resumed run needs no state.
The mixing function is splitmix64's finaliser (Steele, Lea and Flood 2014).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
MIX_1, MIX_2 = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
FEISTEL_ROUNDS = 6


def text_key(text: str) -> int:
    """Return a stable 64-bit key of a text (a sample key, a stream's name)."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def text_hashes(texts: Any) -> np.ndarray:
    """Return (N,) uint64 stable hashes of N texts; 0 where there is none. Faster than `text_key`, and another function."""
    import numpy as np
    from pandas.util import hash_array

    array = np.asarray(texts, dtype=object)
    known = np.array([text is not None for text in array], dtype=bool)
    out = np.zeros(len(array), dtype=np.uint64)
    if known.any():
        out[known] = hash_array(array[known], categorize=False)
    return out


def _mix(z: int) -> int:
    z = (z + GOLDEN) & MASK
    z = ((z ^ (z >> 30)) * MIX_1) & MASK
    z = ((z ^ (z >> 27)) * MIX_2) & MASK
    return z ^ (z >> 31)


def combine(*parts: int) -> int:
    """Hash integers, in order, to one 64-bit integer."""
    state = 0
    for part in parts:
        state = _mix(state ^ (part & MASK))
    return state


def combine_array(values: np.ndarray, *parts: int) -> np.ndarray:
    """Hash each of `values` together with the same `parts`: equal to `combine(*parts, value)` per element.

    Args:
        values: (N,) non-negative integers.
        parts: The integers that all draws share.

    Returns:
        (N,) uint64 hashes.
    """
    import numpy as np

    z = values.astype(np.uint64) ^ np.uint64(combine(*parts))
    z += np.uint64(GOLDEN)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(MIX_1)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(MIX_2)
    return z ^ (z >> np.uint64(31))


def uniform_array(values: np.ndarray, *parts: int) -> np.ndarray:
    """Return (N,) float64 in [0, 1), one per value: `combine_array` scaled by 2^-53."""
    import numpy as np

    return (combine_array(values, *parts) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def permute_array(index: np.ndarray, n: int, *parts: int) -> np.ndarray:
    """Return where a keyed permutation of range(n) sends each index: a Feistel network with cycle walking.

    Constant memory and random access, so the order of a billion samples needs no list (Black and Rogaway 2002).

    Args:
        index: (N,) integers in [0, n).
        n: Size of the permuted range, at least 1.
        parts: The integers that name the permutation, such as (seed, stream, epoch).

    Returns:
        (N,) int64 integers in [0, n); distinct for distinct indices.
    """
    import numpy as np

    half = max(1, (max(n - 1, 1).bit_length() + 1) // 2)
    shift, mask = np.uint64(half), np.uint64((1 << half) - 1)
    out = index.astype(np.uint64)
    walking = np.ones(len(out), dtype=bool)
    while walking.any():
        left, right = out[walking] >> shift, out[walking] & mask
        for number in range(FEISTEL_ROUNDS):
            left, right = right, left ^ (combine_array(right, *parts, number) & mask)
        out[walking] = (left << shift) | right
        walking = out >= np.uint64(n)
    return out.astype(np.int64)


class Draws:
    """A sequence of draws for one thing: the n-th draw is a hash of (the thing's integers, n).

    Args:
        parts: The integers that name what is drawn for, such as (seed, stream, index).
    """

    def __init__(self, *parts: int) -> None:
        self._base = combine(*parts)
        self._count = 0

    def bits(self) -> int:
        """Return the next 64 random bits."""
        self._count += 1
        return _mix(self._base ^ self._count)

    def below(self, n: int) -> int:
        """Return an integer in [0, n); its bias is under n / 2^64."""
        return (self.bits() * n) >> 64

    def between(self, low: int, high: int) -> int:
        """Return an integer in [low, high], both ends included."""
        return low + self.below(high - low + 1)

    def chance(self, rate: float) -> bool:
        """Return True with probability `rate`."""
        return (self.bits() >> 11) * 2.0**-53 < rate

    def pick(self, options: tuple[T, ...] | list[T]) -> T:
        """Return one of `options`, each equally likely."""
        return options[self.below(len(options))]
