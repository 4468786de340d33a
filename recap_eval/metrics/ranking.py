"""Where the right item ranks among all: counted block by block, in fp32, with ties told apart.

Ranks by counting need no sorted list and no N x M matrix: of each query's row we keep how many wrong items score higher
than its best right one, and how many score the same. Recall at every k then follows in closed form, as its expectation
when ties are broken at random. (Scores in bf16 tie many captions; see docs/protocols.md.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch

BLOCK, CHUNK = 256, 65_536  # queries and items scored at a time: memory is BLOCK x CHUNK floats, whatever N and M
WHOLE = 1 << 27  # scores that are held at once, where that saves a second product: 512 MiB, COCO's 5,000 x 25,010 among them


@dataclass(frozen=True)
class Ranks:
    """Per query, what stands around its best-scored right item.

    Args:
        above: (N,) wrong items that score strictly higher.
        tied: (N,) wrong items with the same score.
        right: (N,) right items with that best score, at least 1.
        first: (N,) row of `items` that scores highest of all, the lowest one at a tie.
    """

    above: np.ndarray
    tied: np.ndarray
    right: np.ndarray
    first: np.ndarray

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
    def rank(self) -> np.ndarray:
        """(N,) rank of the best right item, from 1, the mean of its possible ranks where it is tied."""
        rank: np.ndarray = 1 + self.above + self.tied / (self.right + 1)
        return rank

    @property
    def tie_share(self) -> float:
        """Share of queries whose best right item is tied with a wrong one."""
        return float((self.tied > 0).mean())


@dataclass(frozen=True)
class Right:
    """Which items are right for each query.

    Args:
        query: (R,) query of each pair, ascending.
        item: (R,) an item that is right for it.
    """

    query: torch.Tensor
    item: torch.Tensor

    @staticmethod
    def of(lists: Sequence[Sequence[int]]) -> Right:
        """Build from one list of right items per query."""
        import torch

        flat = [(query, item) for query, items in enumerate(lists) for item in items]
        pairs = torch.tensor(flat, dtype=torch.long).reshape(-1, 2)
        return Right(pairs[:, 0], pairs[:, 1])


def rank_right_items(queries: torch.Tensor, items: torch.Tensor, right: Right, item_row: torch.Tensor | None = None) -> Ranks:
    """Rank all items for each query, counting what stands above and beside its best right one.

    CLIP's recall counts an image as found if ANY of its captions is among the first k, so only the best-scored right
    item matters (unlike the information-retrieval recall of MTEB).

    Args:
        queries: (N, D) unit rows, float32.
        items: (M, D) unit rows, float32; or (U, D) distinct ones with `item_row`. On the device of `queries`.
        right: Which of the M items are right; every query has at least one.
        item_row: (M,) row of `items` that holds each item. Equal items given as one row score exactly the same, which
            a matrix product over repeated rows does not promise.

    Raises:
        ValueError: A query has no right item.
    """
    import torch

    row_of = right.item if item_row is None else item_row[right.item]
    repeated = _repeated(len(items), item_row)
    starts = torch.searchsorted(right.query.contiguous(), torch.arange(len(queries) + 1))
    if bool((starts[1:] == starts[:-1]).any()):
        raise ValueError("A query has no right item.")
    parts = []
    for low in range(0, len(queries), BLOCK):
        high = min(low + BLOCK, len(queries))
        pairs = slice(int(starts[low]), int(starts[high]))
        parts.append(_rank_block(queries[low:high].float(), items, right.query[pairs] - low, row_of[pairs], repeated))
    above, tied, count, first = (torch.cat([part[i].cpu() for part in parts]).numpy() for i in range(4))
    return Ranks(above, tied, count, first)


def _repeated(rows: int, item_row: torch.Tensor | None) -> torch.Tensor:
    """Return the rows that stand for more than one item, once for each item beyond the first."""
    import torch

    if item_row is None:
        return torch.empty(0, dtype=torch.long)
    counts = torch.bincount(item_row, minlength=rows)
    if bool((counts == 0).any()):
        raise ValueError("A row of items stands for no item.")
    return torch.repeat_interleave(torch.arange(rows), counts - 1)


def _rank_block(
    queries: torch.Tensor, items: torch.Tensor, owner: torch.Tensor, row: torch.Tensor, repeated: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """Count for one block of queries, a chunk of items at a time.

    The score of a right item is read out of the same product it is compared with: another one could differ in the last bit.
    """
    import torch

    device, n = queries.device, len(queries)
    chunks = range(0, len(items), CHUNK)
    scores = _Scores(queries, items)
    own = torch.empty(len(row), device=device)
    for start in chunks:
        inside = (row >= start) & (row < start + CHUNK)
        if bool(inside.any()):
            own[inside.to(device)] = scores.of(start)[owner[inside].to(device), (row[inside] - start).to(device)]
    owner = owner.to(device)
    best = torch.full((n,), -torch.inf, device=device).scatter_reduce(0, owner, own, "amax")
    count = torch.zeros(n, dtype=torch.long, device=device).index_add(0, owner, (own == best[owner]).long())
    above, level = torch.zeros(n, dtype=torch.long, device=device), torch.zeros(n, dtype=torch.long, device=device)
    top, first = torch.full((n,), -torch.inf, device=device), torch.zeros(n, dtype=torch.long, device=device)
    line = best[:, None]
    for start in chunks:
        found = scores.of(start)
        extra = found[:, repeated[(repeated >= start) & (repeated < start + CHUNK)].to(device) - start]
        for part in (found, extra) if extra.shape[1] else (found,):
            above += _true_in_rows(part > line)
            level += _true_in_rows(part == line)
        place = found.argmax(dim=1)
        high = found.gather(1, place[:, None])[:, 0]
        first = torch.where(high > top, place + start, first)
        top = torch.maximum(top, high)
    return above, level - count, count, first


def _true_in_rows(mask: torch.Tensor) -> torch.Tensor:
    """Count the true elements of each row; on a CPU by numpy, since torch sums truth values slowly."""
    import numpy as np
    import torch

    if mask.device.type != "cpu":
        return mask.sum(1)
    return torch.tensor([np.count_nonzero(row) for row in mask.numpy()], dtype=torch.long)


class _Scores:
    """Products of a block of queries with chunks of items; the last one is kept, which is all when there is one chunk."""

    def __init__(self, queries: torch.Tensor, items: torch.Tensor) -> None:
        self._queries, self._items, self._start = queries, items, -1

    def of(self, start: int) -> torch.Tensor:
        """Return the (n, CHUNK at most) scores of the chunk that starts at `start`."""
        if start != self._start:
            self._start, self._last = start, self._queries @ self._items[start : start + CHUNK].float().T
        return self._last


def rank_both_ways(images: torch.Tensor, texts: torch.Tensor, owner: torch.Tensor, row: torch.Tensor) -> tuple[Ranks, Ranks]:
    """Rank texts for each image and images for each text, from one product where it fits into `WHOLE`.

    Args:
        images: (N, D) unit rows, float32.
        texts: (U, D) distinct unit rows, float32.
        owner: (M,) image of each caption, ascending; every image has at least one.
        row: (M,) row of `texts` of each caption.

    Returns:
        Ranks of each image's best caption among M, and of each caption's image among N.

    Raises:
        ValueError: An image has no caption.
    """
    import torch

    captions = torch.arange(len(owner))
    if len(images) * len(texts) > WHOLE or images.device.type != "cpu":
        to_text = rank_right_items(images, texts, Right(owner, captions), item_row=row)
        return to_text, rank_right_items(texts[row], images, Right(captions, owner))
    if len(torch.unique(owner)) != len(images):
        raise ValueError("A query has no right item.")
    scores = texts.float() @ images.float().T
    return _columns(scores, owner, row), _rows(scores, owner, row)


def _rows(scores: torch.Tensor, owner: torch.Tensor, row: torch.Tensor) -> Ranks:
    """Rank the columns of (U, N) scores for each caption, of which one is right."""
    import torch

    parts = []
    for low in range(0, len(row), BLOCK):
        found, own = scores[row[low : low + BLOCK]], owner[low : low + BLOCK, None]
        line = found.gather(1, own)
        parts.append((_true_in_rows(found > line), _true_in_rows(found == line) - 1, found.argmax(dim=1)))
    above, tied, first = (torch.cat([part[i] for part in parts]) for i in range(3))
    return Ranks(above.numpy(), tied.numpy(), torch.ones_like(above).numpy(), first.numpy())


def _columns(scores: torch.Tensor, owner: torch.Tensor, row: torch.Tensor) -> Ranks:
    """Rank the rows of (U, N) scores, as often as captions have them, for each image, of which its captions' are right."""
    import torch

    n = scores.shape[1]
    own = scores[row, owner]
    best = torch.full((n,), -torch.inf).scatter_reduce(0, owner, own, "amax")
    count = torch.zeros(n, dtype=torch.long).index_add(0, owner, (own == best[owner]).long())
    above, level = torch.zeros(n, dtype=torch.long), torch.zeros(n, dtype=torch.long)
    top, first = torch.full((n,), -torch.inf), torch.zeros(n, dtype=torch.long)
    for start in range(0, len(scores), BLOCK):
        found = scores[start : start + BLOCK]
        above += _true_in_columns(found > best)
        level += _true_in_columns(found == best)
        high, place = found.max(dim=0)
        first = torch.where(high > top, place + start, first)
        top = torch.maximum(top, high)
    for rows in torch.split(_repeated(len(scores), row), BLOCK):
        above += _true_in_columns(scores[rows] > best)
        level += _true_in_columns(scores[rows] == best)
    return Ranks(above.numpy(), (level - count).numpy(), count.numpy(), first.numpy())


def _true_in_columns(mask: torch.Tensor) -> torch.Tensor:
    """Count the true elements of each column; as bytes, since torch sums truth values slowly."""
    import torch

    return mask.view(torch.uint8).sum(0, dtype=torch.int32).long()
