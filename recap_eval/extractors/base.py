"""What feature extraction asks of an extractor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from recap_eval.extractors.frame import Frame

if TYPE_CHECKING:
    import torch


class Extractor(Protocol):
    """Encoded images to features.

    Attributes:
        name: What results call it: "inception", "dinov2", "clip:MODEL"; of a model in a folder its name, wherever that lies.
        dim: Length of a feature.
        key: All that changes a feature: network, weights' digest, resize, framing, decoding, precision. Statistics of different
            keys are never compared; it stands in results and names what is kept on disk.
        device: "cpu" or "cuda".
    """

    name: str
    dim: int
    key: dict[str, Any]
    device: str

    def load(self, payload: bytes, where: str) -> Any:
        """Return one encoded image as a batch wants it; called from several threads at once.

        Raises:
            DataError: It is not a whole image, or of a kind that cannot be shown in 8 bits; the message names it.
        """

    def features(self, images: list[Any]) -> torch.Tensor:
        """Return (B, D) float32 features on the CPU of images that `load` made."""


@dataclass(frozen=True)
class Extraction:
    """How an extractor is built and run.

    Args:
        device: "cpu" or "cuda".
        precision: "fp32" (never TF32) or "bf16": features move by 0.7 %, and so do distances between the two.
        resize: How `inception` resizes, one of `resize.RESIZES`.
        frame: What of each image is taken, at which size, before all else; None for the image as it is.
        weights: File of the Inception's weights; None for the one under the data root.
        root: The data root.
    """

    device: str = "cpu"
    precision: str = "fp32"
    resize: str = "clean"
    frame: Frame | None = None
    weights: Path | None = None
    root: Path | None = None


@contextmanager
def exact_products() -> Iterator[None]:
    """Keep a GPU from rounding fp32 convolutions and products to TF32, as torch does for convolutions unless told otherwise."""
    import torch

    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
