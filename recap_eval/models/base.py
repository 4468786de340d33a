"""What the tasks ask of a model that embeds images and texts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

    from recap_eval.models.pixels import Pixels


@dataclass(frozen=True)
class ModelId:
    """Which model a result is of.

    Args:
        name: What tables call it.
        revision: Digest of its files, or the hub's commit: two checkpoints of one name do not share results.
        meta: How it was made, from its artifact: recipe, p_original, samples_seen, seed, …; empty for others' models.
        protocol: What of its loading can change a score: preprocessing, context length, precision.
    """

    name: str
    revision: str
    meta: dict[str, Any] = field(default_factory=dict)
    protocol: dict[str, Any] = field(default_factory=dict)


class DualEncoder(Protocol):
    """An image tower and a text tower with a common embedding space."""

    id: ModelId
    device: str
    pixels: Pixels

    def encode_images(self, batch: Any) -> torch.Tensor:
        """Embed a batch that `pixels` made: (B, D) features, need not be normalised."""

    def encode_texts(self, texts: list[str]) -> torch.Tensor:
        """Embed (B) texts, cut at the model's context length: (B, D) features, need not be normalised."""

    def lengths(self, texts: list[str]) -> list[int]:
        """Return how many tokens each text has uncut, special ones included."""

    @property
    def context_length(self) -> int:
        """Tokens a text may have, special ones included."""

    @property
    def trims(self) -> bool:
        """True if short texts are encoded without their padding, so that more of them fit a forward pass."""


@dataclass(frozen=True)
class Loading:
    """How a model is loaded and run.

    Args:
        precision: "fp32", or "bf16" for towers whose weights are bfloat16; scores are always fp32.
        device: "cpu" or "cuda".
        fast: Resize images in integers: at most 2 grey levels apart on photographs.
        compile: Compile the towers with torch.compile.
    """

    precision: str = "fp32"
    device: str = "cpu"
    fast: bool = False
    compile: bool = False
