"""Macro averages as per-item values, so that errors and paired differences follow as for any mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

PLAIN = {"macro": "acc", "mpcr": "acc1"}  # macro averages by name, and the metric of the same task they average


def macro_values(values: np.ndarray, groups: Sequence[str]) -> np.ndarray:
    """Return (N,) linearised values of the macro average, the mean over groups of their means.

    Each is the average plus the item's influence on it, (N / (G n_g)) (v_i - mean_g): their mean is the average, and their
    spread gives its error for fixed group sizes. An item of a group of one has no influence that could be estimated.

    Args:
        values: (N,) floats.
        groups: (N,) group names.
    """
    import numpy as np

    codes = np.unique(np.asarray(groups), return_inverse=True)[1]
    sizes = np.bincount(codes)
    means = np.bincount(codes, weights=values) / sizes
    linearised: np.ndarray = means.mean() + len(values) / (len(sizes) * sizes[codes]) * (values - means[codes])
    return linearised
