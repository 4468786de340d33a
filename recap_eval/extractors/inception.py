"""`inception`: features of FID, KID and the Inception Score."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recap_eval.extractors.base import Extraction, exact_products
from recap_eval.extractors.decode import DECODING, rgb_array
from recap_eval.extractors.inception_net import DIM, InceptionNet
from recap_eval.extractors.resize import check_resize, resize_many, resize_one
from recap_eval.extractors.weights import find_weights, read_weights

if TYPE_CHECKING:
    import torch

GROUP = 16  # images of one forward pass on a CPU: their activations stay near its caches


class InceptionExtractor:
    """The FID Inception behind the `Extractor` protocol; images are decoded and resized in the loading threads.

    Args:
        how: How it is built and run.

    Raises:
        UserError: There is no such resize.
        DataError: The weights are missing, damaged, or another network's.
    """

    def __init__(self, how: Extraction) -> None:
        import torch

        self.name, self.dim, self.device = "inception", DIM, how.device
        self._resize, self._frame = check_resize(how.resize), how.frame
        path = find_weights(how.weights, how.root)
        state, digest = read_weights(path)
        dtype = torch.bfloat16 if how.precision == "bf16" else torch.float32
        self._net = InceptionNet(state, str(path), dtype, how.device)
        self.key: dict[str, Any] = {"network": "inception-2015-12-05", "layer": "pool3", "weights": digest}
        self.key |= {"resize": how.resize, "frame": how.frame.name if how.frame else "none", "decoding": DECODING}
        self.key |= {"precision": how.precision}

    def load(self, payload: bytes, where: str) -> torch.Tensor:
        """Return one image, on a CPU resized, for a GPU its (H, W, 3) bytes; see `Extractor.load`."""
        import torch

        pixels = rgb_array(payload, where, self._frame)
        return torch.from_numpy(resize_one(pixels, self._resize) if self.device == "cpu" else pixels)

    def features(self, images: list[torch.Tensor]) -> torch.Tensor:
        """Return (B, 2048) float32 features on the CPU."""
        import torch

        if self.device == "cpu":
            parts = [self._net.features(_together(images[i : i + GROUP])) for i in range(0, len(images), GROUP)]
            return torch.cat(parts)
        with exact_products():
            return self._net.features(self._resized(images)).cpu()

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """Return (B, 1008) logits without their bias, of features: what the Inception Score is computed of."""
        return self._net.logits(features)

    def _resized(self, images: list[torch.Tensor]) -> torch.Tensor:
        """Move bytes to the device and resize them there, images of one size together."""
        import torch

        sizes: dict[torch.Size, list[int]] = {}
        for i, image in enumerate(images):
            sizes.setdefault(image.shape, []).append(i)
        found: list[Any] = [None] * len(images)
        for rows in sizes.values():
            moved = torch.stack([images[i] for i in rows]).to(self.device)
            for i, image in zip(rows, resize_many(moved, self._resize), strict=True):
                found[i] = image
        return torch.stack(found)


def _together(images: list[torch.Tensor]) -> torch.Tensor:
    """Return (B, 3, 299, 299), channels last as each of them is."""
    import torch

    return torch.stack([image.permute(1, 2, 0) for image in images]).permute(0, 3, 1, 2)
