"""Images as servers take them: the stored bytes as a data URI, or a lossless PNG where the format is not accepted."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from recap_eval.data.images import naming, open_image
from recap_eval.data.items import ImageItem

if TYPE_CHECKING:
    from PIL.Image import Image

T = TypeVar("T")

ACCEPTED = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}  # by PIL's name of the format
PLAIN = ("1", "L", "LA", "P", "RGB", "RGBA")  # modes that a PNG keeps without loss


@dataclass(frozen=True)
class Picture:
    """An image ready to be sent.

    Args:
        uri: The data URI.
        size: Width and height in pixels.
    """

    uri: str
    size: tuple[int, int]


@dataclass(frozen=True)
class BytesImage(ImageItem):
    """An image that is in memory already.

    Args:
        key: Its key.
        payload: The encoded image.
    """

    key: str
    payload: bytes

    @property
    def where(self) -> str:  # type: ignore[override]
        """Its key, for messages."""
        return self.key

    def read_image(self) -> bytes:
        """Return the encoded image."""
        return self.payload


@dataclass(frozen=True)
class NoImage(ImageItem):
    """What stands where a question shows no image.

    Args:
        key: Its key.
    """

    key: str

    @property
    def where(self) -> str:  # type: ignore[override]
        """Its key, for messages."""
        return self.key

    def read_image(self) -> bytes:
        """Return nothing."""
        return b""


def picture_of(item: ImageItem) -> Picture:
    """Return an image ready to be sent; it is decoded once, so that nobody pays for one that is broken.

    Raises:
        DataError: It is not a readable image.
    """
    payload = item.read_image()
    return _opened(item, payload, lambda image: _ready(item, payload, image))


def size_of(item: ImageItem) -> tuple[int, int]:
    """Return an image's width and height in pixels, from its head.

    Raises:
        DataError: It is not a readable image.
    """
    if item.box is not None:
        return item.box[2] - item.box[0], item.box[3] - item.box[1]
    return _opened(item, item.read_image(), lambda image: image.size)


def _opened(item: ImageItem, payload: bytes, use: Callable[[Image], T]) -> T:
    with naming(item.where), open_image(payload) as image:
        return use(image)


def _ready(item: ImageItem, payload: bytes, image: Image) -> Picture:
    image.load()
    kind = ACCEPTED.get(image.format or "")
    if kind is None or item.box is not None or getattr(image, "n_frames", 1) > 1:
        image = image if item.box is None else image.crop(item.box)
        payload, kind = _as_png(image), ACCEPTED["PNG"]
    return Picture(f"data:{kind};base64,{base64.b64encode(payload).decode()}", image.size)


def _as_png(image: Image) -> bytes:
    buffer = io.BytesIO()
    plain = image if image.mode in PLAIN else image.convert("RGB")
    plain.save(buffer, "PNG")
    return buffer.getvalue()
