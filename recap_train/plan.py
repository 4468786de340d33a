"""The order in which samples are seen: a pure function of (seed, position), so that a run resumes from one integer.

Position counts samples seen since the start. Every sample comes exactly once an epoch; a batch may straddle two epochs,
so no tail is dropped. The order does not depend on the mix: runs at different p see the same images in the same order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recap_eval.hashrand import permute_array, text_key
from recap_train.mixing import Choices, Mix

ORDER = text_key("sample order")


@dataclass(frozen=True)
class Visit:
    """A batch of samples to see.

    Args:
        index: (B,) indices into the data set.
        epoch: (B,) epoch of each.
        choices: Which caption each is to be shown with.
    """

    index: np.ndarray
    epoch: np.ndarray
    choices: Choices

    @property
    def original(self) -> np.ndarray:
        """(B,) True where the original caption is to be shown."""
        return self.choices.original


@dataclass(frozen=True)
class Plan:
    """What is seen when.

    Args:
        keys: (N,) uint64 `text_key` of the sample keys.
        mix: The mix of captions.
        seed: The run's seed.
    """

    keys: np.ndarray
    mix: Mix
    seed: int

    def visit(self, start: int, stop: int) -> Visit:
        """Return the samples at positions [start, stop)."""
        position = np.arange(start, stop)
        epoch = position // len(self.keys)
        index = np.empty(len(position), dtype=np.int64)
        choices = Choices(*(np.zeros(len(position), dtype=kind) for kind in (bool, np.int64, bool)))
        for number in np.unique(epoch):
            rows = epoch == number
            ranks = position[rows] - number * len(self.keys)
            index[rows] = permute_array(ranks, len(self.keys), self.seed, ORDER, int(number))
            drawn = self.mix.draw(self.keys[index[rows]], int(number), self.seed)
            choices.original[rows], choices.which[rows], choices.dropped[rows] = drawn.original, drawn.which, drawn.dropped
        return Visit(index, epoch, choices)
