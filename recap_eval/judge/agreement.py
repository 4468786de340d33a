"""How good a judge is: agreement between repeats, bias for a place, rank correlation with the truth. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from recap_eval.stats import wilson

if TYPE_CHECKING:
    import numpy as np

RESAMPLES, SEED = 1000, 0
Row = Sequence[float | None]  # the figures of one item, one a repeat


@dataclass(frozen=True)
class Correlation:
    """A rank correlation.

    Args:
        value: The coefficient.
        low: Lower end of the 95 % interval; None with fewer than four items, or where it cannot be told.
        high: Upper end.
        n: Items that have both.
    """

    value: float
    low: float | None
    high: float | None
    n: int


def repeats_agree(rows: Sequence[Row]) -> dict[str, float]:
    """Return how far repeats agree: share of equal pairs, Krippendorff's alpha, mean Spearman correlation.

    Args:
        rows: (N) rows of figures, None where there is none.

    Returns:
        By name; nothing for one repeat.
    """
    if not rows or max(len(row) for row in rows) < 2:
        return {}
    pairs = [(a, b) for row in rows for a, b in combinations([one for one in row if one is not None], 2)]
    if not pairs:
        return {}
    found = {"repeat_agreement": sum(a == b for a, b in pairs) / len(pairs)}
    alpha, spearman = krippendorff(rows), _mean_spearman(rows)
    found |= {} if alpha is None else {"repeat_alpha": alpha}
    return found | ({} if spearman is None else {"repeat_spearman": spearman})


def krippendorff(rows: Sequence[Row]) -> float | None:
    """Return Krippendorff's alpha for interval data: 1 less observed over expected disagreement (Krippendorff 2011).

    Args:
        rows: (N) rows of figures, None where there is none; rows with fewer than two figures do not count.

    Returns:
        None if all figures are equal: there is nothing to tell apart.
    """
    import numpy as np

    units = [values for row in rows if len(values := [one for one in row if one is not None]) > 1]
    if not units:
        return None
    everything = np.concatenate([np.asarray(values, dtype=np.float64) for values in units])
    expected = _squares(everything) / (len(everything) - 1)
    if expected <= 0:
        return None
    observed = sum(_squares(np.asarray(values, dtype=np.float64)) / (len(values) - 1) for values in units)
    return float(1 - observed / expected)


def _squares(values: np.ndarray) -> float:
    """Return the sum of squared differences over all ordered pairs."""
    return float(2 * len(values) * ((values - values.mean()) ** 2).sum())


def _mean_spearman(rows: Sequence[Row]) -> float | None:
    import numpy as np

    found = []
    for one, two in combinations(range(max(len(row) for row in rows)), 2):
        pairs = [(row[one], row[two]) for row in rows if len(row) > two and row[one] is not None and row[two] is not None]
        value = _coefficient("spearman", np.asarray(pairs, dtype=np.float64))
        found += [] if value is None else [value]
    return sum(found) / len(found) if found else None


def correlate(kind: str, ours: Sequence[float], truth: Sequence[float]) -> Correlation | None:
    """Return a rank correlation with its interval, by resampling items (percentile bootstrap, a thousand resamples).

    Args:
        kind: "spearman" or "kendall" (tau-b); both take ties into account.
        ours: (N) figures.
        truth: (N) what they should follow.

    Returns:
        None if there are fewer than two items, or one side is constant.
    """
    import numpy as np

    pairs = np.column_stack([np.asarray(ours, dtype=np.float64), np.asarray(truth, dtype=np.float64)])
    value = _coefficient(kind, pairs)
    if value is None:
        return None
    draws = np.random.default_rng(SEED).integers(0, len(pairs), (RESAMPLES, len(pairs)))
    found = [one for draw in draws if (one := _coefficient(kind, pairs[draw])) is not None] if len(pairs) > 3 else []
    if len(found) < 0.9 * RESAMPLES:
        return Correlation(value, None, None, len(pairs))
    low, high = np.percentile(found, [2.5, 97.5])
    return Correlation(value, float(low), float(high), len(pairs))


def _coefficient(kind: str, pairs: np.ndarray) -> float | None:
    from scipy import stats

    if len(pairs) < 2 or (pairs == pairs[0]).all(axis=0).any():
        return None
    measure = {"spearman": stats.spearmanr, "kendall": stats.kendalltau}[kind]
    return float(measure(pairs[:, 0], pairs[:, 1]).statistic)


@dataclass(frozen=True)
class PlaceBias:
    """How much a comparison depends on which caption comes first.

    Args:
        consistent: Share of pairs whose verdict is the same in both orders.
        first: Share of verdicts, ties left out, for the caption that came first; a half without bias, None if all are ties.
        first_interval: Its 95 % interval.
        preferred: Mean preference for the first caption of the pair over both orders, from 0 to 1.
        n: Pairs with a verdict in both orders.
    """

    consistent: float
    first: float | None
    first_interval: tuple[float, float] | None
    preferred: float
    n: int


def place_bias(forward: Row, backward: Row) -> PlaceBias | None:
    """Return the bias for a place.

    Args:
        forward: (N) preferences for caption 1, which came first: 1, 0, or a half.
        backward: (N) preferences for caption 2, which came first then.

    Returns:
        None if no pair has both.
    """
    both = [(a, b) for a, b in zip(forward, backward, strict=True) if a is not None and b is not None]
    if not both:
        return None
    decided = [one for pair in both for one in pair if one != 0.5]
    share = sum(decided) / len(decided) if decided else None
    interval = None if share is None else wilson(share, len(decided))
    consistent = sum(a == 1 - b for a, b in both) / len(both)
    return PlaceBias(consistent, share, interval, sum((a + 1 - b) / 2 for a, b in both) / len(both), len(both))
