"""How fast captions came, and how sure that is; no clock of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

START = 0.25  # the most of all captions that may be left out with the first burst
FEWEST = 3  # bursts after the first from which an interval can be told


@dataclass(frozen=True)
class Estimate:
    """A figure with its uncertainty.

    Args:
        value: The figure.
        error: Its standard error; None if unknown.
        n: Of how many independent parts.
    """

    value: float
    error: float | None
    n: int

    def interval(self) -> tuple[float, float] | None:
        """Return the 95 % interval by Student's t, not below 0; None if unknown."""
        if self.error is None:
            return None
        from scipy import stats

        width = float(stats.t.ppf(0.975, self.n - 1)) * self.error
        return max(0.0, self.value - width), self.value + width


def bursts(moments: Sequence[float]) -> list[tuple[float, int]]:
    """Return when captions came together, and how many: an engine answers a batch, or what was asked together, at once.

    A gap longer than the mean begins another burst.

    Args:
        moments: Seconds at which captions came, ascending.

    Returns:
        The moment of each burst's last caption, and its number of captions.
    """
    if not moments:
        return []
    gaps = [after - before for before, after in pairwise(moments)]
    middle = (moments[-1] - moments[0]) / max(1, len(gaps))
    edges = [place for place, gap in enumerate(gaps, start=1) if gap > 0 and gap >= middle] + [len(moments)]
    starts = [0, *edges[:-1]]
    return [(moments[end - 1], end - start) for start, end in zip(starts, edges, strict=True)]


def pace(moments: Sequence[float], began: float) -> Estimate:
    """Return the seconds that a caption takes.

    The first burst includes the start, and is left out unless it is much of all. The standard error is that of a ratio,
    seconds by captions over bursts.

    Args:
        moments: Seconds at which captions came, ascending; at least one.
        began: When the first was asked for.
    """
    found = bursts(moments)
    if found[0][1] > START * len(moments):
        return Estimate((moments[-1] - began) / len(moments), None, 1)
    took = [after[0] - before[0] for before, after in pairwise(found)]
    counts = [count for _, count in found[1:]]
    value = math.fsum(took) / sum(counts)
    if len(took) < FEWEST:
        return Estimate(value, None, len(took))
    left = math.fsum((seconds - value * count) ** 2 for seconds, count in zip(took, counts, strict=True))
    n = len(took)
    return Estimate(value, math.sqrt(n / (n - 1) * left) / sum(counts), n)


def mean(values: Sequence[float]) -> Estimate | None:
    """Return the mean of independent values; None without any."""
    n = len(values)
    if n == 0:
        return None
    middle = math.fsum(values) / n
    if n == 1:
        return Estimate(middle, None, 1)
    return Estimate(middle, math.sqrt(math.fsum((value - middle) ** 2 for value in values) / (n - 1) / n), n)
