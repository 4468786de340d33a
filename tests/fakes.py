"""Encoders whose answers are known."""

from __future__ import annotations

import torch

from recap_eval.data.items import ImageItem
from recap_eval.data.scenes.world import COLOURS, SHAPES
from recap_eval.models.base import ModelId
from recap_eval.models.pixels import OpaquePixels


class Oracle:
    """Embeds an image by the text on a card in its corner: pixel values hold a number that names its text.

    Images are made by `card`; texts embed as random unit vectors by their content, images as their own text's vector.
    """

    device = "cpu"
    context_length = 8
    trims = False

    def __init__(self, texts: list[str], dim: int = 256, name: str = "oracle") -> None:
        self.texts, self.dim = texts, dim
        self.id = ModelId(name, f"rev-{name}")
        self.pixels = OpaquePixels(self.preprocess)
        self.image_batches: list[int] = []
        self.text_batches: list[int] = []

    def _vector(self, text: str) -> torch.Tensor:
        generator = torch.Generator().manual_seed(hash_of(text))
        return torch.randn(self.dim, generator=generator)

    def preprocess(self, image):
        r, g, _ = image.resize((1, 1)).getpixel((0, 0))
        return torch.tensor([[[float(round(r / 8) + 32 * round(g / 8))]]])

    def encode_images(self, pixels):
        self.image_batches.append(len(pixels))
        return torch.stack([self._vector(self.texts[int(p)]) for p in pixels.flatten()])

    def encode_texts(self, texts):
        self.text_batches.append(len(texts))
        return torch.stack([self._vector(text) for text in texts])

    def lengths(self, texts):
        return [len(text.split()) for text in texts]


class Constant(Oracle):
    def encode_images(self, pixels):
        return torch.ones(len(pixels), self.dim)


class NotANumber(Oracle):
    def encode_images(self, pixels):
        return torch.full((len(pixels), self.dim), torch.nan)


class Card(ImageItem):
    """An image item that shows a text's number."""

    def __init__(self, key: str, number: int, payload: bytes | None = None) -> None:
        self.key, self.where = key, f"cards/{key}.png"
        self._payload = payload if payload is not None else _png(number)

    def read_image(self) -> bytes:
        return self._payload


def hash_of(text: str) -> int:
    from recap_eval.hashrand import text_key

    return text_key(text) % 2**31


def _png(number: int) -> bytes:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), ((number % 32) * 8, (number // 32) * 8, 0)).save(buffer, "PNG")
    return buffer.getvalue()


ALL_KINDS = [f"{colour} {shape}" for colour in COLOURS for shape in SHAPES]
