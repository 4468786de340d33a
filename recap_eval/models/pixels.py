"""From encoded images to a model's input: decoding and transforms in threads, normalisation once a batch.

The default gives the very pixels of the model's own transform: its own resize and crop on PIL images, its own mean and standard
deviation, in the same order of operations. The fast way resizes with torchvision in integers: at most 2 grey levels
apart on photographs (docs/protocols.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from recap_eval.data.images import naming, open_image
from recap_eval.data.items import Box

if TYPE_CHECKING:
    import numpy as np
    import torch
    from PIL.Image import Image

JPEG, PLAIN = b"\xff\xd8", ("YCbCr", "Gray")  # colour spaces that PIL and libjpeg-turbo turn into RGB alike


def decode_image(payload: bytes, where: str, box: Box | None = None) -> Image:
    """Decode an image to RGB, or the part of it in `box`.

    Raises:
        DataError: It is not a whole image; the message names it.
    """
    array = plain_jpeg(payload)
    if array is not None:
        found = _as_image(array)
    else:
        with naming(where):
            found = as_rgb(open_image(payload))
    return found if box is None else found.crop(box)


def plain_jpeg(payload: bytes, layout: str = "RGBX") -> np.ndarray | None:
    """Return an ordinary JPEG as (H, W, 4) bytes, the fourth unused: PIL's values, without its copies between rows and image.

    Args:
        payload: The encoded image.
        layout: "RGB" for (H, W, 3).

    Returns:
        None for anything else, damaged files and those too large among them: PIL tells what they are.
    """
    from PIL import Image
    from simplejpeg import decode_jpeg, decode_jpeg_header

    if not payload.startswith(JPEG):
        return None
    try:
        height, width, space, _ = decode_jpeg_header(payload)
        if space in PLAIN and height * width <= (Image.MAX_IMAGE_PIXELS or 0):
            array: np.ndarray = decode_jpeg(payload, layout)
            return array
    except ValueError:
        pass
    return None


def _as_image(array: np.ndarray) -> Image:
    """Return (H, W, 4) bytes, PIL's own layout of RGB, as an image that shares them."""
    import pyarrow as pa
    from PIL import Image

    flat = pa.Array.from_buffers(pa.uint8(), array.size, [None, pa.py_buffer(array)])
    return Image.fromarrow(pa.FixedSizeListArray.from_arrays(flat, 4), "RGB", (array.shape[1], array.shape[0]))


def as_rgb(image: Image) -> Image:
    """Return an opened image decoded, in RGB."""
    if image.mode != "RGB":
        return image.convert("RGB")
    image.load()  # convert() would copy it once more
    return image


class Pixels(Protocol):
    """How encoded images become a model's input."""

    def load(self, payload: bytes, where: str, box: Box | None = None) -> Any:
        """Return one image, ready to be put into a batch; called from several threads at once.

        Raises:
            DataError: It is not a whole image.
        """

    def batch(self, images: Sequence[Any], device: str) -> Any:
        """Return what the model's `encode_images` takes, on the device."""


@dataclass(frozen=True)
class FastSpec:
    """A transform that torchvision can do in integers.

    Args:
        size: Height and width of the result.
        squash: Resize to the size whatever the shape; else the shortest side to it, then crop the centre.
        bicubic: Bicubic interpolation; else bilinear.
    """

    size: tuple[int, int]
    squash: bool
    bicubic: bool


