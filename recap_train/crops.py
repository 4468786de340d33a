"""Random crops, and JPEGs decoded no finer than a crop needs.

A JPEG can be decoded at 1/2, 1/4 or 1/8 of its size for a part of the cost: libjpeg makes smaller blocks of its 8 x 8 ones.
The scale is chosen so that the crop still has at least the pixels of the output, so nothing is ever enlarged that would not
have been anyway.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from recap_eval.data.images import naming, open_image
from recap_eval.errors import UserError
from recap_eval.hashrand import Draws
from recap_eval.models.pixels import as_rgb

if TYPE_CHECKING:
    from PIL.Image import Image

Region = tuple[float, float, float, float]  # left, top, right, bottom in pixels
INTERPOLATIONS = ("bicubic", "bilinear")
JPEG_SCALES = (8, 4, 2)


@dataclass(frozen=True)
class Crop:
    """How images become squares.

    Args:
        size: Pixels a side of the output.
        min_area: Least share of the image's area that a random crop holds; at 1 the central square is taken.
        interpolation: "bicubic" or "bilinear", both with antialiasing (CLIPA's crops are bilinear).
    """

    size: int
    min_area: float
    interpolation: str = "bicubic"

    def __post_init__(self) -> None:
        if self.interpolation not in INTERPOLATIONS:
            raise UserError(f"interpolation {self.interpolation!r} is unknown.", f"Take one of: {', '.join(INTERPOLATIONS)}.")

    @property
    def random(self) -> bool:
        """True if an image looks different in every epoch."""
        return self.min_area < 1


def load_crop(payload: bytes, where: str, crop: Crop, draws: Draws) -> np.ndarray:
    """Decode an image as finely as its crop needs, crop and resize it.

    Args:
        payload: The encoded image.
        where: Its name for messages.
        crop: What to cut out.
        draws: Random numbers of this image in this epoch; the box depends on them and on the image's full size alone.

    Returns:
        (S, S, 3) uint8.

    Raises:
        DataError: It is not a whole image.
    """
    with naming(where):
        image = open_image(payload)
        width, height = image.size
        box = crop_region(width, height, crop.min_area, draws)
        scale = jpeg_scale(box, crop.size) if crop.random and image.format == "JPEG" else 1
        if scale > 1:
            image.draft(None, (max(1, width // scale), max(1, height // scale)))
        decoded = as_rgb(image)
    if decoded.size != (width, height):
        across, down = decoded.width / width, decoded.height / height
        box = (box[0] * across, box[1] * down, box[2] * across, box[3] * down)
    return np.asarray(cut_out(decoded, crop, box))


def jpeg_scale(box: Region, size: int) -> int:
    """Return by how much a JPEG may be decoded smaller while the box keeps `size` pixels a side: 1, 2, 4 or 8."""
    least = min(box[2] - box[0], box[3] - box[1])
    return next((scale for scale in JPEG_SCALES if least / scale >= size), 1)


def cut_out(image: Image, crop: Crop, box: Region) -> Image:
    """Return a part of an image, resized with antialiasing to the crop's size."""
    from PIL.Image import Resampling

    return image.resize((crop.size, crop.size), Resampling[crop.interpolation.upper()], box=box)


def crop_region(width: int, height: int, min_area: float, draws: Draws) -> Region:
    """Return what to cut out of an image: a random box of aspect 3:4 to 4:3, or at `min_area` 1 the central square.

    The draws are a function of what they are for, so a resumed run crops alike (the distribution is torchvision's
    RandomResizedCrop).
    """
    side = min(width, height)
    centre = ((width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2)
    return (_crop_box(width, height, min_area, draws) if min_area < 1 else None) or centre


def _crop_box(width: int, height: int, min_area: float, draws: Draws) -> Region | None:
    for _ in range(10):
        area = width * height * (min_area + (1 - min_area) * draws.bits() / 2**64)
        aspect = (3 / 4) * (16 / 9) ** (draws.bits() / 2**64)
        wide, high = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
        if 0 < wide <= width and 0 < high <= height:
            left, top = draws.below(width - wide + 1), draws.below(height - high + 1)
            return left, top, left + wide, top + high
    return None
