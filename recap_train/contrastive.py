"""CLIP's objective: the loss over the whole batch of all processes, its gradient in one pass or micro-batch by micro-batch.

Micro-batches keep the contrastive batch (GradCache, Gao et al. 2021): all features are made without gradient, the loss and its
gradient by feature over the whole batch, and then each micro-batch is encoded again and its features' gradients are sent back.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recap_eval.hashrand import combine, text_key
from recap_train.masking import kept_patches
from recap_train.parallel import World, local
from recap_train.states import Spread

if TYPE_CHECKING:
    import torch

    from recap_train.loader import Batch
    from recap_train.towers import Towers

DROPOUT = text_key("dropout")
MAX_LOGIT_SCALE = math.log(100)  # CLIP section 2.5 clips the temperature there


@dataclass(frozen=True)
class Inputs:
    """A batch on the device.

    Args:
        pixels: (n, 3, S, S) uint8.
        tokens: (n, L) token ids.
        kept: (n, K) patches that are not masked; None for all.
        valid: (n,) False where a row only fills the place of an unreadable image.
    """

    pixels: torch.Tensor
    tokens: torch.Tensor
    kept: torch.Tensor | None
    valid: torch.Tensor

    def split(self, size: int) -> list[tuple[Any, ...]]:
        """Return the towers' arguments in parts of at most `size` rows."""
        import torch

        pixels, tokens = torch.split(self.pixels, size), torch.split(self.tokens, size)
        kept = [None] * len(pixels) if self.kept is None else torch.split(self.kept, size)
        return list(zip(pixels, tokens, kept, strict=True))


