"""What the tasks ask of a model that embeds images and texts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image


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

    def preprocess(self, image: Image) -> torch.Tensor:
        """Return one RGB image as a (C, H, W) float tensor, as this model was trained to see it."""

    def encode_images(self, pixels: torch.Tensor) -> torch.Tensor:
        """Embed (B, C, H, W) preprocessed images: (B, D) features, need not be normalised."""

    def tokenize(self, texts: list[str]) -> torch.Tensor:
        """Return (B, L) token ids, cut at the model's context length."""

    def encode_texts(self, tokens: torch.Tensor) -> torch.Tensor:
        """Embed (B, L) token ids: (B, D) features, need not be normalised."""

    def lengths(self, texts: list[str]) -> list[int]:
        """Return how many tokens each text has uncut, special ones included."""

    @property
    def context_length(self) -> int:
        """Tokens a text may have, special ones included."""
