"""Small copies of images for pages."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from recap_eval.data.items import Box, ImageItem
from recap_eval.errors import DataError
from recap_eval.files import replacing
from recap_eval.models.pixels import decode_image

LARGEST = 256  # pixels of a thumbnail's longer side
COARSE = 128  # below this an image is drawn enlarged with hard pixels: blur would invent what the model never saw
QUALITY = 88
EMBEDDED = 6 << 20  # bytes of thumbnails that a page holds itself
OURS = re.compile(r"[0-9a-f]{20}\.jpg")
K = TypeVar("K", bound=Hashable)


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


def beside(page: Path) -> Path:
    """Return the folder of a page's thumbnails where they are too many for the page itself."""
    return page.with_name(f"{page.stem}_files")


def save(folder: Path, smalls: Mapping[K, Small]) -> dict[K, Thumbnail]:
    """Write thumbnails by the digest of their content; those of an earlier page of that name go."""
    names = {place: f"{hashlib.sha256(small.jpeg).hexdigest()[:20]}.jpg" for place, small in smalls.items()}
    for place, name in names.items():
        with replacing(folder / name) as part:
            part.write_bytes(smalls[place].jpeg)
    for old in folder.glob("*.jpg"):
        if OURS.fullmatch(old.name) and old.name not in names.values():
            old.unlink()
    return {
        place: Thumbnail(f"{folder.name}/{names[place]}", small.width, small.height) for place, small in smalls.items()
    }  # fmt: skip
