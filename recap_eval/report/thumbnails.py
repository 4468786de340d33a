"""Small copies of images for pages."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

from recap_eval.data.items import Box, ImageItem
from recap_eval.errors import DataError
from recap_eval.models.pixels import decode_image

LARGEST = 256  # pixels of a thumbnail's longer side
COARSE = 128  # below this an image is drawn enlarged with hard pixels: blur would invent what the model never saw
QUALITY = 88


@dataclass(frozen=True)
class Thumbnail:
    """A small copy of an image, as a page shows it.

    Args:
        uri: Where it is: a data: URI, or a file beside the page; None if the image cannot be read.
        width: Its pixels.
        height: Its pixels.
    """

    uri: str | None
    width: int = 0
    height: int = 0

    @property
    def coarse(self) -> bool:
        """True if it has so few pixels that they should be seen as such."""
        return max(self.width, self.height) < COARSE


@dataclass(frozen=True)
class Small:
    """A small copy of an image.

    Args:
        jpeg: The encoded copy.
        width: Its pixels.
        height: Its pixels.
    """

    jpeg: bytes
    width: int
    height: int

    @property
    def embedded(self) -> Thumbnail:
        """The copy as a part of the page itself."""
        return Thumbnail(f"data:image/jpeg;base64,{base64.b64encode(self.jpeg).decode()}", self.width, self.height)


def shrink(payload: bytes, where: str, box: Box | None = None) -> Small | None:
    """Return the part of an image that is meant, as a JPEG of `LARGEST` pixels at most; None if there is no such part.

    Raises:
        DataError: It is not a readable image.
    """
    image = decode_image(payload, where)
    if box:
        left, top = max(box[0], 0), max(box[1], 0)
        right, bottom = min(box[2], image.width), min(box[3], image.height)
        if right <= left or bottom <= top:
            return None
        image = image.crop((left, top, right, bottom))
    image.thumbnail((LARGEST, LARGEST))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY, subsampling=0)
    return Small(buffer.getvalue(), image.width, image.height)


def thumbnail(item: ImageItem) -> Thumbnail:
    """Return the part of an image that is meant, embedded."""
    try:
        small = shrink(item.read_image(), item.where, item.box)
    except DataError:
        return Thumbnail(None)
    return Thumbnail(None) if small is None else small.embedded
