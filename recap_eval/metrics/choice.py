"""Two-way choices: does the true caption score higher than the false one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def prefers_true(true_scores: np.ndarray, false_scores: np.ndarray) -> np.ndarray:
    """Return (N,) 1 where the true caption scores higher, 0 where lower, 0.5 at a tie.

    Peers count a tie as right or as wrong, so that a constant model scores 100 % or 0 %; half is what guessing gives.

    Args:
        true_scores: (N,) similarities of the true captions, finite.
        false_scores: (N,) similarities of the false ones.

    Raises:
        ValueError: A score is not finite.
    """
    import numpy as np

    if not (np.isfinite(true_scores).all() and np.isfinite(false_scores).all()):
        raise ValueError("Scores must be finite.")
    return (np.sign(true_scores.astype(np.float64) - false_scores.astype(np.float64)) + 1) / 2
