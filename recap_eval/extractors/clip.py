"""`clip:MODEL`: image embeddings of any model of `recap-eval clip`, for CMMD (ViT-L-14-336/openai, unit) and CLIP-FID (raw)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recap_eval.extractors.base import Extraction, exact_products
from recap_eval.extractors.frame import framed
from recap_eval.models.base import DualEncoder, Loading

if TYPE_CHECKING:
    import torch


class ClipExtractor:
    """A dual encoder's image tower behind the `Extractor` protocol. Images are prepared by the model's own transform.

    Args:
        word: What `recap-eval clip --model` takes.
        how: How it is run; its resize is not asked.
        unit: Normalise the embeddings to length 1.
        model: The model, if it is loaded already.

    Raises:
        UserError: Unknown name.
        DataError: Files are missing, damaged, or cannot be loaded safely; the hub cannot be reached.
    """

    def __init__(self, word: str, how: Extraction, unit: bool = True, model: DualEncoder | None = None) -> None:
        from recap_eval.models.loading import load

        self._model = model or load(word, Loading(precision=how.precision, device=how.device))
        self.name, self.device = f"{'clip' if unit else 'clip-raw'}:{self._model.id.name}", self._model.device
        self._frame, self._unit = how.frame, unit
        self.key: dict[str, Any] = {"network": f"clip:{self._model.id.name}", "weights": self._model.id.revision}
        self.key |= {"layer": "image embedding", "norm": "unit" if unit else "raw", "transform": self._model.id.protocol}
        self.key |= {"frame": how.frame.name if how.frame else "none", "precision": how.precision}
        self.dim = self.features([self._model.pixels.load(GREY, "an image of one grey pixel")]).shape[1]

    def load(self, payload: bytes, where: str) -> Any:
        """Return one image as the model's own transform makes it; see `Extractor.load`."""
        return self._model.pixels.load(framed(payload, where, self._frame), where)

    def features(self, images: list[Any]) -> torch.Tensor:
        """Return (B, D) float32 embeddings on the CPU."""
        import torch

        with exact_products():
            found = self._model.encode_images(self._model.pixels.batch(images, self.device)).float().cpu()
        return torch.nn.functional.normalize(found, dim=-1) if self._unit else found


GREY = b"P6 1 1 255\n\x80\x80\x80"  # a PPM: the length of an embedding is found by embedding it