def batch_loss(image: torch.Tensor, text: torch.Tensor, scale: torch.Tensor, valid: torch.Tensor, world: World) -> torch.Tensor:
    """Return the contrastive loss whose mean over the processes is that of the whole batch.

    Args:
        image: (n, D) unit features of this process's images; n is the same everywhere.
        text: (n, D) unit features of their captions.
        scale: The logit scale.
        valid: (n,) rows that count.
        world: The processes.
    """
    import torch
    from open_clip.loss import ClipLoss, gather_features

    if world.size == 1:
        loss: torch.Tensor = ClipLoss()(image, text, scale)
        return loss
    images, texts = gather_features(image, text, True, True, world.rank, world.size)
    rows = [torch.empty_like(valid) for _ in range(world.size)]
    torch.distributed.all_gather(rows, valid)
    absent = ~torch.cat(rows)
    labels = torch.arange(len(valid), device=valid.device) + world.rank * len(valid)
    labels = labels.masked_fill(~valid, -100)  # cross_entropy's ignore_index

    def side(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
        logits = (scale * ours @ theirs.T).masked_fill(absent, -torch.inf)
        return torch.nn.functional.cross_entropy(logits, labels, reduction="sum")

    return (side(image, texts) + side(text, images)) / 2 * world.size / (~absent).sum()


@dataclass(frozen=True)
class Contrastive:
    """What `Loop` trains: the towers under the contrastive loss.

    Args:
        spread: The towers as this process calls them.
        towers: The towers themselves.
        world: The processes.
        rows: This process's part of a whole batch.
        masked: Share of the patches that is left out.
        micro_batch: Rows whose activations are held at a time; None for all.
        seed: The run's seed.
    """

    spread: Spread
    towers: Towers
    world: World
    rows: int
    masked: float
    micro_batch: int | None
    seed: int

    def backward(self, batch: Batch, step: int) -> torch.Tensor:
        """Add a batch's gradients to the weights' and return its loss; the mean over processes is the whole batch's."""
        inputs = self.inputs(batch)
        if self.micro_batch is not None and self.micro_batch < len(inputs.pixels):
            return self._cached(inputs, self.micro_batch, step)
        with self._dice(step, 0):
            image, text, scale = self.spread.module(inputs.pixels, inputs.tokens, inputs.kept)
        loss = batch_loss(image, text, scale, inputs.valid, self.world)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _cached(self, inputs: Inputs, size: int, step: int) -> torch.Tensor:
        import torch

        parts, made = inputs.split(size), []
        for number, part in enumerate(parts):
            with torch.no_grad(), self._dice(step, number):
                made.append(self.spread.module(*part))
        image, text = (torch.cat([features[k] for features in made]).requires_grad_() for k in (0, 1))
        scale = made[0][2].clone().requires_grad_()
        loss = batch_loss(image, text, scale, inputs.valid, self.world)
        loss.backward()  # type: ignore[no-untyped-call]
        grads = zip(image.grad.split(size), text.grad.split(size), strict=True)  # type: ignore[union-attr]
        for number, (part, (by_image, by_text)) in enumerate(zip(parts, grads, strict=True)):
            last = number == len(parts) - 1
            with self._alone_until(last), self._dice(step, number):
                features, texts, temperature = self.spread.module(*part)
                by_scale = scale.grad if last else torch.zeros_like(scale)
                torch.autograd.backward([features, texts, temperature], [by_image, by_text, by_scale])
        return loss.detach()

    def _alone_until(self, last: bool) -> contextlib.AbstractContextManager[None]:
        """Let DDP average the gradients of the last micro-batch only; FSDP averages each, so as to hold no whole gradient."""
        quiet = getattr(self.spread.module, "no_sync", None)
        return contextlib.nullcontext() if last or quiet is None else quiet()

    @contextlib.contextmanager
    def _dice(self, step: int, number: int) -> Iterator[None]:
        """Let dropout be a function of seed, step, process and micro-batch, where a model has any."""
        import torch

        if not self._drops:
            yield
            return
        with torch.random.fork_rng(devices=[self.world.device] if self.world.gpu else []):
            torch.manual_seed(combine(self.seed, DROPOUT, step, self.world.rank, number) >> 1)
            yield

    @functools.cached_property
    def _drops(self) -> bool:
        rates = ("p", "dropout", "drop_prob", "attn_drop")
        return any(
            isinstance(rate := getattr(module, name, 0), float) and rate > 0
            for module in self.towers.modules()
            for name in rates
        )

    def inputs(self, batch: Batch) -> Inputs:
        """Return a batch on the device; among several processes, filled up to the same number of rows everywhere."""
        import torch

        pixels, tokens, kept = batch.pixels, batch.tokens, None
        if self.masked:
            drawn = kept_patches(batch.keys, batch.epochs, self.towers.patches, self.masked, self.seed)
            kept = torch.from_numpy(drawn)
        valid = torch.ones(len(pixels), dtype=torch.bool)
        if self.world.size > 1 and len(pixels) < self.rows:
            pixels, tokens, valid = (_filled(tensor, self.rows) for tensor in (pixels, tokens, valid))
            kept = None if kept is None else _filled(kept, self.rows)
        return Inputs(*(None if tensor is None else self._moved(tensor) for tensor in (pixels, tokens, kept, valid)))  # type: ignore[arg-type]

    def _moved(self, tensor: torch.Tensor) -> torch.Tensor:
        import torch

        if not self.world.gpu:
            return tensor
        pinned = tensor if tensor.is_pinned() else tensor.pin_memory()
        moved = pinned.to(self.world.device, non_blocking=True)
        return moved.contiguous(memory_format=torch.channels_last) if moved.ndim == 4 else moved

    def after_step(self) -> None:
        """Keep the temperature within its bounds."""
        import torch

        with torch.no_grad():
            local(self.towers.model.logit_scale).clamp_(0, MAX_LOGIT_SCALE)

    def facts(self) -> dict[str, float]:
        """Return what the log tells beside the loss. All processes must call it."""
        scale = self.towers.model.logit_scale
        whole = scale.full_tensor() if hasattr(scale, "full_tensor") else scale
        return {"logit_scale": whole.exp().item()}

    def flops(self, batch: Batch) -> float:
        """Return the operations that training on one sample of this batch takes, without recomputation.

        The forward pass is counted as it is run, masks and trimmed texts included; a backward pass takes twice as many
        (Chowdhery et al. 2022, appendix B).
        """
        import torch
        from torch.utils.flop_counter import FlopCounterMode

        inputs = self.inputs(batch)
        counter = FlopCounterMode(display=False)
        size = self.micro_batch or len(inputs.pixels)
        with torch.no_grad(), torch.compiler.set_stance("force_eager"), self._dice(0, 0), counter:
            for part in inputs.split(size):
                self.towers(*part)
        return 3.0 * counter.get_total_flops() / len(inputs.pixels)


def _filled(tensor: torch.Tensor, rows: int) -> torch.Tensor:
    import torch

    missing = tensor.new_zeros((rows - len(tensor), *tensor.shape[1:]))
    return torch.cat([tensor, missing])
