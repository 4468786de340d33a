"""Encoded images to 8-bit RGB, as FID's implementations read them: PIL's `convert("RGB")`, named `rgb` in keys.

So grey is repeated, palettes are looked up, CMYK is converted by PIL's formula without a colour profile, alpha is dropped (not
composited), and an orientation in EXIF is ignored. What `convert("RGB")` would make white without a word (more than 8 bits a
channel, floats) is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recap_eval.data.images import naming, open_image
from recap_eval.errors import DataError
from recap_eval.extractors.frame import Frame
from recap_eval.models.pixels import as_rgb, plain_jpeg

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

DECODING = "rgb"  # its name in keys
DEEP = ("I", "F")  # PIL's modes of more than 8 bits a channel begin so; convert("RGB") clips them


def decode_rgb(payload: bytes, where: str) -> Image:
    """Decode an image to RGB.

    Raises:
        DataError: It is not a whole image, or has more than 8 bits a channel; the message names it.
    """
    with naming(where):
        image = open_image(payload)
        if not image.mode.startswith(DEEP):
            return as_rgb(image)
    raise DataError(f"{where} has more than 8 bits a channel (mode {image.mode}).", "Convert it to 8 bits first.")


def rgb_array(payload: bytes, where: str, frame: Frame | None = None) -> np.ndarray:
    """Decode, and frame, an image to (H, W, 3) bytes.

    Raises:
        DataError: It is not a whole image, or has more than 8 bits a channel; the message names it.
    """
    import numpy as np

    array = plain_jpeg(payload, "RGB") if frame is None else None
    if array is not None:
        return array
    image = decode_rgb(payload, where)
    return np.array(image if frame is None else frame.apply(image))
