"""Mean and covariance of features in one pass: memory does not grow with N, and parts merge in any order.

Rows are shifted by the first one seen, gathered into blocks and folded in by Chan, Golub and LeVeque's pairwise update (1983),
one symmetric rank-k product a block. Statistics are kept as pytorch-fid and clean-fid keep theirs: an npz with `mu`, `sigma`.
"""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap_eval.errors import DataError
from recap_eval.files import canonical_json, replacing
from recap_eval.metrics.features import ROWS, checked

if TYPE_CHECKING:
    import numpy as np

DAMAGED = (  # what numpy, zipfile and zlib raise on bytes that are no npz
    OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, OverflowError, MemoryError,
    zipfile.BadZipFile, zlib.error, struct.error,
)  # fmt: skip
ASYMMETRY = 1e-6  # of the largest entry: float32 statistics of others stay below it, a damaged matrix does not


@dataclass(frozen=True)
class Statistics:
    """Mean and covariance of a set of features.

    Args:
        mean: (D,) float64.
        covariance: (D, D) float64, symmetric, with N - 1 in the denominator.
        n: Rows it was made of; None if a foreign file did not say.
        key: What the features depend on (network, weights, resize, precision, data); None if a foreign file did not say.
    """

    mean: np.ndarray
    covariance: np.ndarray
    n: int | None = None
    key: dict[str, Any] | None = None

    @property
    def dim(self) -> int:
        """Width of the features."""
        return len(self.mean)


class Moments:
    """Streaming mean and covariance in float64.

    The same rows in another order, in other batches or split over other parts give the same statistics up to rounding; in
    the same order, batches of other sizes give the same bits.

    Args:
        rows: Rows gathered for one product.
    """

    def __init__(self, rows: int = ROWS) -> None:
        self._rows, self._waiting, self._folded = rows, 0, 0
        self._shift: np.ndarray | None = None

    @property
    def n(self) -> int:
        """Rows seen."""
        return self._folded + self._waiting

    def update(self, features: np.ndarray) -> None:
        """Add rows.

        Args:
            features: (B, D) numbers, any B, zero among them.

        Raises:
            ValueError: Not a matrix, or of another width than before.
            DataError: A row is not finite; it is named by its number since the start, and nothing of the batch is added.
        """
        import numpy as np

        array = checked(features, 0, first=self.n)
        if len(array) == 0:
            return
        self._expect(array.shape[1], array[0])
        shift, start = self._some_shift(), 0
        while start < len(array):
            taken = min(self._rows - self._waiting, len(array) - start)
            place = self._buffer[self._waiting : self._waiting + taken]
            np.subtract(array[start : start + taken], shift, out=place)
            self._waiting += taken
            start += taken
            if self._waiting == self._rows:
                self._fold()

    def merge(self, other: Moments) -> None:
        """Add everything that another accumulator has seen; it stays as it is, but for its waiting rows being folded in.

        Raises:
            ValueError: Features of another width.
        """
        if other.n == 0:
            return
        other._fold()
        shift = other._some_shift()
        self._expect(len(shift), shift)
        self._fold()
        self._join(other._folded, (shift - self._some_shift()) + other._mean, other._scatter)

    @staticmethod
    def merged(parts: Iterable[Moments]) -> Moments:
        """Return the moments of all parts together."""
        whole = Moments()
        for part in parts:
            whole.merge(part)
        return whole

    @staticmethod
    def of(features: np.ndarray) -> Moments:
        """Return the moments of (N, D) features."""
        moments = Moments()
        moments.update(features)
        return moments

    @staticmethod
    def resume(statistics: Statistics) -> Moments:
        """Return an accumulator that goes on from saved statistics, such as those of another shard.

        Raises:
            DataError: The statistics do not say of how many rows they were made.
        """
        if statistics.n is None:
            raise DataError("Statistics of unknown N cannot be merged.", "Make them again, by recap-eval, with their N.")
        moments = Moments()
        moments._expect(statistics.dim, statistics.mean)
        moments._join(statistics.n, 0 * statistics.mean, statistics.covariance * (statistics.n - 1))
        return moments

    def mean(self) -> np.ndarray:
        """Return the (D,) mean.

        Raises:
            DataError: No row was seen.
        """
        if self.n == 0:
            raise DataError("There are no features to take a mean of.", "Give at least two images.")
        self._fold()
        mean: np.ndarray = self._some_shift() + self._mean
        return mean

    def covariance(self) -> np.ndarray:
        """Return the (D, D) covariance, N - 1 in the denominator.

        Raises:
            DataError: Fewer than two rows were seen.
        """
        import numpy as np

        if self.n < 2:
            raise DataError(f"A covariance needs at least 2 images, and here are {self.n}.", "Give more images.")
        self._fold()
        out: np.ndarray = self._scatter / (self._folded - 1)
        for start in range(0, len(out), ROWS):  # mirrored block by block: a whole triangle's indices would be as large as it
            stop = start + ROWS
            out[start:stop, stop:] = out[stop:, start:stop].T
            square = out[start:stop, start:stop]
            square[...] = np.tril(square) + np.tril(square, -1).T
        return out

    def statistics(self, key: dict[str, Any] | None = None) -> Statistics:
        """Return mean and covariance with N and what the features depend on.

        Raises:
            DataError: Fewer than two rows were seen.
        """
        covariance = self.covariance()
        return Statistics(self.mean(), covariance, self.n, key)

    def _some_shift(self) -> np.ndarray:
        assert self._shift is not None
        return self._shift

    def _expect(self, dim: int, first: np.ndarray) -> None:
        """Make room when the first row comes; later ones have its width."""
        import numpy as np

        if self._shift is None:
            self._shift = np.array(first, dtype=np.float64)
            self._mean, self._scatter = np.zeros(dim), np.zeros((dim, dim), order="F")
            self._buffer = np.empty((self._rows, dim))
        elif len(self._shift) != dim:
            raise ValueError(f"Features of width {dim} do not go with those of width {len(self._shift)}.")

    def _fold(self) -> None:
        """Fold the waiting rows in, shifted already: centred in place, added to the lower triangle of the scatter in place."""
        from scipy.linalg.blas import dsyrk

        if not self._waiting:
            return
        block, count = self._buffer[: self._waiting], self._waiting
        mean = block.mean(axis=0)
        block -= mean
        # `block.T` is the same memory in BLAS's column order: the product reads it as it lies, and adds in place.
        self._scatter = dsyrk(1.0, block.T, beta=1.0, c=self._scatter, lower=1, overwrite_c=1)
        self._waiting = 0
        self._join(count, mean, None)

    def _join(self, count: int, mean: np.ndarray, scatter: np.ndarray | None) -> None:
        """Add `count` rows with this mean beyond the shift and this scatter around it (None: it is added already)."""
        from scipy.linalg.blas import dsyr

        if scatter is not None:
            self._scatter += scatter
        total = self._folded + count
        step = mean - self._mean
        self._scatter = dsyr(self._folded * count / total, step, a=self._scatter, lower=1, overwrite_a=1)
        self._mean += step * (count / total)
        self._folded = total


