"""Encoded images are opened here and nowhere else, so that all errors name their file and odd formats stay shut."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from recap_eval.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("AVIF", "BMP", "GIF", "ICO", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")  # what the web has


def open_image(payload: bytes) -> Image:
    """Open an encoded image; raises what PIL raises.

    Formats that no web image has are not opened: PIL's reader of EPS would run a program on the file, and some others fail in
    ways of their own.
    """
    from PIL import Image

    return Image.open(io.BytesIO(payload), formats=FORMATS)


@contextmanager
def naming(where: str) -> Iterator[None]:
    """Turn what goes wrong while an image is opened or decoded into an error that names it.

    Raises:
        DataError: It is not a whole image.
    """
    from PIL import Image, UnidentifiedImageError

    # PIL's decoder of AVIF raises RuntimeError.
    broken = (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError, RuntimeError, Image.DecompressionBombError)
    try:
        yield
    except broken as error:
        reason = "of no known format" if isinstance(error, UnidentifiedImageError) else error  # PIL tells an address in memory
        raise DataError(
            f"{where} is not a readable image ({reason}).", "Replace it, or count and leave out bad images: --skip-bad"
        ) from error
