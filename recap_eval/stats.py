"""How sure a figure is: standard errors by cluster, intervals, paired differences, Holm's correction.

Per-item scores are kept with every result, so all of this is done after the fact and in closed form. Clusters are images:
the five captions of one image are not five independent items (Miller 2024, arXiv 2411.00640, section 2.2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

LEVEL, ALPHA = 0.95, 0.05


@dataclass(frozen=True)
class Estimate:
    """A mean with its uncertainty.

    Args:
        value: The mean.
        se: Standard error; None if there is only one cluster.
        low: Lower end of the 95 % interval, or None.
        high: Upper end, or None.
        n: Items averaged.
        n_clusters: Independent groups of items.
        p_value: Two-sided p-value of "the mean is 0", for differences; None otherwise.
    """

    value: float
    se: float | None
    low: float | None
    high: float | None
    n: int
    n_clusters: int
    p_value: float | None = None


def t_quantile(degrees: int, level: float = LEVEL) -> float:
    """Return the two-sided Student t quantile."""
    from scipy import stats

    return float(stats.t.ppf((1 + level) / 2, degrees))


def wilson(share: float, n: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a proportion, valid at 0 and 1 where the standard error is 0 (Wilson 1927)."""
    from scipy import stats

    z = float(stats.norm.ppf((1 + LEVEL) / 2))
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half))


def cluster_codes(clusters: Sequence[str] | np.ndarray) -> np.ndarray:
    """Return (N,) integers, one per distinct cluster name."""
    import numpy as np

    return np.unique(np.asarray(clusters), return_inverse=True)[1]


def clustered_se(values: np.ndarray, clusters: np.ndarray) -> float | None:
    """Return the standard error of the mean when items of a cluster are not independent.

    The cluster-robust (CR1) estimator; with one item a cluster it is the usual sd / sqrt(n).

    Args:
        values: (N,) floats.
        clusters: (N,) integers.
    """
    import numpy as np

    count = int(clusters.max()) + 1
    if count < 2:
        return None
    sums = np.bincount(clusters, weights=values - values.mean(), minlength=count)
    return float(np.sqrt(count / (count - 1) * np.square(sums).sum()) / len(values))


def estimate(values: np.ndarray, clusters: Sequence[str] | np.ndarray) -> Estimate:
    """Fold per-item scores into a mean with its clustered 95 % t-interval.

    Shares without any spread (all right, all wrong, all tied) are not certain: their interval is Wilson's over the clusters.

    Args:
        values: (N,) floats, at least one.
        clusters: (N,) cluster names, such as image keys.

    Raises:
        ValueError: No item, or a score that is not finite.
    """
    import numpy as np

    values = np.asarray(values, dtype=np.float64)
    if len(values) == 0 or not np.isfinite(values).all():
        raise ValueError("Scores must be finite and at least one.")
    codes = cluster_codes(clusters)
    count = int(codes.max()) + 1
    mean, se = float(values.mean()), clustered_se(values, codes)
    if se is None:
        return Estimate(mean, None, None, None, len(values), count)
    if se == 0 and 0 <= mean <= 1:
        low, high = wilson(mean, count)
    else:
        half = t_quantile(count - 1) * se
        low, high = mean - half, mean + half
    return Estimate(mean, se, low, high, len(values), count)


def paired_items(ours: np.ndarray, base: np.ndarray, clusters: Sequence[str] | np.ndarray) -> Estimate:
    """Estimate the mean difference of two models on the same items, in the same order, clustered by image.

    Says whether another test set would agree; training randomness is not in it.
    """
    import numpy as np

    diff = np.asarray(ours, dtype=np.float64) - np.asarray(base, dtype=np.float64)
    found = estimate(diff, clusters)
    return _with_p_value(found, found.n_clusters - 1)


def mean_over_seeds(values: Sequence[float]) -> Estimate:
    """Return the mean over training seeds with its t-interval; for differences, pair them by seed first.

    With one seed there is no interval: nothing is known of the training's randomness.
    """
    import numpy as np

    array = np.asarray(values, dtype=np.float64)
    found = estimate(array, np.arange(len(array)))
    if found.se == 0:  # identical seeds: the interval has no width, whatever the mean
        found = Estimate(found.value, 0.0, found.value, found.value, found.n, found.n_clusters)
    return _with_p_value(found, len(array) - 1)


def _with_p_value(found: Estimate, degrees: int) -> Estimate:
    from scipy import stats

    if found.se is None:
        return found
    if found.se == 0:
        p_value = 1.0 if found.value == 0 else 0.0
    else:
        p_value = float(2 * stats.t.sf(abs(found.value) / found.se, degrees))
    half = t_quantile(degrees) * found.se
    return Estimate(found.value, found.se, found.value - half, found.value + half, found.n, found.n_clusters, p_value)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p-values, in the order given (Holm 1979)."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, p_values[index] * (len(p_values) - rank)))
        adjusted[index] = highest
    return adjusted
