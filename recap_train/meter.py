"""How fast a run is, and how near to what its device can do: samples a second, MFU, memory, waiting for data."""

from __future__ import annotations

import resource
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recap_eval.errors import UserError
from recap_train.parallel import World


def peak_memory_gib(world: World) -> float:
    """Return the most memory in use so far: the allocator's on a GPU, else the process's resident set."""
    if world.gpu:
        import torch

        return torch.cuda.max_memory_allocated() / 2**30
    unit = 1 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


@dataclass
class Meter:
    """Measures between two entries of the log.

    Args:
        world: The processes.
        peak_tflops: Peak of one device; None if not known, and MFU is left out.
        flops: Operations that training on one sample takes; None until counted.
        samples: Samples since the last entry.
        seconds: Wall time they took.
        waited: Part of it spent waiting for data.
    """

    world: World = field(default_factory=World)
    peak_tflops: float | None = None
    flops: float | None = None
    samples: int = 0
    seconds: float = 0.0
    waited: float = 0.0

    def add(self, samples: int, seconds: float, waited: float) -> None:
        """Count a step."""
        self.samples, self.seconds, self.waited = self.samples + samples, self.seconds + seconds, self.waited + waited

    def read(self) -> dict[str, float]:
        """Return the figures since the last reading."""
        seconds = max(self.seconds, 1e-9)
        rate = self.samples / seconds
        facts = {"samples_per_second": round(rate, 1), "data_wait_share": round(self.waited / seconds, 4)}
        if (mfu := self.mfu(rate)) is not None:
            facts["mfu"] = mfu
        facts["peak_memory_gib"] = round(peak_memory_gib(self.world), 3)
        self.samples, self.seconds, self.waited = 0, 0.0, 0.0
        return facts

    def mfu(self, rate: float) -> float | None:
        """Return the share of all devices' peak that a rate of samples a second uses (model FLOPs utilisation)."""
        if self.flops is None or self.peak_tflops is None:
            return None
        return round(self.flops * rate / (self.peak_tflops * 1e12 * self.world.size), 4)

    def describe(self) -> str:
        """Return what is known beforehand, in words."""
        work = f"{(self.flops or 0) / 1e9:.3g} GFLOPs a sample (forward and backward)"
        if self.peak_tflops is None:
            return f"{work}; MFU is left out, for this device's peak is not known: --peak-tflops N"
        return f"{work}; MFU of {self.peak_tflops:g} TFLOP/s a device"


def open_tensorboard(folder: Path, step: int) -> Any:
    """Return TensorBoard's writer for a run that stands at `step`; what was written of later steps is dropped.

    Raises:
        UserError: TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UserError("--tensorboard: TensorBoard is not installed.", "Install it: pip install tensorboard") from error
    return SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)
