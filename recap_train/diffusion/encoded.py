"""From a batch to what a diffusion transformer is trained on: moments of the images and states of the texts.

Both are rounded to half precision, here as in a precomputed set, so that both ways train on the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from recap_eval.errors import DataError
from recap_train.diffusion.autoencoder import Autoencoder
from recap_train.diffusion.text import TextEncoder
from recap_train.ledger import Ledger

if TYPE_CHECKING:
    import torch

    from recap_train.loader import Batch


@dataclass(frozen=True)
class Encoded:
    """A batch, encoded.

    Args:
        moments: (B, 2C, h, w) float16 means and log variances.
        states: (B, L, D) float16 text states.
        present: (B, L) True where there is a token.
        keys: (B,) uint64 `text_key` of each sample's key.
        epochs: (B,) int64 epoch of each.
        ledger: What is in this batch.
    """

    moments: torch.Tensor
    states: torch.Tensor
    present: torch.Tensor
    keys: np.ndarray
    epochs: np.ndarray
    ledger: Ledger = field(default_factory=Ledger)

    def pin_memory(self) -> Encoded:
        """Return the batch in memory that a GPU can fetch by itself."""
        names = ("moments", "states", "present")
        return replace(self, **{name: getattr(self, name).pin_memory() for name in names})

    def blank(self) -> Encoded:
        """Return an empty batch with one row that says nothing."""
        tensors = {name: getattr(self, name) for name in ("moments", "states", "present")}
        filled = {name: tensor.new_ones((1, *tensor.shape[1:])) for name, tensor in tensors.items()}
        return replace(self, **filled, keys=np.zeros(1, dtype=np.uint64), epochs=np.zeros(1, dtype=np.int64))


Encode = Callable[[Any], Encoded]


def halved(tensor: torch.Tensor, what: str) -> torch.Tensor:
    """Return a tensor in half precision.

    Raises:
        DataError: A value is not finite, or too large for it.
    """
    half = tensor.half()
    if not bool(half.isfinite().all()):
        raise DataError(f"{what} are not finite in half precision.", "Name another auto-encoder or text encoder.")
    return half


@dataclass(frozen=True)
class Encoders:
    """The frozen networks in front of the transformer, in fp32 always.

    Args:
        autoencoder: Images to moments.
        text: Texts to states.
        device: What they compute on.
    """

    autoencoder: Autoencoder
    text: TextEncoder
    device: str = "cpu"

    def moments(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return (B, 2C, h, w) float16 of (B, 3, S, S) pixels."""
        return halved(self.autoencoder.moments(pixels.to(self.device)), "moments of images")

    def states(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (B, L, D) float16 states and (B, L) where there is a token, of (B, L) ids."""
        states, present = self.text.states(tokens.to(self.device))
        return halved(states, "text states"), present

    def __call__(self, batch: Batch) -> Encoded:
        """Encode a batch of pixels and token ids."""
        states, present = self.states(batch.tokens)
        return Encoded(self.moments(batch.pixels), states, present, batch.keys, batch.epochs, batch.ledger)
