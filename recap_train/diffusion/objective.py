"""What `Loop` trains of a diffusion transformer: a batch's latents at random times, under the process's loss."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recap_train.diffusion import noise
from recap_train.diffusion.autoencoder import sampled
from recap_train.diffusion.process import Process
from recap_train.parallel import World
from recap_train.states import Spread

if TYPE_CHECKING:
    import torch

    from recap_train.diffusion.encoded import Encode, Encoded
    from recap_train.diffusion.transformer import Denoiser


@dataclass(frozen=True)
class Inputs:
    """A batch on the device, as the network takes it.

    Args:
        clean: (n, C, h, w) latents, drawn from their posteriors and scaled.
        noise: (n, C, h, w) what is mixed into them.
        time: (n,) how much.
        states: (n, L, D) text states.
        present: (n, L) True where there is a token.
    """

    clean: torch.Tensor
    noise: torch.Tensor
    time: torch.Tensor
    states: torch.Tensor
    present: torch.Tensor

    def split(self, size: int) -> list[Inputs]:
        """Return the batch in parts of at most `size` rows."""
        parts = zip(*(getattr(self, name).split(size) for name in self.__dataclass_fields__), strict=True)
        return [Inputs(*part) for part in parts]


@dataclass(frozen=True)
class Denoising:
    """The objective.

    Args:
        spread: The network as this process calls it.
        denoiser: The network itself.
        process: What is learned.
        encode: A batch to moments and text states.
        scale: What latents are multiplied by.
        world: The processes.
        micro_batch: Rows whose activations are held at a time; None for all.
        seed: The run's seed.
    """

    spread: Spread
    denoiser: Denoiser
    process: Process
    encode: Encode
    scale: float
    world: World
    micro_batch: int | None
    seed: int

    def backward(self, batch: Any, step: int) -> torch.Tensor:
        """Add a batch's gradients to the weights' and return its loss; the mean over processes is the whole batch's."""
        import torch

        encoded = self.encode(batch)
        rows = len(encoded.keys)
        share = self.world.size / max(1.0, self.world.total(rows)[0])  # of a row in the whole batch's mean
        if not rows:  # all of its images were unreadable; the others wait for its gradients
            encoded, share = encoded.blank(), 0.0
        parts = self.inputs(encoded).split(self.micro_batch or max(1, rows))
        total = torch.zeros((), device=self.world.device)
        for number, part in enumerate(parts):
            with self._alone_until(number == len(parts) - 1):
                loss = self._losses(part).sum() * share
                loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        return total

    def _losses(self, part: Inputs) -> torch.Tensor:
        noised = self.process.noised(part.clean, part.noise, part.time)
        output = self.spread.module(noised, part.time, part.states, part.present)
        return self.process.losses(output, part.clean, part.noise, part.time)

    def _alone_until(self, last: bool) -> contextlib.AbstractContextManager[None]:
        """Let DDP average the gradients of the last micro-batch only; FSDP averages each."""
        quiet = getattr(self.spread.module, "no_sync", None)
        return contextlib.nullcontext() if last or quiet is None else quiet()

    def inputs(self, encoded: Encoded) -> Inputs:
        """Draw latents, times and noise for a batch; all are functions of seed, sample and epoch."""
        import torch

        moments = encoded.moments.to(self.world.device)
        shape = (moments.shape[1] // 2, *moments.shape[2:])
        draw = self._normals(encoded, noise.POSTERIOR, shape)
        clean = sampled(moments, draw) * self.scale
        uniforms = noise.uniforms(encoded.keys, encoded.epochs, self.seed, noise.TIME)
        time = self.process.times(torch.from_numpy(uniforms)).to(self.world.device)
        states, present = (tensor.to(self.world.device) for tensor in (encoded.states, encoded.present))
        return Inputs(clean, self._normals(encoded, noise.NOISE, shape), time, states.float(), present)

    def _normals(self, encoded: Encoded, stream: int, shape: tuple[int, ...]) -> torch.Tensor:
        return noise.normals_on(self.world.device, encoded.keys, encoded.epochs, self.seed, stream, shape)

    def after_step(self) -> None:
        """Nothing follows a step."""

    def facts(self) -> dict[str, float]:
        """Return what the log tells beside the loss: nothing."""
        return {}

    def flops(self, batch: Any) -> float:
        """Return the operations that training on one sample of this batch takes, encoders and recomputation not counted."""
        import torch
        from torch.utils.flop_counter import FlopCounterMode

        encoded = self.encode(batch)
        counter = FlopCounterMode(display=False)
        with torch.no_grad(), torch.compiler.set_stance("force_eager"), counter:
            for part in self.inputs(encoded).split(self.micro_batch or max(1, len(encoded.keys))):
                self.denoiser(self.process.noised(part.clean, part.noise, part.time), part.time, part.states, part.present)
        return 3.0 * counter.get_total_flops() / max(1, len(encoded.keys))
