"""The one way an image is made ready, the same for every engine: RGB, padded to a square, resized; and that without loss.

As LLaVA-1.5 does it (`image_aspect_ratio=pad`): the image is centred on a square of the model's mean colour and resized by
PIL's bicubic filter to the side that the vision tower takes. An orientation noted in the file is not applied, as LLaVA,
img2dataset and our own training and evaluation do not apply it: a caption tells the pixels that a model is trained on.
Transparent pixels show the colour that is stored beneath them, for the same reason.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recap_eval.data.images import naming, open_image
from recap_eval.errors import DataError
from recap_eval.models.pixels import decode_image

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 336  # of CLIP ViT-L/14-336, the vision tower of LLaVA-1.5
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
MOST_PIXELS = 89_478_485  # of the padded square; PIL's own bound for files that may be bombs
LOSSLESS: dict[str, dict[str, Any]] = {  # by PIL's name of the format; little effort, for effort is what costs time
    "PNG": {"compress_level": 1},
    "WEBP": {"lossless": True, "quality": 0, "method": 0},
}


class BadImage(DataError):
    """An image that nobody can caption.

    Args:
        kind: "unreadable", "too_large", "too_small" or "blank".
        what: What is wrong with it, in a line.
    """

    def __init__(self, kind: str, what: str) -> None:
        super().__init__(what, "Its row says so; the run goes on.")
        self.kind = kind


@dataclass(frozen=True)
class Canonical:
    """An image ready for a model.

    Args:
        image: RGB, square.
        width: Of the image as it came, in pixels.
        height: Likewise.
    """

    image: Image
    width: int
    height: int

    def encoded(self, form: str = "PNG") -> bytes:
        """Return it as a file that keeps every value, in a form of `LOSSLESS`."""
        buffer = io.BytesIO()
        self.image.save(buffer, form, **LOSSLESS[form])
        return buffer.getvalue()


@dataclass(frozen=True)
class Canon:
    """What images are made into.

    Args:
        side: Pixels of a side; None to leave the size as it is, without padding.
        mean: Mean of the model's channels in 0..1; what the padding shows, as LLaVA rounds it.
    """

    side: int | None = SIDE
    mean: tuple[float, float, float] = CLIP_MEAN

    @property
    def colour(self) -> tuple[int, int, int]:
        """The padding's colour, 0..255."""
        red, green, blue = (int(value * 255) for value in self.mean)
        return red, green, blue

    def record(self) -> dict[str, Any]:
        """Return it for a run's fingerprint."""
        size = {"side": self.side, "pad": list(self.colour), "resize": "bicubic"} if self.side else {"side": None}
        return size | {"orientation": "as stored", "most_pixels": MOST_PIXELS}

    def make(self, payload: bytes, where: str) -> Canonical:
        """Return an image ready for a model; called from several threads at once.

        Args:
            payload: The encoded image.
            where: Its file, for messages.

        Raises:
            BadImage: It is unreadable, too large, has a side of one pixel, or one colour only.
        """
        width, height = measured(payload, where)
        try:
            image = decode_image(payload, where)
        except DataError as error:
            raise BadImage("unreadable", error.what) from error
        extrema: Any = image.getextrema()
        if all(low == high for low, high in extrema):
            raise BadImage("blank", f"{where} has one colour only.")
        return Canonical(image if self.side is None else self._square(image, self.side), width, height)

    def _square(self, image: Image, side: int) -> Image:
        from PIL import Image as Images

        if image.width != image.height:
            longest = max(image.size)
            square = Images.new("RGB", (longest, longest), self.colour)
            square.paste(image, ((longest - image.width) // 2, (longest - image.height) // 2))
            image = square
        return image.resize((side, side), Images.Resampling.BICUBIC)


def measured(payload: bytes, where: str) -> tuple[int, int]:
    """Return an image's width and height in pixels, from its head.

    Raises:
        BadImage: It is none, has a side of one pixel, or so many pixels that to decode and pad it would take too much memory.
    """
    import warnings

    from PIL import Image

    try:
        with naming(where), warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # its bound is ours, below
            with open_image(payload) as image:
                width, height = image.size
    except DataError as error:
        too_large = isinstance(error.__cause__, Image.DecompressionBombError)
        raise BadImage("too_large" if too_large else "unreadable", error.what) from error
    if min(width, height) < 2:
        raise BadImage("too_small", f"{where} is {width} × {height} pixels.")
    if max(width, height) ** 2 > MOST_PIXELS:
        raise BadImage("too_large", f"{where} is {width} × {height} pixels, more than {MOST_PIXELS**0.5:,.0f} along a side.")
    return width, height


def data_uri(payload: bytes, form: str) -> str:
    """Return an image's file as a data URI.

    Args:
        payload: The file.
        form: PIL's name of its format.
    """
    return f"data:image/{form.lower()};base64,{base64.b64encode(payload).decode()}"
