"""How sure a figure is: standard errors by cluster, intervals, paired differences, Holm's correction.

Per-item scores are kept with every result, so all of this is done after the fact and in closed form. Clusters are images:
the five captions of one image are not five independent items (Miller 2024, arXiv 2411.00640, section 2.2).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from recap_eval.hashrand import text_key, uniform_array

if TYPE_CHECKING:
    import numpy as np

LEVEL, ALPHA = 0.95, 0.05
MOST_EXACT = 8  # seeds; more are drawn, since all their resamples would be too many
DRAWS, RESAMPLE = 10_000, text_key("resampled seeds")
SAME = 1e-12  # means that differ by less are tied: sums of the same scores in another order


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


@cache
def t_quantile(degrees: int, level: float = LEVEL) -> float:
    """Return the two-sided Student t quantile."""
    from scipy.special import stdtrit  # what scipy.stats calls, without the second that importing that takes

    return float(stdtrit(degrees, (1 + level) / 2))


def wilson(share: float, n: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a proportion, valid at 0 and 1 where the standard error is 0 (Wilson 1927)."""
    from scipy.special import ndtri

    z = float(ndtri((1 + LEVEL) / 2))
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half))


def cluster_codes(clusters: Sequence[str] | np.ndarray) -> np.ndarray:
    """Return (N,) integers from 0 without a gap, one per distinct cluster; of such integers themselves nothing is changed."""
    import numpy as np

    names = np.asarray(clusters)
    if names.dtype.kind == "i" and len(names) and names.min() >= 0 and names.max() < len(names) and np.bincount(names).all():
        return names
    return np.unique(names, return_inverse=True)[1]


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


def estimate(values: np.ndarray, clusters: Sequence[str] | np.ndarray, share: bool = False) -> Estimate:
    """Fold per-item scores into a mean with its clustered 95 % t-interval.

    Shares without any spread (all right, all wrong, all tied) are not certain: their interval is Wilson's over the clusters.

    Args:
        values: (N,) floats, at least one.
        clusters: (N,) cluster names, such as image keys.
        share: The mean is a share of something, in [0, 1].

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
    if share and se == 0 and 0 <= mean <= 1:
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
    from scipy.special import stdtr

    if found.se is None:
        return found
    certain = 1.0 if found.value == 0 else 0.0
    p_value = certain if found.se == 0 else float(2 * stdtr(degrees, -abs(found.value) / found.se))
    half = t_quantile(degrees) * found.se
    return Estimate(found.value, found.se, found.value - half, found.value + half, found.n, found.n_clusters, p_value)


def pooled_differences(scores: np.ndarray | Sequence[Sequence[float]], base: int) -> list[Estimate] | None:
    """Return each place's paired difference to one of them, with the noise of training pooled over all places.

    Seeds and places are two additive factors with one run in each cell, a randomised block design (Cochran and Cox 1957,
    chapter 4); their residual, on (S - 1)(P - 1) degrees of freedom, is the noise of every difference. That sees far more than
    P - 1 paired tests on S - 1 degrees, and assumes that runs scatter alike at all places; `python -m benchmarks.pooling`
    prints what both say falsely where they do not.

    Args:
        scores: (S, P) of S seeds at P places.
        base: Which place the others are held against.

    Returns:
        P estimates, that of the base itself without meaning; None for fewer than two seeds or places.
    """
    import numpy as np

    values = np.asarray(scores, dtype=np.float64)
    seeds, places = values.shape
    if seeds < 2 or places < 2:
        return None
    means, degrees = values.mean(axis=0), (seeds - 1) * (places - 1)
    residual = values - means - values.mean(axis=1, keepdims=True) + values.mean()
    noise = float(np.square(residual).sum()) / degrees
    se = math.sqrt(2 * noise / seeds) if noise > SAME**2 else 0.0
    return [_with_p_value(Estimate(float(mean), se, None, None, seeds, seeds), degrees) for mean in means - means[base]]


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p-values, in the order given (Holm 1979)."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, p_values[index] * (len(p_values) - rank)))
        adjusted[index] = highest
    return adjusted


@dataclass(frozen=True)
class BestPlace:
    """Where along an axis the best lies, judged by resampling the training seeds.

    Args:
        shares: By place, the share of resamples in which it is the best; tied places share one.
        likely: Places of the smallest set that holds the best in 95 % of the resamples, in order.
        seeds: Seeds resampled.
        resamples: How many resamples.
        exact: All there are (n^n for n seeds), and none drawn at random.
    """

    shares: tuple[float, ...]
    likely: tuple[int, ...]
    seeds: int
    resamples: int
    exact: bool


def best_place(scores: np.ndarray | Sequence[Sequence[float]], upward: bool = True) -> BestPlace | None:
    """Resample training seeds and count which place is the best, all places of a seed together.

    Runs of one seed share weights, order and coins, so a seed is drawn with all its places: the paired bootstrap of the arg-max
    (Efron and Tibshirani 1993, chapter 6). Up to eight seeds, every resample counts exactly, by its number of orderings; of
    more, 10,000 are drawn by hash. A few seeds understate how far the best may move: two of two agree half the time by chance.

    Args:
        scores: (S, P) of S seeds at P places.
        upward: Whether higher is better.

    Returns:
        None for fewer than two seeds: nothing is known of the training's randomness.
    """
    import numpy as np

    signed = np.asarray(scores, dtype=np.float64) * (1 if upward else -1)
    seeds, places = signed.shape
    if seeds < 2 or places < 1:
        return None
    counts, weights = resamples(seeds)
    means = counts @ signed / seeds
    winners = means >= means.max(axis=1, keepdims=True) - SAME
    shares = (winners / winners.sum(axis=1, keepdims=True) * weights[:, None]).sum(axis=0)
    exact = seeds <= MOST_EXACT
    return BestPlace(tuple(map(float, shares)), _likely(shares), seeds, seeds**seeds if exact else DRAWS, exact)


def resamples(seeds: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (R, S) counts of each seed in each resample, and (R,) weights that sum to 1; all there are, up to eight seeds."""
    import numpy as np

    if seeds > MOST_EXACT:
        drawn = (uniform_array(np.arange(DRAWS * seeds), RESAMPLE, seeds) * seeds).astype(np.int64).reshape(DRAWS, seeds)
        return (drawn[:, :, None] == np.arange(seeds)).sum(axis=1), np.full(DRAWS, 1 / DRAWS)
    chosen = itertools.combinations_with_replacement(range(seeds), seeds)
    counts = np.array([np.bincount(one, minlength=seeds) for one in chosen])
    orderings = [math.factorial(seeds) / math.prod(map(math.factorial, one)) for one in counts.tolist()]
    return counts, np.array(orderings) / seeds**seeds


def _likely(shares: np.ndarray) -> tuple[int, ...]:
    """Return the smallest set of places whose shares sum to 95 %."""
    order = sorted(range(len(shares)), key=lambda place: -shares[place])
    sums = list(itertools.accumulate(float(shares[place]) for place in order))
    needed = next((number for number, total in enumerate(sums, 1) if total >= LEVEL - SAME), len(order))
    return tuple(sorted(order[:needed]))
