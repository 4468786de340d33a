"""How sure a Fréchet distance is: what each image adds to it, its standard error, and paired differences of two models.

The distance is a function of a mean and a covariance, and so of the images' distribution; its influence function (Hampel 1974)
says how the distance moves with the weight of one image. With T the optimal transport map from the images' Gaussian to the
reference's, it is phi(x) = 2 (m_g - m_r) . (x - m_g) + (x - m_g)^T (I - T) (x - m_g) - tr((I - T) S_g). Its spread over the
images gives the standard error, its difference between two models on the same prompts that of their difference.

The naive bootstrap is not offered: a resample has fewer distinct images, so it adds the bias of the distance once more, and
its interval misses the very value it is for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recap_eval.errors import DataError
from recap_eval.metrics.features import blocks, checked
from recap_eval.metrics.frechet import Distance, Reference, agree, assemble
from recap_eval.metrics.moments import Moments, Statistics
from recap_eval.metrics.spectrum import eigh, kept_values
from recap_eval.stats import Estimate, estimate, paired_items

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Influence:
    """A Fréchet distance with each image's influence on it.

    Args:
        distance: The distance of all images.
        phi: (N,) influence of each image, of mean 0; images with the largest cost the most.
    """

    distance: Distance
    phi: np.ndarray

    @property
    def linearised(self) -> np.ndarray:
        """(N,) one value an image, of which the distance is the mean: what paired and clustered errors are made of."""
        return self.distance.value + self.phi

    def estimate(self, clusters: Sequence[str] | np.ndarray | None = None) -> Estimate:
        """Return the distance at this N with its 95 % interval, for this reference.

        Args:
            clusters: (N,) what images have in common, such as the prompt; None if each has its own.
        """
        return estimate(self.linearised, _own(clusters, len(self.phi)))


def influence(features: np.ndarray, reference: Reference, generated: Statistics | None = None) -> Influence:
    """Return the Fréchet distance of features with each image's influence on it.

    Args:
        features: (N, D) features of the images scored; N above D. Read in blocks, so a memory map will do.
        reference: What they are compared with; taken as fixed.
        generated: Their statistics, where they are there already.

    Raises:
        DataError: No more images than features (the distance is not smooth there), other features than the reference's, or
            a row that is not finite.
        ValueError: Statistics of another number of images.
    """
    array = checked(features, 2, "images")
    n, dim = array.shape
    if n <= dim:
        what = f"{n} images for {dim} features: a Fréchet distance has no standard error there."
        raise DataError(what, f"Score more than {dim} images (better several times that), or use KID, which has one at any N.")
    own = generated or Moments.of(array).statistics()
    if own.n != n:
        raise ValueError(f"Statistics of {own.n} images, features of {n}.")
    agree(own, reference.statistics)
    values, vectors = eigh(reference.between(own.covariance))
    kept = kept_values(values, n, reference.statistics.n)
    distance = assemble(own, values, reference)
    phi = _phi(array, own, reference, _half(reference, values[kept], vectors[:, kept]))
    return Influence(distance, phi - phi.mean())


def paired_difference(ours: Influence, base: Influence, clusters: Sequence[str] | np.ndarray | None = None) -> Estimate:
    """Estimate by how much one model's distance exceeds another's, on the same prompts in the same order.

    Args:
        ours: The distance of one model.
        base: That of the other, to the same reference; its n-th image is of the same prompt as the n-th of `ours`.
        clusters: (N,) what images have in common, such as the prompt; None if each has its own.

    Raises:
        ValueError: Unequal numbers of images.
    """
    if len(ours.phi) != len(base.phi):
        raise ValueError(f"{len(ours.phi)} and {len(base.phi)} images are not pairs.")
    return paired_items(ours.linearised, base.linearised, _own(clusters, len(ours.phi)))


def _own(clusters: Sequence[str] | np.ndarray | None, n: int) -> Sequence[str] | np.ndarray:
    import numpy as np

    return np.arange(n) if clusters is None else clusters


def _half(reference: Reference, values: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Return the lower triangular C with C + C^T = I - T: for x^T (I - T) x = 2 x^T C x a triangle is enough.

    T = F^T (F S F^T)^(-1/2) F, from the eigenvalues and eigenvectors of F S F^T.
    """
    import numpy as np
    from scipy.linalg.blas import dsyrk, dtrmm

    factor, triangular = reference.factor
    scaled = vectors / values**0.25
    root = dtrmm(1.0, factor, scaled, lower=1) if triangular else factor.T @ scaled
    half: np.ndarray = np.tril(dsyrk(-1.0, root, lower=1))
    half[np.diag_indices(len(half))] = (1 + half.diagonal()) / 2
    return half


def _phi(features: np.ndarray, own: Statistics, reference: Reference, half: np.ndarray) -> np.ndarray:
    """Return the (N,) influences but for their common constant, a block of rows at a time."""
    import numpy as np
    from scipy.linalg.blas import dtrmm

    out = np.empty(len(features))
    slope = 2 * (own.mean - reference.statistics.mean)
    for start, rows in blocks(features):
        away = rows - own.mean
        turned = dtrmm(2.0, half, away.T, lower=1)
        out[start : start + len(rows)] = away @ slope + np.einsum("nd,dn->n", away, turned)
    return out
