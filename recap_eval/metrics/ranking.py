"""Where the right item ranks among all: counted block by block, in fp32, with ties told apart.

Ranks by counting need no sorted list and no N x M matrix: of each query's row we keep how many wrong items score higher
than its best right one, and how many score the same. Recall at every k then follows in closed form, as its expectation
when ties are broken at random. (Scores in bf16 tie many captions; see docs/protocols.md.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch

BLOCK = 1024  # queries scored at a time: memory is BLOCK x M floats


@dataclass(frozen=True)
class Ranks:
    """Per query, what stands around its best-scored right item.

    Args:
        above: (N,) wrong items that score strictly higher.
        tied: (N,) wrong items with the same score.
        right: (N,) right items with that best score, at least 1.
    """

    above: np.ndarray
    tied: np.ndarray
    right: np.ndarray

    def hit_at(self, k: int) -> np.ndarray:
        """Return (N,) the probability that a right item is among the first k, ties broken at random.

        Without ties it is 0 or 1. With `r` right and `t` wrong items tied and `f` places left, it is
        1 - C(t, f) / C(t + r, f).
        """
        import numpy as np
        from scipy.special import gammaln

        free = np.minimum(k - self.above, self.tied + self.right)
        some = np.maximum(free, 0)
        sure = (free > self.tied) | ((self.tied == 0) & (free > 0))
        t, r = self.tied.astype(np.float64), self.right.astype(np.float64)
        f = np.minimum(some, self.tied).astype(np.float64)
        log_miss = gammaln(t + 1) - gammaln(t - f + 1) - gammaln(t + r + 1) + gammaln(t + r - f + 1)
        partly = 1 - np.exp(log_miss)
        return np.where(free <= 0, 0.0, np.where(sure, 1.0, partly))

    def bounds_at(self, k: int) -> tuple[float, float]:
        """Return recall at k if every tie is lost, and if every tie is won."""
        worst = (self.above + self.tied < k).mean()
        best = (self.above < k).mean()
        return float(worst), float(best)

    @property
    def tie_share(self) -> float:
        """Share of queries whose best right item is tied with a wrong one."""
        return float((self.tied > 0).mean())


def rank_right_items(
    queries: torch.Tensor,
    items: torch.Tensor,
    query_owner: torch.Tensor,
    item_owner: torch.Tensor,
    item_row: torch.Tensor | None = None,
) -> Ranks:
    """Rank all items for each query; an item is right for a query of the same owner.

    CLIP's recall counts an image as found if ANY of its captions is among the first k, so only the best-scored right
    item matters (unlike the information-retrieval recall of MTEB).

    Args:
        queries: (N, D) unit rows, float32.
        items: (M, D) unit rows, float32; or (U, D) distinct ones with `item_row`.
        query_owner: (N,) integers, such as image numbers.
        item_owner: (M,) integers; every query's owner owns at least one item.
        item_row: (M,) row of `items` that holds each item. Equal items given as one row score exactly the same, which
            a matrix product over repeated rows does not promise.

    Raises:
        ValueError: A query has no right item.
    """
    import numpy as np
    import torch

    parts: list[tuple[torch.Tensor, ...]] = []
    for start in range(0, len(queries), BLOCK):
        scores = queries[start : start + BLOCK].float() @ items.float().T
        scores = scores if item_row is None else scores[:, item_row]
        own = query_owner[start : start + BLOCK, None] == item_owner[None, :]
        if not bool(own.any(dim=1).all()):
            raise ValueError("A query has no right item.")
        best = scores.masked_fill(~own, -torch.inf).amax(dim=1, keepdim=True)
        level = scores == best
        parts.append(((scores > best).sum(1), (level & ~own).sum(1), (level & own).sum(1)))
    above, tied, right = (np.concatenate([part[i].cpu().numpy() for part in parts]) for i in range(3))
    return Ranks(above, tied, right)
