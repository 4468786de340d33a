"""Rank correlation of two measures over some sets, with its bootstrap interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

RESAMPLES, LEVEL = 2000, 0.95


@dataclass(frozen=True)
class RankCorrelation:
    """How alike two measures rank.

    Args:
        spearman: Spearman's rho, ties at their mean rank.
        spearman_ci: Its percentile interval, 95 %.
        kendall: Kendall's tau-b.
        kendall_ci: Its percentile interval, 95 %.
        n: Points.
    """

    spearman: float
    spearman_ci: tuple[float, float]
    kendall: float
    kendall_ci: tuple[float, float]
    n: int


def rank_correlation(x: np.ndarray, y: np.ndarray, seed: int = 0) -> RankCorrelation | None:
    """Return both rank correlations, points resampled 2,000 times (Efron and Tibshirani 1993, chapter 13).

    A resample in which one side is constant has no correlation and does not count.

    Args:
        x: (N) floats.
        y: (N) floats.
        seed: Of the resamples.

    Returns:
        None if there are fewer than three points, or all of one side are equal.

    Raises:
        ValueError: A value is not finite, or lengths differ.
    """
    import numpy as np

    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.shape != y.shape or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("Both sides must be finite and of one length.")
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    every = np.arange(len(x))[None]
    drawn = np.random.default_rng(seed).integers(0, len(x), (RESAMPLES, len(x)))
    ends = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
    rho, tau = float(_spearman(x, y, every)[0]), float(_kendall(x, y, every)[0])
    low, high = (tuple(map(float, np.nanquantile(of(x, y, drawn), ends))) for of in (_spearman, _kendall))
    return RankCorrelation(rho, (low[0], low[1]), tau, (high[0], high[1]), len(x))


def _spearman(x: np.ndarray, y: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Return rho of each row of (B, N) chosen points; NaN where one side is constant."""
    import numpy as np
    from scipy import stats

    a, b = (stats.rankdata(side[drawn], axis=1) for side in (x, y))
    a, b = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (a, b))
    spread = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    rho: np.ndarray = np.divide((a * b).sum(axis=1), spread, out=np.full(len(drawn), np.nan), where=spread > 0)
    return rho


def _kendall(x: np.ndarray, y: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Return tau-b of each row of (B, N) chosen points: pairs of points count as often as they were drawn."""
    import numpy as np

    count = np.stack([np.bincount(row, minlength=len(x)) for row in drawn]).astype(np.float64)
    a, b = (np.sign(side[:, None] - side[None, :]) for side in (x, y))
    agreed, of_a, of_b = (((count @ pairs) * count).sum(axis=1) for pairs in (a * b, np.abs(a), np.abs(b)))
    spread = np.sqrt(of_a * of_b)
    tau: np.ndarray = np.divide(agreed, spread, out=np.full(len(drawn), np.nan), where=spread > 0)
    return tau
