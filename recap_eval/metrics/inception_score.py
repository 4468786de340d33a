"""Inception Score (Salimans et al. 2016): how sure a classifier is of each image, and how varied its answers are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from recap_eval.hashrand import permute_array, text_key
from recap_eval.metrics.features import checked

if TYPE_CHECKING:
    import numpy as np

SPLITS = 10
ORDER = text_key("splits for the Inception Score")


@dataclass(frozen=True)
class InceptionScore:
    """The mean over splits and its spread.

    Args:
        value: Mean over the splits of exp(mean KL divergence of an image's classes from the split's).
        split_sd: Standard deviation over the splits, as papers print it.
        splits: Number of splits.
    """

    value: float
    split_sd: float
    splits: int


def inception_score(logits: np.ndarray, splits: int = SPLITS, seed: int = 0) -> InceptionScore:
    """Return the Inception Score of class logits.

    Args:
        logits: (N, C) logits, or logarithms of probabilities; N at least `splits`.
        splits: Parts of equal size (but for one image), drawn from a hash of the seed.
        seed: Names the order in which images are split.

    Raises:
        ValueError: No split, or not a matrix.
        DataError: Fewer images than splits, or a row that is not finite.
    """
    import numpy as np
    from scipy.special import log_softmax, logsumexp

    if splits < 1:
        raise ValueError("At least one split.")
    array = checked(logits, splits, "images")
    order = permute_array(np.arange(len(array)), len(array), seed, ORDER)
    scores = []
    for rows in np.array_split(order, splits):
        logs = log_softmax(np.asarray(array[rows], dtype=np.float64), axis=1)
        marginal = logsumexp(logs, axis=0) - np.log(len(logs))
        scores.append(np.exp((np.exp(logs) * (logs - marginal)).sum(axis=1).mean()))
    return InceptionScore(float(np.mean(scores)), float(np.std(scores)), splits)
