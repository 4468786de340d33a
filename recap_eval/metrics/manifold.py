"""Precision, recall, density and coverage: how two sets of features lie within each other's nearest-neighbour balls.

Distances are taken tile by tile, in float64, after the reference's mean is taken off (offsets cost digits).
What is below their rounding is 0: duplicates lie at distance 0, not at noise that a comparison would turn into a coin flip.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recap_eval.metrics.features import TILE, blocks, pair_of, tiles

if TYPE_CHECKING:
    import numpy as np

K_PRECISION, K_DENSITY = 3, 5  # Kynkäänniemi et al. 2019; Naeem et al. 2020
ROUNDING = 1e-12  # of the squared lengths


@dataclass(frozen=True)
class Manifold:
    """How the images scored and the reference lie within each other.

    Args:
        precision: Share of images inside a ball of the reference, its border included (Kynkäänniemi et al. 2019, k = 3).
        recall: Share of the reference inside a ball of the images, its border included (the same).
        density: Mean number of reference balls an image is strictly inside of, over k (Naeem et al. 2020, k = 5).
        coverage: Share of the reference's balls with an image strictly inside (the same).
        inside: (N,) whether each image counts for precision.
        covered: (M,) whether each reference image counts for recall.
    """

    precision: float
    recall: float
    density: float
    coverage: float
    inside: np.ndarray
    covered: np.ndarray


def manifold(
    x: np.ndarray,
    y: np.ndarray,
    k_precision: int = K_PRECISION,
    k_density: int = K_DENSITY,
    side: int = TILE,
) -> Manifold:
    """Return precision, recall, density and coverage of images against a reference.

    Args:
        x: (N, D) features of the images scored, more than k of them.
        y: (M, D) features of the reference, more than k of them. All four depend on N and M: compare at equal ones.
        k_precision: Which neighbour's distance is a ball's radius, for precision and recall.
        k_density: The same for density and coverage.
        side: Rows and columns of a distance matrix that are held at once.

    Raises:
        ValueError: Features of unequal width, or a k below 1.
        DataError: Too few rows, or one that is not finite.
    """
    import numpy as np

    if min(k_precision, k_density) < 1:
        raise ValueError("k is at least 1.")
    x, y = pair_of(x, y, max(k_precision, k_density) + 1)
    centre = _mean(y)
    near_y, wide_y = radii(y, (k_precision, k_density), centre, side)
    near_x = radii(x, (k_precision,), centre, side)[0]
    inside, covered = np.zeros(len(x), dtype=bool), np.zeros(len(y), dtype=bool)
    nearest, count = np.full(len(y), np.inf), 0
    for here, there, squares in _squares(x, y, centre, side):
        inside[here] |= (squares <= near_y[there]).any(axis=1)
        covered[there] |= (squares <= near_x[here, None]).any(axis=0)
        count += int(np.count_nonzero(squares < wide_y[there]))
        nearest[there] = np.minimum(nearest[there], squares.min(axis=0))
    shares = float(inside.mean()), float(covered.mean())
    return Manifold(*shares, count / (k_density * len(x)), float((nearest < wide_y).mean()), inside, covered)


def radii(rows: np.ndarray, ks: tuple[int, ...], centre: np.ndarray, side: int = TILE) -> np.ndarray:
    """Return (len(ks), N) squared distance from each row to its k-th nearest other row.

    Args:
        rows: (N, D) features.
        ks: Which neighbours, each at least 1 and below N.
        centre: (D,) what is taken off all rows first.
        side: Rows and columns of a distance matrix that are held at once.
    """
    import numpy as np

    most = max(ks)
    near = np.full((len(rows), most), np.inf)
    for here, there, squares in _squares(rows, None, centre, side):
        if here == there:
            np.fill_diagonal(squares, np.inf)
        else:
            near[there] = _smallest(near[there], squares.T)
        near[here] = _smallest(near[here], squares)
    return np.sort(near, axis=1)[:, [k - 1 for k in ks]].T


def _smallest(near: np.ndarray, more: np.ndarray) -> np.ndarray:
    """Return the (N, k) smallest of the (N, k) smallest so far and (N, M) more, in no order."""
    import numpy as np

    k = near.shape[1]
    least: np.ndarray = np.partition(np.hstack([near, more]), k - 1, axis=1)[:, :k]
    return least


def _squares(x: np.ndarray, y: np.ndarray | None, centre: np.ndarray, side: int) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Yield the place and the squared distances of every tile; without `y`, of those on and above the diagonal."""
    import numpy as np

    for here, there, rows, columns in tiles(x, y, side):
        a, b = rows - centre, columns - centre
        lengths = np.einsum("nd,nd->n", a, a)[:, None] + np.einsum("nd,nd->n", b, b)
        squares = a @ b.T
        squares *= -2
        squares += lengths
        lengths *= ROUNDING
        squares[squares < lengths] = 0
        yield here, there, squares


def _mean(rows: np.ndarray) -> np.ndarray:
    """Return the (D,) mean in float64, by blocks."""
    total = sum(block.sum(axis=0) for _, block in blocks(rows))
    mean: np.ndarray = total / len(rows)
    return mean
