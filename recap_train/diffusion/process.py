"""How latents become noise, what a network is taught of it, and which of diffusers' schedulers takes the noise away.

`Epsilon` is DiT's process (Peebles and Xie 2023, and its code): 1000 steps, linear betas, the noise as target, and optionally
the variance as a learned place between its two bounds (Nichol and Dhariwal 2021, section 3.1). `Flow` is rectified flow (Liu et
al. 2022) with straight paths. Both are pure functions of tensors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from recap_eval.errors import unknown_name

if TYPE_CHECKING:
    import torch

STEPS = 1000
BETAS = (1e-4, 0.02)
BIN = 1 / 255  # half of a grey level where black is -1 and white 1; guided-diffusion keeps it for latents
EDGE = 0.999
TINY = 1e-12


class Process(Protocol):
    """What is learned."""

    @property
    def channels(self) -> int:
        """Channels that the network gives for each of the latent's."""

    def times(self, uniforms: torch.Tensor) -> torch.Tensor:
        """Return (B,) times as the network takes them, 0 to 1000, from (B,) numbers in [0, 1)."""

    def noised(self, clean: torch.Tensor, noise: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        """Return (B, C, h, w) latents at (B,) times."""

    def losses(self, output: torch.Tensor, clean: torch.Tensor, noise: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        """Return (B,) losses of the network's output for `noised(clean, noise, time)`."""

    def scheduler(self) -> dict[str, Any]:
        """Return the configuration of the DPMSolverMultistepScheduler that samples from it."""


def _by_sample(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return values.reshape(-1, *[1] * (like.ndim - 1)).to(like.dtype)


def _mean(values: torch.Tensor) -> torch.Tensor:
    return values.flatten(1).mean(dim=1)


@dataclass(frozen=True)
class Epsilon:
    """DiT's process; see the head of this file.

    Args:
        learn_sigma: Whether the network also gives the variance.
    """

    learn_sigma: bool = True

    @property
    def channels(self) -> int:
        """Two with a variance, else one."""
        return 2 if self.learn_sigma else 1

    @cached_property
    def _tables(self) -> dict[str, torch.Tensor]:
        """(1000,) float64 each: everything that depends on the step alone (Ho et al. 2020, equations 4 to 7)."""
        import torch

        betas = torch.linspace(*BETAS, STEPS, dtype=torch.float64)
        kept = torch.cumprod(1 - betas, dim=0)
        before = torch.cat([torch.ones(1, dtype=torch.float64), kept[:-1]])
        variance = betas * (1 - before) / (1 - kept)
        return {
            "signal": kept.sqrt(),
            "noise": (1 - kept).sqrt(),
            "clean_share": betas * before.sqrt() / (1 - kept),
            "noised_share": (1 - before) * (1 - betas).sqrt() / (1 - kept),
            "low": torch.cat([variance[1:2], variance[1:]]).log(),  # that of the first step is 0
            "high": betas.log(),
        }

    def _at(self, name: str, time: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        return _by_sample(self._tables[name].to(time.device)[time.long()], like)

    def times(self, uniforms: torch.Tensor) -> torch.Tensor:
        """Return (B,) whole steps, each as likely."""
        return (uniforms * STEPS).long()

    def noised(self, clean: torch.Tensor, noise: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        """Return (B, C, h, w) latents at (B,) steps."""
        return self._at("signal", time, clean) * clean + self._at("noise", time, clean) * noise

    def losses(self, output: torch.Tensor, clean: torch.Tensor, noise: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        """Return (B,) squared errors of the noise; with a variance, plus the bound, which teaches nothing but the variance."""
        if not self.learn_sigma:
            return _mean((output - noise) ** 2)
        guess, place = output.chunk(2, dim=1)
        return _mean((guess - noise) ** 2) + self.bound(guess.detach(), place, clean, noise, time)

    def bound(
        self, guess: torch.Tensor, place: torch.Tensor, clean: torch.Tensor, noise: torch.Tensor, time: torch.Tensor
    ) -> torch.Tensor:
        """Return (B,) terms of the variational bound at these steps, in bits a number.

        Args:
            guess: (B, C, h, w) the network's noise.
            place: (B, C, h, w) where the log variance lies between its bounds, -1 to 1.
            clean: (B, C, h, w) the latents.
            noise: (B, C, h, w) the noise in them.
            time: (B,) steps.
        """
        import torch

        noised = self.noised(clean, noise, time)
        found = (noised - self._at("noise", time, clean) * guess) / self._at("signal", time, clean)
        low, high = self._at("low", time, clean), self._at("high", time, clean)
        log_variance = low + (place + 1) / 2 * (high - low)
        true = self._previous(clean, noised, time)
        mean = self._previous(found, noised, time)
        divergence = 0.5 * (log_variance - low + (low - log_variance).exp() + (true - mean) ** 2 * (-log_variance).exp() - 1)
        last = -_log_likelihood(clean, mean, 0.5 * log_variance)
        return torch.where(time == 0, _mean(last), _mean(divergence)) / math.log(2)

    def _previous(self, clean: torch.Tensor, noised: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        """Return the mean of the latents one step earlier."""
        return self._at("clean_share", time, clean) * clean + self._at("noised_share", time, clean) * noised

    def scheduler(self) -> dict[str, Any]:
        """Return the scheduler's configuration."""
        return {
            "num_train_timesteps": STEPS, "beta_start": BETAS[0], "beta_end": BETAS[1], "beta_schedule": "linear",
            "prediction_type": "epsilon",
        }  # fmt: skip


def _log_likelihood(values: torch.Tensor, mean: torch.Tensor, log_deviation: torch.Tensor) -> torch.Tensor:
    """Return the log probability that a normal number falls into the bin of each value; the outer bins are open."""
    import torch

    scale = (-log_deviation).exp()
    upper = torch.special.ndtr((values + BIN - mean) * scale)
    lower = torch.special.ndtr((values - BIN - mean) * scale)
    upper = torch.where(values > EDGE, 1.0, upper)
    lower = torch.where(values < -EDGE, 0.0, lower)
    return (upper - lower).clamp(min=TINY).log()


@dataclass(frozen=True)
class Flow:
    """Rectified flow; see the head of this file.

    Args:
        logit_normal: Times are the logistic function of a normal number (Esser et al. 2024, section 3.1); else even.
    """

    logit_normal: bool = False

    @property
    def channels(self) -> int:
        """One: there is no variance."""
        return 1

    def times(self, uniforms: torch.Tensor) -> torch.Tensor:
        """Return (B,) times from 0 (clean) to 1000 (noise)."""
        import torch

        if self.logit_normal:
            uniforms = torch.special.ndtri(uniforms.clamp(1e-6, 1 - 1e-6)).sigmoid()
        return (uniforms * STEPS).float()

    def noised(self, clean: torch.Tensor, noise: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        """Return (B, C, h, w) latents on the straight way to the noise."""
        share = _by_sample(time / STEPS, clean)
        return (1 - share) * clean + share * noise

    def losses(self, output: torch.Tensor, clean: torch.Tensor, noise: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        """Return (B,) squared errors of the velocity, noise - clean."""
        return _mean((output - (noise - clean)) ** 2)

    def scheduler(self) -> dict[str, Any]:
        """Return the scheduler's configuration."""
        return {"num_train_timesteps": STEPS, "prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 1.0}


PROCESSES: dict[str, Process] = {
    "epsilon": Epsilon(),
    "epsilon-fixed": Epsilon(learn_sigma=False),
    "flow": Flow(),
    "flow-logit-normal": Flow(logit_normal=True),
}


def process_named(name: str) -> Process:
    """Return a process by name.

    Raises:
        UserError: There is none of that name.
    """
    if name not in PROCESSES:
        raise unknown_name("objective", name, PROCESSES, ", ".join(PROCESSES))
    return PROCESSES[name]
