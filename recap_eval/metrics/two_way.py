"""Two captions of one image held against each other by their cosines with it: the share each takes, and which one wins.

The paper's section 4 gives "CLIP" figures that sum to 100 over original and recaption, and does not say which reading they
are; both are here. As everywhere: arrays in, one value an item out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

LOGIT_SCALE = 100.0  # where CLIP's training clips it (Radford et al. 2021, section 2.5)
TIE = 1e-6  # cosines nearer than this are equal: one text in another batch differs by as much in its last bits


def softmax_share(ours: np.ndarray, theirs: np.ndarray, logit_scale: float = LOGIT_SCALE) -> np.ndarray:
    """Return what a softmax over the two cosines gives to ours.

    Args:
        ours: (N,) cosines in [-1, 1].
        theirs: (N,) cosines of the other caption with the same image.
        logit_scale: By what cosines are multiplied.

    Returns:
        (N,) shares in [0, 1]; that of the other caption is 1 less this.
    """
    from scipy.special import expit

    shares: np.ndarray = expit(logit_scale * (ours - theirs))
    return shares


def wins(ours: np.ndarray, theirs: np.ndarray, tie: float = TIE) -> np.ndarray:
    """Return 1 where our cosine is the higher, 0 where theirs is, and a half where they are equal.

    Args:
        ours: (N,) cosines.
        theirs: (N,) cosines of the other caption with the same image.
        tie: Cosines that differ by no more are equal.
    """
    import numpy as np

    gap = ours - theirs
    return np.where(np.abs(gap) <= tie, 0.5, (gap > 0).astype(np.float64))
