"""What every distribution metric asks of its features: a matrix of finite numbers with enough rows, read in blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from recap_eval.errors import DataError

if TYPE_CHECKING:
    import numpy as np

ROWS = 1024  # rows of features taken at a time
TILE = 2048  # rows and columns of a kernel or distance matrix held at a time: 32 MiB, whatever N and M


def checked(features: np.ndarray, least: int = 1, what: str = "features", first: int = 0) -> np.ndarray:
    """Return the features as an array, after a look at every number; no copy is made of a whole array.

    Args:
        features: (N, D) numbers: an array, a memory map or a tensor on the CPU.
        least: The rows that the metric needs.
        what: What the rows are, for the message.
        first: Row number of the first row, for the message.

    Raises:
        ValueError: Not a matrix.
        DataError: Too few rows, or a row that is not finite, which is named.
    """
    import numpy as np

    array = np.asarray(features)
    if array.ndim != 2 or array.shape[1] == 0:
        raise ValueError(f"Features are a matrix of rows, not of shape {array.shape}.")
    if len(array) < least:
        raise DataError(f"{len(array)} {what}, where at least {least} are needed.", "Score more images.")
    for start in range(0, len(array), ROWS):
        good = np.isfinite(array[start : start + ROWS]).all(axis=1)
        if not good.all():
            row = first + start + int(np.argmin(good))
            raise DataError(f"Row {row} of the {what} is not finite.", "Look at that image, and at the network's precision.")
    return array


def pair_of(x: np.ndarray, y: np.ndarray, least: int) -> tuple[np.ndarray, np.ndarray]:
    """Return both sets of features checked, of the same width.

    Args:
        x: (N, D) features of what is scored.
        y: (M, D) features of the reference.
        least: The rows that the metric needs of each.

    Raises:
        ValueError: Not matrices of one width.
        DataError: Too few rows, or one that is not finite.
    """
    x, y = checked(x, least, "features"), checked(y, least, "reference features")
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"Features of width {x.shape[1]} and {y.shape[1]} are of different networks.")
    return x, y


def blocks(features: np.ndarray, rows: int = ROWS) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the start and the float64 rows of every block, in order."""
    import numpy as np

    for start in range(0, len(features), rows):
        yield start, np.asarray(features[start : start + rows], dtype=np.float64)


def tiles(x: np.ndarray, y: np.ndarray | None, side: int = TILE) -> Iterator[tuple[slice, slice, np.ndarray, np.ndarray]]:
    """Yield the places and the float64 rows of every tile of an (N, M) matrix of pairs.

    Without `y`, of the symmetric (N, N) matrix, of which the tiles below the diagonal are left out.

    Args:
        x: (N, D) rows.
        y: (M, D) columns, or None.
        side: Rows and columns of a tile.
    """
    for top, rows in blocks(x, side):
        first, rest = (top, x[top:]) if y is None else (0, y)
        for left, columns in blocks(rest, side):
            yield slice(top, top + len(rows)), slice(first + left, first + left + len(columns)), rows, columns
