"""How long a run is, how its learning rate moves, and its optimiser."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Schedule:
    """Length and optimiser of a run.

    Args:
        steps: Steps to take in all.
        batch_size: Samples a step, over all processes.
        lr: Peak learning rate.
        warmup: Share of the steps in which it rises.
        betas: AdamW's.
        weight_decay: AdamW's, on matrices only.
        save_seconds: A checkpoint is written when so much time has passed.
        eps: AdamW's.
        grad_clip: Largest norm of all gradients together; None for any.
        lr_schedule: After the warm-up, "cosine" falls to 0 and "constant" stays.
        keep_every: A copy of the checkpoint is kept each time so many samples were seen; None for none.
        warmup_steps: Steps in which the rate rises, instead of a share of them.
        no_decay: Ends of the names of further weights without decay.
    """

    steps: int
    batch_size: int
    lr: float
    warmup: float
    betas: tuple[float, float]
    weight_decay: float
    save_seconds: float = 60.0
    eps: float = 1e-8
    grad_clip: float | None = None
    lr_schedule: str = "cosine"
    keep_every: int | None = None
    warmup_steps: int | None = None
    no_decay: tuple[str, ...] = ()

    @property
    def rise(self) -> int:
        """Steps in which the learning rate rises."""
        return math.ceil(self.warmup * self.steps) if self.warmup_steps is None else self.warmup_steps

    def lr_at(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        rise: float = self.warmup * self.steps if self.warmup_steps is None else self.warmup_steps
        if step < rise:
            return self.lr * (step + 1) / self.rise
        if self.lr_schedule == "constant":
            return self.lr
        return self.lr * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1.0, self.steps - rise)))

    def keeps(self, step: int) -> bool:
        """Tell whether the checkpoint after `step` steps is one to keep."""
        if self.keep_every is None:
            return False
        return step * self.batch_size // self.keep_every > (step - 1) * self.batch_size // self.keep_every


def make_optimizer(model: torch.nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    """Return AdamW with weight decay on matrices; none on gains, biases, the logit scale and what the schedule names.

    Frozen weights are left out.
    """
    import torch

    matrices: list[torch.Tensor] = []
    others: list[torch.Tensor] = []
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            decays = weight.ndim > 1 and not name.removesuffix(".weight").endswith(schedule.no_decay or ("\0",))
            (matrices if decays else others).append(weight)
    groups = [{"params": matrices, "weight_decay": schedule.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=schedule.lr, betas=schedule.betas, eps=schedule.eps, fused=True)
