"""Eigenvalues of symmetric matrices, and which of them are more than rounding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recap_eval.errors import DataError

if TYPE_CHECKING:
    import numpy as np

EPSILON = 2.0**-52
NOISE = 16 * EPSILON  # of the largest eigenvalue: what is below is rounding, and its square root would not be small


def eigenvalues(matrix: np.ndarray) -> np.ndarray:
    """Return the eigenvalues, ascending, of a symmetric matrix of which the lower triangle is read; it may be overwritten.

    Raises:
        DataError: The matrix is not finite.
    """
    import numpy as np
    from scipy import linalg

    if not matrix.size:
        return np.zeros(0)
    _check_finite(matrix)
    values: np.ndarray = linalg.eigh(matrix, eigvals_only=True, overwrite_a=True, check_finite=False, driver="evd")
    return values


def eigh(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return eigenvalues, ascending, and eigenvectors (columns) of a symmetric matrix of which the lower triangle is read.

    Raises:
        DataError: The matrix is not finite.
    """
    from scipy import linalg

    _check_finite(matrix)
    values, vectors = linalg.eigh(matrix, check_finite=False, driver="evd")
    return values, vectors


def _check_finite(matrix: np.ndarray) -> None:
    import numpy as np

    if not np.isfinite(matrix.sum()):
        raise DataError("A covariance is not finite: features are too large.", "Look at the extractor's output.")


def kept_values(values: np.ndarray, *counts: int | None) -> np.ndarray:
    """Return (K,) bool, which eigenvalues are not mere rounding.

    N images span N - 1 directions, so there are no more than that; and none so small beside the largest that it is not known.

    Args:
        values: (K,) eigenvalues, ascending.
        counts: The numbers of images behind the matrix, where known.
    """
    kept: np.ndarray = values > (NOISE * values[-1] if len(values) else 0.0)
    rank = min([len(values), *(count - 1 for count in counts if count is not None)])
    kept[: len(values) - rank] = False
    kept &= values > 0
    return kept


def root_sum(values: np.ndarray, *counts: int | None) -> tuple[float, float]:
    """Return the sum of the eigenvalues' square roots, and by how much twice that sum may be off.

    An eigenvalue is known to a rounding of the largest; its root to that over twice itself, and the errors add as random
    ones do. One that was dropped, though there may be as many, is known to its whole size.

    Args:
        values: (K,) eigenvalues, ascending.
        counts: The numbers of images behind the matrix, where known.
    """
    import numpy as np

    kept = kept_values(values, *counts)
    if not kept.any():
        return 0.0, 0.0
    largest, some = float(values[-1]), values[kept]
    dropped = min([len(values), *(count - 1 for count in counts if count is not None)]) - len(some)
    roots = np.sqrt(some)
    loss = EPSILON * largest * float(np.linalg.norm(1 / roots)) + 2 * dropped * (NOISE * largest) ** 0.5
    return float(roots.sum()), loss