class TransformPixels:
    """Resize and crop an image at a time to bytes, normalise a batch at a time.

    Args:
        steps: What is done to a PIL image before it becomes a tensor.
        mean: Mean per channel, of values in 0..1.
        std: Standard deviation per channel.
        fast: The same transform for torchvision, to use it; None for the exact way.
    """

    def __init__(
        self, steps: Callable[[Image], Image], mean: Sequence[float], std: Sequence[float], fast: FastSpec | None = None
    ) -> None:
        import torch

        self._steps, self._fast = steps, fast
        self._mean, self._std = (torch.tensor(values).view(1, 3, 1, 1) for values in (mean, std))
        self._room = torch.empty(0)

    def load(self, payload: bytes, where: str, box: Box | None = None) -> torch.Tensor:
        """Return one image as (3, H, W) bytes; see `Pixels.load`."""
        if self._fast is not None:
            return _resized_fast(_planes_of(payload, where, box), self._fast)
        return self.shrink(decode_image(payload, where, box))

    def shrink(self, image: Image) -> torch.Tensor:
        """Return an RGB image resized and cropped, as (3, H, W) bytes."""
        import numpy as np
        import torch

        return torch.from_numpy(np.array(self._steps(image))).permute(2, 0, 1).contiguous()

    def batch(self, images: Sequence[torch.Tensor], device: str) -> torch.Tensor:
        """Return (B, 3, H, W) normalised floats: x / 255, minus the mean, by the deviation, as ToTensor and Normalize do.

        On a CPU they stand until the next batch is made.
        """
        import torch

        pixels = torch.stack(list(images))
        if device == "cpu":
            values = self._room_for(pixels).copy_(pixels).div_(255)
        else:
            moved = pixels.pin_memory().to(device, non_blocking=True)
            values = moved.to(memory_format=torch.channels_last).float().div_(255)
        return values.sub_(self._mean.to(device)).div_(self._std.to(device))

    def _room_for(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return memory for floats that earlier batches have used: touching it anew costs more than the arithmetic."""
        import torch

        if self._room.shape[1:] != pixels.shape[1:] or len(self._room) < len(pixels):
            self._room = torch.empty(pixels.shape)
        return self._room[: len(pixels)]


def _planes_of(payload: bytes, where: str, box: Box | None) -> torch.Tensor:
    """Return an image as (3 or 4, H, W) bytes, channels last.

    Raises:
        DataError: It is not a whole image.
    """
    import torch

    array = plain_jpeg(payload) if box is None else None
    return _planes(decode_image(payload, where, box)) if array is None else torch.from_numpy(array).permute(2, 0, 1)


def _resized_fast(planes: torch.Tensor, spec: FastSpec) -> torch.Tensor:
    """Resize (and crop) in integers: (3, H, W) bytes."""
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2 import functional

    how = InterpolationMode.BICUBIC if spec.bicubic else InterpolationMode.BILINEAR
    size = list(spec.size) if spec.squash else [spec.size[0]]  # one number: the shortest side
    resized = functional.resize(planes, size, interpolation=how, antialias=True)
    whole: torch.Tensor = resized if spec.squash else functional.center_crop(resized, list(spec.size))
    return whole[:3].contiguous()


def _planes(image: Image) -> torch.Tensor:
    """Return an image's bytes as (3 or 4, H, W), channels last: PIL's own memory, four bytes a pixel, where it lends it."""
    import numpy as np
    import pyarrow as pa
    import torch
    from torch.utils.dlpack import from_dlpack

    try:
        flat = from_dlpack(pa.array(image).flatten())
    except (TypeError, ValueError, pa.ArrowException):  # an older PIL, or an image in several blocks
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)
    return flat.reshape(image.height, image.width, 4).permute(2, 0, 1)


class OpaquePixels:
    """A transform that cannot be taken apart: PIL image in, float tensor out."""

    def __init__(self, transform: Callable[[Image], torch.Tensor]) -> None:
        self._transform = transform

    def load(self, payload: bytes, where: str, box: Box | None = None) -> torch.Tensor:
        """Return one transformed image; see `Pixels.load`."""
        return self._transform(decode_image(payload, where, box))

    def batch(self, images: Sequence[torch.Tensor], device: str) -> torch.Tensor:
        """Return the images stacked, on the device."""
        import torch

        return torch.stack(list(images)).to(device)


class ImagePixels:
    """No transform: the model takes a list of PIL images."""

    def load(self, payload: bytes, where: str, box: Box | None = None) -> Image:
        """Return one decoded image; see `Pixels.load`."""
        return decode_image(payload, where, box)

    def batch(self, images: Sequence[Image], device: str) -> list[Image]:
        """Return the images."""
        return list(images)


def from_torchvision(transform: Any, fast: bool = False) -> Pixels:
    """Return the pixels of a torchvision transform that ends in ToTensor and Normalize; of any other, opaque ones.

    Args:
        transform: The transform, such as open_clip's for evaluation.
        fast: Resize in integers where the transform is one that torchvision can do so.
    """
    from torchvision import transforms

    parts = list(getattr(transform, "transforms", []))
    if len(parts) < 2 or not isinstance(parts[-1], transforms.Normalize) or "ToTensor" not in type(parts[-2]).__name__:
        return OpaquePixels(transform)
    steps, last = transforms.Compose(parts[:-2]), parts[-1]
    return TransformPixels(steps, _floats(last.mean), _floats(last.std), _fast_spec(parts[:-2]) if fast else None)


def _floats(values: Any) -> list[float]:
    return [float(value) for value in values]


def _fast_spec(parts: list[Any]) -> FastSpec | None:
    """Read a resize (and crop) out of a torchvision transform; None if it is another one."""
    from torchvision import transforms

    resize = [part for part in parts if isinstance(part, transforms.Resize)]
    crop = [part for part in parts if isinstance(part, transforms.CenterCrop)]
    known = len(resize) + len(crop) + sum("Convert" in type(part).__name__ for part in parts) == len(parts)
    if len(resize) != 1 or len(crop) > 1 or not known:
        return None
    size, how = resize[0].size, resize[0].interpolation
    if how not in (transforms.InterpolationMode.BICUBIC, transforms.InterpolationMode.BILINEAR):
        return None
    bicubic = how == transforms.InterpolationMode.BICUBIC
    if not crop:
        return FastSpec((int(size[0]), int(size[1])), True, bicubic) if isinstance(size, list | tuple) else None
    height, width = crop[0].size
    short = size if isinstance(size, int) else size[0]
    return FastSpec((height, width), False, bicubic) if short == height == width else None
