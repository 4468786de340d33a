"""What of an image is taken, at which size, before an extractor sees it: `crop:256`, `squash:256`, `crop:256:lanczos`."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recap_eval.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

FORM = re.compile(r"(crop|squash):([1-9]\d{0,4})(?::(bicubic|lanczos))?")
KERNELS = {"bicubic": 3, "lanczos": 1}  # PIL's numbers


@dataclass(frozen=True)
class Frame:
    """A square of one size, as training at that size saw it.

    Args:
        how: "crop" takes the largest square around the centre (left and top rounded down), "squash" the whole image.
        size: Its side in pixels after the resize.
        kernel: PIL's interpolation, antialiased, in 8 bits: what a PNG of that size holds.
    """

    how: str
    size: int
    kernel: str = "bicubic"

    @staticmethod
    def parse(word: str) -> Frame:
        """Read `crop:256`, `squash:256`, either with `:lanczos`.

        Raises:
            UserError: It has another form.
        """
        found = FORM.fullmatch(word)
        if found is None:
            raise UserError(f"{word!r} says no framing of images.", "Examples: crop:256, squash:256, crop:256:lanczos")
        return Frame(found[1], int(found[2]), found[3] or "bicubic")

    @property
    def name(self) -> str:
        """The framing in full, as it stands in keys."""
        return f"{self.how}:{self.size}:{self.kernel}"

    def apply(self, image: Image) -> Image:
        """Return the square of an RGB image; one of that size already as it is."""
        from PIL.Image import Resampling

        if self.how == "crop":
            side = min(image.size)
            left, top = (image.width - side) // 2, (image.height - side) // 2
            image = image.crop((left, top, left + side, top + side))
        if image.size == (self.size, self.size):
            return image
        return image.resize((self.size, self.size), Resampling(KERNELS[self.kernel]))


def framed(payload: bytes, where: str, frame: Frame | None) -> bytes:
    """Return an encoded image framed and encoded again without loss, for what takes only encoded ones.

    Raises:
        DataError: It is not a whole image.
    """
    from recap_eval.extractors.decode import decode_rgb

    if frame is None:
        return payload
    buffer = io.BytesIO()
    frame.apply(decode_rgb(payload, where)).save(buffer, "PPM")
    return buffer.getvalue()
