"""Kernel distances: squared maximum mean discrepancy (Gretton et al. 2012) as KID and CMMD, tile by tile.

Kernel matrices are never held: memory is one tile, whatever N and M. Products and sums are float64; of the Gaussian
kernel k - 1 is summed, since the discrepancy of unit embeddings is a millionth of what it is the difference of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recap_eval.errors import DataError
from recap_eval.hashrand import permute_array, text_key
from recap_eval.metrics.features import TILE, checked, pair_of, tiles

if TYPE_CHECKING:
    import numpy as np

    Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]

SUBSETS, SUBSET_SIZE = 100, 1000  # as torch-fidelity, clean-fid and torchmetrics take by default
SIGMA, SCALE = 10.0, 1000.0  # CMMD: Jayasumana et al. 2024, section 4
DRAWN = text_key("subsets for KID")


@dataclass(frozen=True)
class Discrepancy:
    """A squared maximum mean discrepancy, unbiased, with the error that the images scored give it.

    Args:
        value: The discrepancy; of equal distributions it is as often below 0 as above.
        se: Its standard error for this reference, the second-order term included: right near 0 too.
        biased: The V-statistic, which counts every image with itself; it is larger, by a term that falls as 1 / N + 1 / M.
        influence: (N,) each image's influence, of mean 0.
        n: Images scored.
        n_reference: Images of the reference.
    """

    value: float
    se: float
    biased: float
    influence: np.ndarray
    n: int
    n_reference: int

    @property
    def linearised(self) -> np.ndarray:
        """(N,) one value an image, of which the discrepancy is the mean: what paired and clustered errors are made of."""
        return self.value + self.influence


@dataclass(frozen=True)
class SubsetKid:
    """KID as it is published: mean over subsets.

    Args:
        value: Mean of the unbiased discrepancy over the subsets.
        subset_sd: Standard deviation over the subsets, which papers print as an error. It is none: it does not fall with N.
        subsets: Number of subsets.
        size: Images in each.
    """

    value: float
    subset_sd: float
    subsets: int
    size: int


def polynomial(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return (x . y / D + 1)^3, (N, M), for (N, D) and (M, D) float64: the kernel of KID (Binkowski et al. 2018)."""
    product: np.ndarray = x @ y.T
    product /= x.shape[1]
    product += 1
    cube: np.ndarray = product * product  # numpy's power of 3 takes ten times as long
    cube *= product
    return cube


def gaussian(x: np.ndarray, y: np.ndarray, sigma: float = SIGMA) -> np.ndarray:
    """Return exp(-|x - y|^2 / 2 sigma^2) - 1, (N, M); the constant cancels in a discrepancy and would cost its digits."""
    import numpy as np

    squares = np.einsum("nd,nd->n", x, x)[:, None] + np.einsum("md,md->m", y, y)[None]
    squares -= 2 * (x @ y.T)
    np.maximum(squares, 0, out=squares)
    squares /= -2 * sigma**2
    less: np.ndarray = np.expm1(squares, out=squares)
    return less


def discrepancy(x: np.ndarray, y: np.ndarray, kernel: Kernel = polynomial, side: int = TILE) -> Discrepancy:
    """Return the squared discrepancy over all pairs, with its standard error.

    Args:
        x: (N, D) features of the images scored, N at least 2; each is taken to be an independent draw.
        y: (M, D) features of the reference, M at least 2; taken as fixed.
        kernel: From two sets of rows to their kernel matrix.
        side: Rows and columns of a kernel matrix that are held at once.

    Raises:
        ValueError: Features of unequal width.
        DataError: Too few rows, or one that is not finite.
    """
    x, y = pair_of(x, y, 2)
    n, m = len(x), len(y)
    own_y, diagonal_y, _ = _row_sums(y, None, kernel, side)
    across = _row_sums(x, y, kernel, side)[0] / m
    rows, diagonal, squares = _row_sums(x, None, kernel, side, across)
    among_y = (own_y.sum() - diagonal_y.sum()) / (m * (m - 1))
    value = (rows.sum() - diagonal.sum()) / (n * (n - 1)) + among_y - 2 * across.mean()
    biased = rows.sum() / n**2 + own_y.sum() / m**2 - 2 * across.mean()
    per_image = (rows - diagonal - (across.sum() - across)) / (n - 1) - across
    return Discrepancy(
        value=float(value),
        se=_standard_error(per_image, squares, n),
        biased=float(biased),
        influence=2 * (per_image - per_image.mean()),
        n=n,
        n_reference=m,
    )


def _standard_error(projection: np.ndarray, squares: float, n: int) -> float:
    """Return the standard error of a U-statistic of order two (Serfling 1980, section 5.2.1).

    Args:
        projection: (N,) mean of h(x_i, x) over the other images.
        squares: Sum of h squared over ordered pairs of distinct images.
        n: Number of images.
    """
    mean = projection.mean()
    every = max(squares / (n * (n - 1)) - mean**2, 0.0)
    # The spread of the projections over-counts the pairs' own noise, every / (n - 1), which is taken off.
    first = max(float(projection.var()) - every / (n - 1), 0.0)
    return float(((4 * (n - 2) * first + 2 * every) / (n * (n - 1))) ** 0.5)


