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

    def lr_at(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        rise = self.warmup * self.steps
        if step < rise:
            return self.lr * (step + 1) / math.ceil(rise)
        if self.lr_schedule == "constant":
            return self.lr
        return self.lr * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1.0, self.steps - rise)))

    def keeps(self, step: int) -> bool:
        """Tell whether the checkpoint after `step` steps is one to keep."""
        if self.keep_every is None:
            return False
        return step * self.batch_size // self.keep_every > (step - 1) * self.batch_size // self.keep_every


def make_optimizer(model: torch.nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    """Return AdamW with weight decay on matrices and none on gains, biases and the logit scale; frozen weights are left out."""
    import torch

    weights = [weight for weight in model.parameters() if weight.requires_grad]
    matrices = [weight for weight in weights if weight.ndim > 1]
    vectors = [weight for weight in weights if weight.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": schedule.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=schedule.lr, betas=schedule.betas, eps=schedule.eps, fused=True)
