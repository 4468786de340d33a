"""How the machine trains: what makes no other model up to rounding (devices, memory, saving), and the few things that do."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from typing import Any

from recap_eval.errors import UserError

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Engine:
    """Settings of the machinery; the defaults are those of a small run on one processor.

    Args:
        device: "auto" (a GPU if there is one), "cpu" or "cuda".
        parallel: How the processes that torchrun starts share the work: "ddp" or "fsdp".
        micro_batch: Samples a process holds activations of at a time; None for its whole part of a batch.
        mask_images: Share of the patches of each image that is left out in training.
        ema: Decay of the moving average of the weights; None for no average.
        grad_checkpointing: Recompute activations in the backward pass instead of keeping them.
        compile: Compile the transformer blocks.
        tf32: Let fp32 products be rounded to TF32 on a GPU.
        save_seconds: A checkpoint is written when so much time has passed.
        keep_every: Keep a copy of the checkpoint each time so many samples were seen; None for none.
        tensorboard: Write TensorBoard's event files beside the log.
        peak_tflops: What the device can do at best, in 10^12 operations a second, for the MFU; None to look it up.
    """

    device: str = "auto"
    parallel: str = "ddp"
    micro_batch: int | None = None
    mask_images: float = 0.0
    ema: float | None = None
    grad_checkpointing: bool = False
    compile: bool = False
    tf32: bool = False
    save_seconds: float = 60.0
    keep_every: int | None = None
    tensorboard: bool = False
    peak_tflops: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.mask_images < 1:
            raise UserError(
                f"--mask-images {self.mask_images} is no share.", "It must lie in [0, 1); 0.5 keeps every other patch."
            )
        if self.ema is not None and not 0 < self.ema < 1:
            raise UserError(f"--ema {self.ema} is no decay.", "It must lie between 0 and 1, such as 0.9999.")

    def identity(self) -> dict[str, Any]:
        """Return the settings that make another model and are not at their default."""
        chosen = {"mask_images": self.mask_images or None, "ema": self.ema}
        return {name: value for name, value in chosen.items() if value is not None}


def duration(text: str) -> float:
    """Return seconds from "90", "90s", "10m" or "2h"."""
    number, unit = (text[:-1], UNITS[text[-1]]) if text[-1:] in UNITS else (text, 1.0)
    try:
        seconds = float(number) * unit
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no time, such as 90s, 10m or 2h") from error
    if not (math.isfinite(seconds) and seconds >= 0):
        raise argparse.ArgumentTypeError(f"{text!r} is no time, such as 90s, 10m or 2h")
    return seconds