def _row_sums(
    x: np.ndarray, y: np.ndarray | None, kernel: Kernel, side: int, across: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, float]:
    """Sum a kernel matrix by rows, tile by tile; of a symmetric one half of the tiles are enough.

    Args:
        x: (N, D) rows.
        y: (M, D) columns, or None for those of `x`.
        kernel: The kernel.
        side: Rows and columns of a tile.
        across: (N,) mean kernel of each image with the reference; with it, h = k - across_i - across_j is squared and summed.

    Returns:
        (N,) sums of rows, (N,) diagonal where `y` is None, and the sum of h squared off the diagonal.
    """
    import numpy as np

    sums, diagonal, squares = np.zeros(len(x)), np.zeros(len(x)), 0.0
    for here, there, rows, columns in tiles(x, y, side):
        found = kernel(rows, columns)
        sums[here] += found.sum(axis=1)
        mirrored = y is None and here != there
        if mirrored:
            sums[there] += found.sum(axis=0)
        elif y is None:
            diagonal[here] = found.diagonal()
        if across is not None:
            found -= across[here, None] + across[there]
            if not mirrored:
                np.fill_diagonal(found, 0)
            squares += (2 if mirrored else 1) * float(np.vdot(found, found))
    return sums, diagonal, squares


def kid(x: np.ndarray, y: np.ndarray, subsets: int = SUBSETS, size: int | None = None, seed: int = 0) -> SubsetKid:
    """Return KID as it is published, the mean over subsets; `discrepancy` uses every pair and has a standard error.

    Args:
        x: (N, D) features of the images scored.
        y: (M, D) features of the reference.
        subsets: Number of subsets, drawn from a hash of the seed.
        size: Images of each side in a subset; None for 1000, or all of the smaller side where it has fewer.
        seed: Names the subsets.

    Raises:
        ValueError: Features of unequal width, or no subset.
        DataError: Fewer rows than a subset has, or one that is not finite.
    """
    import numpy as np

    x, y = pair_of(x, y, 2)
    size = min(SUBSET_SIZE, len(x), len(y)) if size is None else size
    if not 2 <= size <= min(len(x), len(y)):
        raise DataError(f"No subsets of {size} among {len(x)} and {len(y)} images.", "Choose another size, or leave it out.")
    if subsets < 1:
        raise ValueError("At least one subset.")
    values = np.array([_subset_value(x, y, size, seed, number) for number in range(subsets)])
    return SubsetKid(float(values.mean()), float(values.std()), subsets, size)


def _subset_value(x: np.ndarray, y: np.ndarray, size: int, *names: int) -> float:
    import numpy as np

    drawn = [
        np.asarray(rows[permute_array(np.arange(size), len(rows), DRAWN, side, *names)], dtype=np.float64)
        for side, rows in enumerate((x, y))
    ]
    return unbiased(polynomial(drawn[0], drawn[0]), polynomial(drawn[1], drawn[1]), polynomial(drawn[0], drawn[1]))


def unbiased(xx: np.ndarray, yy: np.ndarray, xy: np.ndarray) -> float:
    """Return the unbiased squared discrepancy of whole kernel matrices (N, N), (M, M), (N, M)."""
    within = [(kernel.sum() - kernel.trace()) / (len(kernel) * (len(kernel) - 1)) for kernel in (xx, yy)]
    return float(within[0] + within[1] - 2 * xy.mean())


def cmmd(x: np.ndarray, y: np.ndarray, side: int = TILE) -> Discrepancy:
    """Return CMMD: the discrepancy of unit CLIP embeddings under a Gaussian kernel of sigma 10, times 1000.

    The published figure is `biased`, the estimator of both public implementations; `value` is the unbiased one of the paper's
    text, and has the standard error.

    Args:
        x: (N, D) embeddings of the images scored, of length 1.
        y: (M, D) embeddings of the reference, of length 1.
        side: Rows and columns of a kernel matrix that are held at once.

    Raises:
        ValueError: Features of unequal width.
        DataError: Too few rows, one that is not finite or not of length 1.
    """
    for rows, what in ((x, "features"), (y, "reference features")):
        check_unit(rows, what)
    found = discrepancy(x, y, gaussian, side)
    return Discrepancy(
        SCALE * found.value, SCALE * found.se, SCALE * found.biased, SCALE * found.influence, found.n, found.n_reference
    )


def check_unit(rows: Sequence[float] | np.ndarray, what: str) -> None:
    """Check that rows have length 1, to what half precision leaves of it.

    Raises:
        DataError: A row is longer or shorter; it is named.
    """
    import numpy as np

    lengths = np.linalg.norm(checked(np.asarray(rows), what=what), axis=1)
    off = np.abs(lengths - 1)
    if len(off) and off.max() > 1e-2:
        row = int(off.argmax())
        raise DataError(f"Row {row} of the {what} has length {lengths[row]:.4g}, not 1.", "Normalise the embeddings first.")
