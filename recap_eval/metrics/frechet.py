"""The Fréchet distance between two Gaussians fitted to features, without a matrix square root.

|m_g - m_r|^2 + tr S_g + tr S_r - 2 tr (S_g S_r)^(1/2), where the last trace is the sum of the square roots of the eigenvalues
of F S_g F^T for any factor F with S_r = F^T F (Dowson and Landau 1982). That matrix is symmetric, so its eigenvalues are real
and come out at a fifth of a general matrix's cost; F belongs to the reference and is made once. With fewer images than
features the same eigenvalues are those of an N x N matrix, and no rounding stands where zeros should.

The square root of a small eigenvalue is less exact than the eigenvalue. Where that could be seen in the distance, as between
near-equal sets or in a few directions, the roots are taken as the singular values of F G^T with S_g = G^T G: slower, and exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from recap_eval.errors import DataError
from recap_eval.metrics.features import checked
from recap_eval.metrics.moments import Moments, Statistics
from recap_eval.metrics.spectrum import eigenvalues, eigh, kept_values, root_sum

if TYPE_CHECKING:
    import numpy as np

LOSS = 1e-9  # of the distance: where eigenvalues may be further off, singular values are taken


@dataclass(frozen=True)
class Distance:
    """A Fréchet distance with what one must know to compare it.

    Args:
        value: The distance, never below 0.
        mean_term: Its part |m_g - m_r|^2; the rest is due to the covariances.
        n: Images scored; None if their statistics did not say.
        n_reference: Images of the reference; None if its statistics did not say.
        warnings: What stands against reading the value as it is, a sentence each.
    """

    value: float
    mean_term: float
    n: int | None
    n_reference: int | None
    warnings: tuple[str, ...] = ()


class Reference:
    """Statistics of the reference with a factor of its covariance, made at first use and kept.

    Args:
        statistics: Mean and covariance of the reference.
    """

    def __init__(self, statistics: Statistics) -> None:
        self.statistics = statistics

    @property
    def dim(self) -> int:
        """Width of the features."""
        return self.statistics.dim

    @cached_property
    def factor(self) -> tuple[np.ndarray, bool]:
        """The factor, and whether it is triangular: L with S = L L^T (D, D), or else F with S = F^T F, (rank, D).

        Cholesky's takes 3 % of an eigendecomposition and lets every later product skip half of its work. A covariance
        that is not of full rank has no such factor; its eigenvectors are taken, as many as are not rounding.
        """
        import numpy as np
        from scipy.linalg.lapack import dpotrf

        n = self.statistics.n
        if n is None or n > self.dim:
            lower, failed = dpotrf(self.statistics.covariance, lower=1)
            if not failed:
                return lower, True
        values, vectors = eigh(self.statistics.covariance)
        kept = kept_values(values, n)
        return np.sqrt(values[kept])[:, None] * vectors[:, kept].T, False

    @property
    def rows(self) -> np.ndarray:
        """(rank, D) F with S = F^T F, whatever its form."""
        factor, triangular = self.factor
        return factor.T if triangular else factor

    def between(self, covariance: np.ndarray) -> np.ndarray:
        """Return F S F^T, whose eigenvalues are those of S S_r; the lower triangle holds it.

        Args:
            covariance: (D, D) symmetric S.
        """
        from scipy.linalg.lapack import dsygst

        factor, triangular = self.factor
        if triangular:  # L^T S L by the routine that reduces generalised eigenproblems: a quarter of two full products
            product: np.ndarray = dsygst(covariance, factor, itype=3, lower=1)[0]
            return product
        outer: np.ndarray = factor @ covariance @ factor.T
        return outer

    def project(self, rows: np.ndarray) -> np.ndarray:
        """Return (rank, N) F x of every centred row x.

        Args:
            rows: (N, D) float64, C-contiguous.
        """
        from scipy.linalg.blas import dtrmm

        factor, triangular = self.factor
        if triangular:
            product: np.ndarray = dtrmm(1.0, factor, rows.T, lower=1, trans_a=1)
            return product
        plain: np.ndarray = factor @ rows.T
        return plain


def frechet_distance(generated: Statistics, reference: Reference) -> Distance:
    """Return the Fréchet distance of two sets of statistics.

    Args:
        generated: Mean and covariance of the images scored.
        reference: Those of the reference.

    Raises:
        DataError: Features of different extractors, or numbers too large for float64.
    """
    agree(generated, reference.statistics)
    values = eigenvalues(reference.between(generated.covariance))
    return assemble(generated, values, reference)


def frechet_distance_of(features: np.ndarray, reference: Reference) -> Distance:
    """Return the Fréchet distance of features, by the N x N form where there are no more images than features.

    Args:
        features: (N, D) features of the images scored.
        reference: The reference, of the same extractor: features carry no key that could be compared.

    Raises:
        DataError: Fewer than two images, a row that is not finite, or numbers too large for float64.
        ValueError: Features of another width.
    """
    import numpy as np
    from scipy.linalg.blas import dsyrk

    array = checked(features, 2, "images")
    if len(array) > reference.dim:
        return frechet_distance(Moments.of(array).statistics(), reference)
    if array.shape[1] != reference.dim:
        raise ValueError(f"Features of width {array.shape[1]}, a reference of width {reference.dim}.")
    n = len(array)
    mean, rows = centred(array)
    projected = reference.project(rows)
    narrow = projected.shape[0] < n
    flat = not projected.size  # a reference of equal images
    values = np.zeros(0) if flat else eigenvalues(dsyrk(1 / (n - 1), projected, trans=0 if narrow else 1, lower=1))
    trace = float((rows * rows).sum()) / (n - 1)
    return _assemble(mean, trace, n, values, reference, lambda: projected / (n - 1) ** 0.5)


def assemble(generated: Statistics, values: np.ndarray, reference: Reference) -> Distance:
    """Return the distance from the eigenvalues of F S F^T.

    Args:
        generated: Mean and covariance of the images scored.
        values: The eigenvalues, ascending.
        reference: What they are compared with.

    Raises:
        DataError: The result is not finite.
    """
    variances = generated.covariance.diagonal()
    spanned = int((variances > 0).sum()) + 1  # as many images as span what is not constant; a dead feature has no eigenvalue
    n = spanned if generated.n is None else min(generated.n, spanned)
    distance = _assemble(
        generated.mean, float(variances.sum()), n, values, reference, lambda: reference.project(Reference(generated).rows)
    )
    warnings = _warnings(generated.n, reference.statistics.n, reference.dim)
    return replace(distance, n=generated.n, warnings=warnings)


def _assemble(
    mean: np.ndarray,
    trace: float,
    n: int | None,
    values: np.ndarray,
    reference: Reference,
    product: Callable[[], np.ndarray],
) -> Distance:
    """Return the distance from mean and trace of the images and the eigenvalues, or the singular values of `product`."""
    import numpy as np
    from scipy.linalg import svdvals

    other = reference.statistics
    with np.errstate(over="ignore", invalid="ignore"):
        mean_term = float(np.square(mean - other.mean).sum())
        most = mean_term + trace + float(other.covariance.trace())
    if not np.isfinite(most):
        raise DataError("The Fréchet distance is not finite: features are too large.", "Look at the extractor's output.")
    roots, loss = root_sum(values, n, other.n)
    if loss > LOSS * (most - 2 * roots):
        matrix = product()
        roots = float(svdvals(matrix, check_finite=False).sum()) if matrix.size else 0.0
    return Distance(max(most - 2 * roots, 0.0), mean_term, n, other.n, _warnings(n, other.n, reference.dim))


def _warnings(n: int | None, n_reference: int | None, dim: int) -> tuple[str, ...]:
    out = []
    for count, whose in ((n, "scored"), (n_reference, "of the reference")):
        if count is None:
            out.append(f"The number of images {whose} is unknown, and with it the bias of the distance.")
        elif count <= dim:
            text = "its covariance is singular, the distance is far too large, and it has no standard error"
            out.append(f"{count} images {whose} for {dim} features: {text}.")
    return tuple(out)


def agree(generated: Statistics, reference: Statistics) -> None:
    """Check that two sets of statistics are of the same features.

    Raises:
        DataError: Their width differs, or a field of their keys, which is named.
    """
    same_features(generated.dim, generated.key, reference)


def same_features(dim: int, ours: dict[str, Any] | None, reference: Statistics) -> None:
    """Check that features are of the network, and prepared in the way, that a reference was made of.

    Args:
        dim: Their width.
        ours: Their extractor's key; None if it is unknown.
        reference: The reference.

    Raises:
        DataError: The width differs, or a field of the keys, which is named.
    """
    if dim != reference.dim:
        what = f"Features of width {dim} cannot be compared with a reference of width {reference.dim}."
        raise DataError(what, "Make the statistics of both with the same extractor.")
    theirs = reference.key
    if ours is None or theirs is None:
        return
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            what = f"Statistics differ in {name}: {ours.get(name)!r}, in the reference {theirs.get(name)!r}."
            raise DataError(what, "Make the statistics of both with the same extractor, resize and precision.")


def centred(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the (D,) mean and the (N, D) float64 rows around it; shifted first, so that offsets cost no digits."""
    import numpy as np

    shift = np.array(features[0], dtype=np.float64)
    rows = np.asarray(features, dtype=np.float64) - shift
    mean = rows.mean(axis=0)
    rows -= mean
    return shift + mean, rows
