"""Two images and two captions matched crosswise, as Winoground defines its scores (Thrush et al. 2022, section 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recap_eval.metrics.choice import prefers_true

if TYPE_CHECKING:
    import numpy as np

TEXT_CHANCE, IMAGE_CHANCE, GROUP_CHANCE = 1 / 4, 1 / 4, 1 / 6


def quad_scores(scores: np.ndarray) -> dict[str, np.ndarray]:
    """Return per case the text, image and group score: 1, 0, or the probability of 1 when ties are broken at random.

    Text: each image is closer to its own caption. Image: each caption is closer to its own image. Group: both.
    The two comparisons of a text score share no similarity, so a tie counts one half in each and they are multiplied;
    likewise for the image score. The group score asks that both right similarities lie above both wrong ones: its four
    comparisons share similarities, and with `r` right and `w` wrong ones tied at the border it is 1 / C(r + w, r). So a
    model that sees no difference scores 1/4, 1/4 and 1/6, which is what random scores give; four halves would give 1/16.

    Args:
        scores: (R, 2, 2) similarity of image i and caption j of each case, finite.

    Raises:
        ValueError: A score is not finite.
    """
    import numpy as np

    text = prefers_true(scores[:, 0, 0], scores[:, 0, 1]) * prefers_true(scores[:, 1, 1], scores[:, 1, 0])
    image = prefers_true(scores[:, 0, 0], scores[:, 1, 0]) * prefers_true(scores[:, 1, 1], scores[:, 0, 1])
    right, wrong = scores[:, [0, 1], [0, 1]], scores[:, [0, 1], [1, 0]]
    low, high = right.min(axis=1), wrong.max(axis=1)
    tied_right, tied_wrong = (right == high[:, None]).sum(axis=1), (wrong == low[:, None]).sum(axis=1)
    at_tie = np.array([[1, 1, 1], [1, 1 / 2, 1 / 3], [1, 1 / 3, 1 / 6]])[tied_right, tied_wrong]
    return {"text": text, "image": image, "group": np.where(low > high, 1.0, np.where(low < high, 0.0, at_tie))}


def has_tie(scores: np.ndarray) -> np.ndarray:
    """Return (R,) whether any of a case's four comparisons is a tie.

    Args:
        scores: (R, 2, 2) similarity of image i and caption j of each case.
    """
    tied: np.ndarray = (scores[:, :, 0] == scores[:, :, 1]).any(axis=1) | (scores[:, 0] == scores[:, 1]).any(axis=1)
    return tied
