"""The Fréchet distance of infinitely many images, from the way it falls with N (Chong and Forsyth 2020).

The distance of N images is too large by c / N + O(1 / N^2). Four parts of the images and their unions give it at N / 4, N / 2
and N; every image is in each of these sizes' means equally often, so what is particular to the images cancels in the
differences and only the bias is left. Subsets drawn at random, the usual way, add their own noise (a quarter more error) and a
line through them ignores the curve; docs/protocols.md has the figures. Parts are moments: no features are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recap_eval.errors import DataError
from recap_eval.hashrand import permute_array, text_key
from recap_eval.metrics.features import blocks, checked
from recap_eval.metrics.frechet import Reference, frechet_distance
from recap_eval.metrics.moments import Moments

if TYPE_CHECKING:
    import numpy as np

PARTS = 4
SPLIT = text_key("parts of the images for FID-infinity")
HALVINGS = (((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2)))  # every way to pair four parts
CURVE, RICHARDSON = "curve", "richardson"
WEIGHTS = {CURVE: (8 / 3, -2.0, 1 / 3), RICHARDSON: (2.0, -1.0, 0.0)}  # of the distance at N, N / 2 and N / 4


@dataclass(frozen=True)
class Limit:
    """A Fréchet distance extrapolated to infinitely many images.

    Args:
        value: The limit; of a model that is as good as the reference it may be below 0.
        se: Its standard error: the distance's own and the extrapolation's; None if the former was not given.
        extrapolation_se: The extrapolation's share of it.
        bias: By how much the distance of all images is larger.
        method: `curve` (N, N / 2, N / 4: no term in 1 / N or 1 / N^2 is left) or `richardson` (N, N / 2: none in 1 / N).
        points: Images and mean distance at each size.
    """

    value: float
    se: float | None
    extrapolation_se: float
    bias: float
    method: str
    points: tuple[tuple[float, float], ...]


def parts_of(n: int, seed: int = 0) -> np.ndarray:
    """Return (n,) which of the four parts each image is in: a keyed permutation, so that the parts are of one size.

    Where n is not known beforehand, a hash of each image's id modulo four will do: unequal parts are weighed by their size.
    """
    import numpy as np

    return permute_array(np.arange(n), n, seed, SPLIT) % PARTS if n else np.zeros(0, dtype=np.int64)


def part_moments(features: np.ndarray, seed: int = 0) -> list[Moments]:
    """Return the moments of the four parts of (N, D) features; `Moments.merged` of them has all images."""
    array = checked(features)
    parts, part = [Moments() for _ in range(PARTS)], parts_of(len(array), seed)
    for start, rows in blocks(array):
        for number, moments in enumerate(parts):
            moments.update(rows[part[start : start + len(rows)] == number])
    return parts


def frechet_infinity(
    parts: Sequence[Moments], reference: Reference, se: float | None = None, method: str | None = None
) -> Limit:
    """Extrapolate the Fréchet distance to infinitely many images.

    Args:
        parts: Moments of four parts of the images, split by chance (`part_moments`, `parts_of`).
        reference: What they are compared with; taken as fixed.
        se: Standard error of the distance of all images (`influence`), which the limit inherits.
        method: `curve`, `richardson`, or None for `curve` where each quarter has more images than features, else `richardson`.

    Raises:
        DataError: Too few images: below the number of features the distance does not fall as 1 / N.
        ValueError: Not four parts, or an unknown method.
    """
    import numpy as np

    chosen = _method(parts, reference.dim, method)
    n = sum(part.n for part in parts)
    whole = _mean_distance(parts, [tuple(range(PARTS))], reference)
    halves = [_mean_distance(parts, halving, reference) for halving in HALVINGS]
    quarters = _mean_distance(parts, [(i,) for i in range(PARTS)], reference) if chosen == CURVE else 0.0
    means = (whole, float(np.mean(halves)), quarters)
    value = sum(weight * mean for weight, mean in zip(WEIGHTS[chosen], means, strict=True))
    # The halvings' spread is as large as the second-order noise of the distance itself, which the extrapolation also carries.
    own = float(np.sqrt((1 + 1 / len(halves)) * np.var(halves, ddof=1)))
    sizes = (n, n / 2, n / 4) if chosen == CURVE else (n, n / 2)
    points = tuple(zip(sizes, means, strict=False))
    return Limit(value, None if se is None else float(np.hypot(se, own)), own, whole - value, chosen, points)


def _method(parts: Sequence[Moments], dim: int, asked: str | None) -> str:
    if len(parts) != PARTS or asked not in (None, *WEIGHTS):
        raise ValueError(f"{len(parts)} parts and method {asked!r}: four parts and one of {', '.join(WEIGHTS)} are known.")
    smallest = {CURVE: min(part.n for part in parts)}
    smallest[RICHARDSON] = min(parts[i].n + parts[j].n for halving in HALVINGS for i, j in halving)
    fitting = [name for name in WEIGHTS if smallest[name] > dim and asked in (None, name)]
    if not fitting:
        n = sum(part.n for part in parts)
        what = f"{n} images are too few to extrapolate a distance of {dim} features."
        raise DataError(what, f"Score more than {(4 if asked == CURVE else 2) * (dim + 1)} images.")
    return fitting[0]


def _mean_distance(parts: Sequence[Moments], unions: Sequence[tuple[int, ...]], reference: Reference) -> float:
    """Return the mean distance over disjoint unions that make up the whole, weighed by their size.

    With these weights the images' influences add up to that of the whole, and the bias to c / N times the number of unions.
    """
    total = 0.0
    for union in unions:
        some = Moments.merged(parts[i] for i in union)
        total += some.n * frechet_distance(some.statistics(), reference).value
    return total / sum(part.n for part in parts)
