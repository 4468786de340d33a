"""Per-item scores of one column of a board, as pairs of results need them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from recap_eval.results import Result
from recap_eval.stats import Estimate, cluster_codes, paired_items

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


class ColumnScores:
    """Per-item scores of one column: each file of them is read once, and clusters are numbered once.

    Args:
        metric: The column's metric.
    """

    def __init__(self, metric: str) -> None:
        self.metric = metric
        self._known: dict[Path, pa.Table] = {}
        self._codes: list[tuple[pa.ChunkedArray, np.ndarray]] = []

    def paired(self, ours: Result, base: Result) -> Estimate | None:
        """Return the mean difference of two results, item by item; None if they are not of the same items.

        Raises:
            DataError: See `Result.items`.
        """
        found = self.aligned([ours, base])
        return None if found is None else paired_items(found[0][0], found[0][1], found[1])

    def aligned(self, results: list[Result]) -> tuple[np.ndarray, np.ndarray] | None:
        """Return (R, N) scores of R results on the same N items, and (N,) numbers of clusters; None if the items differ.

        Raises:
            DataError: See `Result.items`.
        """
        import numpy as np

        first, *rest = tables = [self._rows(result) for result in results]
        if not all(_same_texts(first["item"], other["item"]) for other in rest):
            return None
        return np.stack([table["value"].to_numpy() for table in tables]), self._numbered(first["cluster"])

    def _rows(self, result: Result) -> pa.Table:
        if result.path not in self._known:
            self._known[result.path] = result.rows(self.metric, ("item", "cluster"))
        return self._known[result.path]

    def _numbered(self, clusters: pa.ChunkedArray) -> np.ndarray:
        """Return (N,) integers, one per distinct cluster; results on the same data share them."""
        known = next((codes for other, codes in self._codes if other.equals(clusters)), None)
        if known is None:
            known = cluster_codes(clusters.to_pylist())
            self._codes.append((clusters, known))
        return known


def _same_texts(one: pa.ChunkedArray, two: pa.ChunkedArray) -> bool:
    """Return whether two columns that were read as dictionaries hold the same, whatever their dictionaries' order."""
    import pyarrow as pa

    return bool(one.equals(two) or one.cast(pa.string()).equals(two.cast(pa.string())))
