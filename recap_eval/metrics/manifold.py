"""Precision, recall, density and coverage: how two sets of features lie within each other's nearest-neighbour balls.

Distances are taken a block of rows at a time, in float64, after the reference's mean is taken off (offsets cost digits).
What is below their rounding is 0: duplicates lie at distance 0, not at noise that a comparison would turn into a coin flip.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recap_eval.metrics.features import ENTRIES, pair_of, rows_for

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
    entries: int = ENTRIES,
) -> Manifold:
    """Return precision, recall, density and coverage of images against a reference.

    Args:
        x: (N, D) features of the images scored, more than k of them.
        y: (M, D) features of the reference, more than k of them. All four depend on N and M: compare at equal ones.
        k_precision: Which neighbour's distance is a ball's radius, for precision and recall.
        k_density: The same for density and coverage.
        entries: Distances that are held at once.

    Raises:
        ValueError: Features of unequal width, or a k below 1.
        DataError: Too few rows, or one that is not finite.
    """
    import numpy as np

    if min(k_precision, k_density) < 1:
        raise ValueError("k is at least 1.")
    x, y = pair_of(x, y, max(k_precision, k_density) + 1)
    centre = np.asarray(y, dtype=np.float64).mean(axis=0)
    x, y = np.asarray(x, dtype=np.float64) - centre, np.asarray(y, dtype=np.float64) - centre
    near_y, wide_y = radii(y, (k_precision, k_density), entries)
    near_x = radii(x, (k_precision,), entries)[0]
    inside, covered = np.empty(len(x), dtype=bool), np.zeros(len(y), dtype=bool)
    nearest, count = np.full(len(y), np.inf), 0
    for start, squares in _blocks(x, y, entries):
        here = slice(start, start + len(squares))
        inside[here] = (squares <= near_y).any(axis=1)
        covered |= (squares <= near_x[here, None]).any(axis=0)
        count += int(np.count_nonzero(squares < wide_y))
        np.minimum(nearest, squares.min(axis=0), out=nearest)
    shares = float(inside.mean()), float(covered.mean())
    return Manifold(*shares, count / (k_density * len(x)), float((nearest < wide_y).mean()), inside, covered)


def radii(rows: np.ndarray, ks: tuple[int, ...], entries: int = ENTRIES) -> np.ndarray:
    """Return (len(ks), N) squared distance from each row to its k-th nearest other row.

    Args:
        rows: (N, D) float64.
        ks: Which neighbours, each at least 1 and below N.
        entries: Distances that are held at once.
    """
    import numpy as np

    out = np.empty((len(ks), len(rows)))
    for start, squares in _blocks(rows, rows, entries):
        own = np.arange(len(squares))
        squares[own, start + own] = np.inf
        places = [k - 1 for k in ks]
        out[:, start : start + len(squares)] = np.partition(squares, places, axis=1)[:, places].T
    return out


def _blocks(x: np.ndarray, y: np.ndarray, entries: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield start and (rows, M) squared distances of every block."""
    import numpy as np

    length_x, length_y = (np.einsum("nd,nd->n", rows, rows) for rows in (x, y))
    step = rows_for(len(y), entries)
    for start in range(0, len(x), step):
        here = slice(start, start + step)
        lengths = length_x[here, None] + length_y
        squares = x[here] @ y.T
        squares *= -2
        squares += lengths
        lengths *= ROUNDING
        squares[squares < lengths] = 0
        yield start, squares
