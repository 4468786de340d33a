"""How the next token is chosen in this process: greedily, or drawn from a seed of the row's own, and how probable it was.

A draw is a function of (seed, number of the token in the caption, token) alone, never of a generator's state. So a caption does
not depend on its batch mates, on the order of requests or on the device. It is drawn as an argmax over scores with Gumbel noise
(Gumbel 1954; Maddison, Tarlow and Minka 2014), which is a draw from their softmax.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recap_caption.prompts import Sampling
from recap_eval.hashrand import GOLDEN, MASK, MIX_1, MIX_2

if TYPE_CHECKING:
    import torch


class Choosing:
    """Makes `generate`'s argmax choose each row's token by its own sampling; a logits processor of transformers, the last one.

    Args:
        sampling: How tokens are chosen, in all rows.
        seeds: (B,) the rows' seeds; not read in greedy decoding.
    """

    def __init__(self, sampling: Sampling, seeds: list[int]) -> None:
        self._sampling, self._seeds = sampling, seeds
        self._chosen: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return (B, V) scores whose argmax is the chosen token."""
        import torch

        scores = scores.float()
        token = scores.argmax(-1, keepdim=True) if self._sampling.is_greedy else self._draw(scores)
        self._chosen.append(scores.gather(1, token).squeeze(1) - scores.logsumexp(-1))
        if self._sampling.is_greedy:
            return scores
        return torch.full_like(scores, -torch.inf).scatter_(1, token, 0.0)

    def _draw(self, scores: torch.Tensor) -> torch.Tensor:
        """Return (B, 1) drawn tokens."""
        kept, tokens = candidates(scores, self._sampling)
        noise = gumbel(self._seeds, len(self._chosen), tokens)
        return tokens.gather(1, (kept.double() + noise).argmax(-1, keepdim=True))

    def mean_logprobs(self, lengths: list[int]) -> list[float | None]:
        """Return, for each row, the mean natural logarithm of its tokens' probabilities under the model, before any sampling.

        Args:
            lengths: (B,) tokens of each row, the one that ends it included.
        """
        import torch

        if not self._chosen:
            return [None] * len(lengths)
        found = torch.stack(self._chosen, dim=1).double().cpu()
        return [float(row[:length].mean()) if length else None for row, length in zip(found, lengths, strict=True)]


def candidates(scores: torch.Tensor, sampling: Sampling) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what may be drawn: (B, K) scores at the temperature, those that may not be -inf, and (B, K) their tokens.

    Args:
        scores: (B, V) scores of the model.
        sampling: Temperature, then top-k, then top-p of what is left, as transformers has them.
    """
    import torch

    scores = scores / sampling.temperature
    k = min(sampling.top_k or scores.shape[1], scores.shape[1])
    top_p = 1.0 if sampling.top_p is None else sampling.top_p
    if k < scores.shape[1] or top_p < 1:
        kept, tokens = scores.topk(k, dim=-1)
    else:
        kept, tokens = scores, torch.arange(k, device=scores.device).expand(len(scores), k)
    if top_p < 1:
        before = kept.double().softmax(-1).cumsum(-1).roll(1, -1)
        before[:, 0] = 0
        kept = kept.masked_fill(before >= top_p, -torch.inf)
    return kept, tokens


def gumbel(seeds: list[int], step: int, tokens: torch.Tensor) -> torch.Tensor:
    """Return (B, K) float64 standard Gumbel noise, each value a hash of (the row's seed, step, token)."""
    import torch

    state = _mix(torch.tensor([[_signed(seed)] for seed in seeds], dtype=torch.int64, device=tokens.device))
    for part in (torch.full_like(state, step), tokens):
        state = _mix(state ^ part)
    uniform = ((_shifted(state, 11)).double() + 0.5) * 2.0**-53  # in (0, 1)
    return -(-uniform.log()).log()


def _mix(z: torch.Tensor) -> torch.Tensor:
    """Return splitmix64's finaliser of int64, equal to that of `recap_eval.hashrand`: arithmetic wraps."""
    z = z + _signed(GOLDEN)
    z = (z ^ _shifted(z, 30)) * _signed(MIX_1)
    z = (z ^ _shifted(z, 27)) * _signed(MIX_2)
    return z ^ _shifted(z, 31)


def _shifted(z: torch.Tensor, bits: int) -> torch.Tensor:
    """Return z >> bits with zeros coming in, which torch does not have for int64."""
    return (z >> bits) & (MASK >> bits)


def _signed(value: int) -> int:
    """Return 64 bits as the int64 that they are."""
    value &= MASK
    return value - (1 << 64) if value >> 63 else value