def write_statistics(path: Path, statistics: Statistics) -> None:
    """Write statistics as an npz that pytorch-fid and clean-fid read: `mu`, `sigma`, and beside them our `n` and `key`.

    Raises:
        DataError: The file cannot be written.
    """
    import numpy as np

    extra: dict[str, Any] = {} if statistics.n is None else {"n": np.int64(statistics.n)}
    if statistics.key is not None:
        extra["key"] = np.array(canonical_json(statistics.key))
    with replacing(path) as part, part.open("wb") as stream:
        np.savez(stream, mu=statistics.mean, sigma=statistics.covariance, **extra)


def read_statistics(path: Path) -> Statistics:
    """Read statistics from an npz of ours, of pytorch-fid or of clean-fid; nothing in it is executed.

    Raises:
        DataError: The file is missing, damaged, or holds no mean and covariance; the message names it.
    """
    import numpy as np

    if not path.exists():
        raise DataError(f"{path} does not exist.", "Check the path.")
    try:
        with np.load(path, allow_pickle=False) as found:
            arrays = {name: found[name] for name in ("mu", "sigma", "n", "key") if name in found.files}
        return _statistics_of(arrays)
    except DAMAGED as error:
        hint = "Restore the file or make it again; it needs an array `mu` and a symmetric matrix `sigma`."
        raise DataError(f"{path} holds no statistics that can be read ({error}).", hint) from error


def _statistics_of(arrays: dict[str, np.ndarray]) -> Statistics:
    """Check what a file held and say what is wrong with it by a ValueError or KeyError."""
    import numpy as np

    mean, covariance = (np.array(arrays[name], dtype=np.float64) for name in ("mu", "sigma"))
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)) or len(mean) == 0:
        raise ValueError(f"mu {mean.shape} and sigma {covariance.shape} do not go together")
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise ValueError("numbers that are not finite")
    largest = np.abs(covariance).max()
    if np.abs(covariance - covariance.T).max() > ASYMMETRY * largest or covariance.diagonal().min() < -ASYMMETRY * largest:
        raise ValueError("sigma is not a covariance: not symmetric, or negative on its diagonal")
    n = int(arrays["n"]) if "n" in arrays else None
    if n is not None and n < 2:
        raise ValueError(f"n is {n}")
    key = json.loads(str(arrays["key"])) if "key" in arrays else None
    if not isinstance(key, dict | None):
        raise ValueError("key is not an object")
    return Statistics(mean, (covariance + covariance.T) / 2, n, key)
