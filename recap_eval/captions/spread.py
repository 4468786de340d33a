"""Counts, sums and histograms of integers, added up over any number of batches: mean, error, quantiles."""

from __future__ import annotations

from typing import Any

import numpy as np

from recap_eval.captions.packing import pack, unpack
from recap_eval.stats import Estimate, t_quantile, wilson

WIDTH = 1024  # values told apart; all from here on share a bin, but count in full in the mean


class Spread:
    """The distribution of non-negative integers such as lengths; sums are exact, so any split of the rows gives the same."""

    def __init__(self) -> None:
        self.bins = np.zeros(WIDTH + 1, dtype=np.int64)
        self.total = self.squares = self.largest = 0

    def add(self, values: np.ndarray) -> None:
        """Add (N,) values."""
        if not len(values):
            return
        whole = values.astype(np.int64)
        self.bins += np.bincount(np.minimum(whole, WIDTH), minlength=WIDTH + 1)
        self.total += int(whole.sum())
        self.squares += _squares(whole)
        self.largest = max(self.largest, int(whole.max()))

    def merge(self, other: Spread) -> None:
        """Add what another counted."""
        self.bins += other.bins
        self.total += other.total
        self.squares += other.squares
        self.largest = max(self.largest, other.largest)

    @property
    def n(self) -> int:
        """How many values there were."""
        return int(self.bins.sum())

    def estimate(self) -> Estimate:
        """Return mean, standard error and interval, one cluster a value.

        Raises:
            ValueError: There is no value.
        """
        return mean_of(self.n, self.total, self.squares)

    @property
    def sd(self) -> float:
        """Standard deviation (N - 1); 0 for fewer than two values."""
        return float(_variance(self.n, self.total, self.squares) ** 0.5)

    def quantile(self, share: float) -> float:
        """Return the smallest value that at least `share` of the values do not exceed; of those beyond the bins the largest."""
        reached = int(np.searchsorted(np.cumsum(self.bins), max(1, int(np.ceil(share * self.n)))))
        return float(reached if reached < WIDTH else self.largest)

    def share_above(self, limit: int) -> Estimate:
        """Return the share of values above a limit (below `WIDTH`)."""
        return share_of(int(self.bins[limit + 1 :].sum()), self.n)

    def histogram(self) -> list[int]:
        """Return the bins, trailing zeros left out; the bin at `WIDTH`, if it is there, is of all from there on."""
        last = np.flatnonzero(self.bins)
        return self.bins[: int(last[-1]) + 1].tolist() if len(last) else []

    def to_json(self) -> dict[str, Any]:
        """Return the state."""
        return {"bins": pack(self.bins), "total": self.total, "squares": self.squares, "largest": self.largest}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Spread:
        """Return the state that `to_json` gave."""
        found = cls()
        found.bins = unpack(record["bins"])
        found.total, found.squares, found.largest = (int(record[name]) for name in ("total", "squares", "largest"))
        return found


def _squares(values: np.ndarray) -> int:
    """Return the exact sum of squares, also where 64 bits would not hold it."""
    if int(values.max()) < 1 << 20:
        return int(np.square(values).sum())
    return sum(value * value for value in values.tolist())


def _variance(n: int, total: int, squares: int) -> float:
    return (n * squares - total * total) / (n * (n - 1)) if n > 1 else 0.0  # exact integers until the division


def mean_of(n: int, total: int, squares: int) -> Estimate:
    """Return the mean of n integers of given sum and sum of squares, each a cluster of its own.

    Raises:
        ValueError: n is 0.
    """
    if n < 1:
        raise ValueError("There is no value.")
    mean = total / n
    if n < 2:
        return Estimate(mean, None, None, None, n, n)
    se = (_variance(n, total, squares) / n) ** 0.5
    half = t_quantile(n - 1) * se
    return Estimate(mean, se, mean - half, mean + half, n, n)


def share_of(count: int, n: int) -> Estimate:
    """Return a share; without any spread its interval is Wilson's, as in `stats.estimate`."""
    found = mean_of(n, count, count)
    if found.se != 0:
        return found
    low, high = wilson(found.value, n)
    return Estimate(found.value, 0.0, low, high, n, n)
