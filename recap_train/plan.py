"""The order in which samples are seen: a pure function of (seed, position), so that a run resumes from one integer.

Position counts samples seen since the start. Every sample comes exactly once an epoch; a batch may straddle two epochs,
so no tail is dropped. The order does not depend on the mix: runs at different p see the same images in the same order.

Up to `window` samples, an epoch is one permutation of all. A larger set is too large to be read at random: there the shards are
permuted, follow each other in windows of about `window` samples, and the samples of each window are permuted. So reading
stays within the shards of one window at a time, and any position is found from a table of three numbers a shard.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from recap_eval.hashrand import permute_array, text_key
from recap_train.mixing import Choices, Mix

ORDER = text_key("sample order")
SHARD_ORDER = text_key("shard order")
WINDOW = 1 << 20  # samples


class KeyTable(Protocol):
    """The 64-bit keys of all samples: an array, or what looks them up."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: np.ndarray, /) -> np.ndarray:
        """Return the (B,) uint64 keys of (B,) samples."""


@dataclass(frozen=True)
class Visit:
    """A batch of samples to see.

    Args:
        index: (B,) indices into the data set.
        epoch: (B,) epoch of each.
        choices: Which caption each is to be shown with.
        keys: (B,) uint64 `text_key` of each sample key.
    """

    index: np.ndarray
    epoch: np.ndarray
    choices: Choices
    keys: np.ndarray

    @property
    def original(self) -> np.ndarray:
        """(B,) True where the original caption is to be shown."""
        return self.choices.original


@dataclass(frozen=True)
class Windows:
    """The order of the shards in one epoch.

    Args:
        first: (S,) the first sample of each shard, in the epoch's order.
        begin: (S,) where in the epoch each shard's samples begin, counted from 0.
        edges: (W + 1,) where each window begins, and the end of the last.
    """

    first: np.ndarray
    begin: np.ndarray
    edges: np.ndarray


@dataclass(frozen=True)
class Plan:
    """What is seen when.

    Args:
        keys: (N,) uint64 `text_key` of the sample keys.
        mix: The mix of captions.
        seed: The run's seed.
        sizes: (S,) samples in each shard, if the samples lie in shards.
        window: Samples that are permuted together.
    """

    keys: KeyTable
    mix: Mix
    seed: int
    sizes: np.ndarray | None = None
    window: int = WINDOW
    _tables: dict[int, Windows] = field(default_factory=dict, repr=False, compare=False)

    @property
    def windowed(self) -> bool:
        """True if the set is larger than a window."""
        return self.sizes is not None and len(self.keys) > self.window

    def visit(self, start: int, stop: int) -> Visit:
        """Return the samples at positions [start, stop)."""
        position = np.arange(start, stop)
        epoch = position // len(self.keys)
        index = np.empty(len(position), dtype=np.int64)
        choices = Choices(*(np.zeros(len(position), dtype=kind) for kind in (bool, np.int64, bool)))
        keys = np.empty(len(position), dtype=np.uint64)
        for number in np.unique(epoch):
            rows = epoch == number
            index[rows] = self._order(position[rows] - number * len(self.keys), int(number))
            keys[rows] = self.keys[index[rows]]
            drawn = self.mix.draw(keys[rows], int(number), self.seed)
            choices.original[rows], choices.which[rows], choices.dropped[rows] = drawn.original, drawn.which, drawn.dropped
        return Visit(index, epoch, choices, keys)

    def _order(self, ranks: np.ndarray, epoch: int) -> np.ndarray:
        """Return which samples stand at these places of an epoch."""
        if not self.windowed:
            return permute_array(ranks, len(self.keys), self.seed, ORDER, epoch)
        table = self.windows(epoch)
        window = np.searchsorted(table.edges, ranks, side="right") - 1
        place = np.empty(len(ranks), dtype=np.int64)
        for number in np.unique(window):
            rows, (low, high) = window == number, table.edges[number : number + 2]
            place[rows] = low + permute_array(ranks[rows] - low, int(high - low), self.seed, ORDER, epoch, int(number))
        shard = np.searchsorted(table.begin, place, side="right") - 1
        index: np.ndarray = table.first[shard] + place - table.begin[shard]
        return index

    def windows(self, epoch: int) -> Windows:
        """Return the order of the shards in an epoch; the tables of two epochs are kept."""
        if epoch not in self._tables:
            for old in sorted(self._tables)[: len(self._tables) - 1]:
                del self._tables[old]
            self._tables[epoch] = self._table(epoch)
        return self._tables[epoch]

    def _table(self, epoch: int) -> Windows:
        sizes = np.asarray(self.sizes)
        shards = np.flatnonzero(sizes)  # empty ones would be found twice
        order = shards[permute_array(np.arange(len(shards)), len(shards), self.seed, SHARD_ORDER, epoch)]
        begin = np.cumsum(sizes[order]) - sizes[order]
        _, heads = np.unique(begin // self.window, return_index=True)
        first = np.cumsum(sizes) - sizes
        return Windows(first[order], begin, np.append(begin[heads], len(self.keys)))
