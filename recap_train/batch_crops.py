"""Random resized crops of prepared images: boxes drawn for a whole batch at once, the very ones that the shard feed cuts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from recap_eval.hashrand import combine_array
from recap_train.loader import CROP, over_threads  # CROP: the same seed, key and epoch give the shard feed's box

if TYPE_CHECKING:
    import torch

TRIES = 10
LOW = np.uint64((1 << 32) - 1)


def _below(bits: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Return (bits * n) >> 64, the n-th part of 64 random bits, without 128-bit numbers; n < 2^32."""
    high, low, n = bits >> np.uint64(32), bits & LOW, n.astype(np.uint64)
    part: np.ndarray = (high * n + ((low * n) >> np.uint64(32))) >> np.uint64(32)
    return part.astype(np.int64)


def central_boxes(sizes: np.ndarray) -> np.ndarray:
    """Return (B, 4) the central square of each image: left, top, right, bottom as parts of width and height.

    Args:
        sizes: (B, 2) width and height of the images.
    """
    margin = (1 - sizes.min(axis=1, keepdims=True) / sizes) / 2
    return np.concatenate([margin, 1 - margin], axis=1)


def crop_boxes(sizes: np.ndarray, min_area: float, keys: np.ndarray, epochs: np.ndarray, seed: int) -> np.ndarray:
    """Draw the part of each image that is cut out: at least `min_area` of it, of aspect 3:4 to 4:3.

    The boxes are those of `recap_train.crops.crop_region` for the same seed, key and epoch, whole pixels of the original image
    (the distribution of torchvision's RandomResizedCrop); the central square where ten tries fit none, or at `min_area` 1.

    Args:
        sizes: (B, 2) width and height of the images as they were.
        min_area: Least share of the area.
        keys: (B,) uint64 `text_key` of the sample keys.
        epochs: (B,) epochs.
        seed: The run's seed.

    Returns:
        (B, 4) left, top, right, bottom as parts of width and height.
    """
    boxes = central_boxes(sizes)
    if min_area >= 1:
        return boxes
    stream = combine_array(combine_array(keys, seed, CROP) ^ epochs.astype(np.uint64))
    open_rows = np.arange(len(sizes))
    for number in range(TRIES):
        draws = [combine_array(stream[open_rows] ^ np.uint64(2 * number + step)) for step in (1, 2, 3, 4)]
        whole = sizes[open_rows]
        area = whole.prod(axis=1) * (min_area + (1 - min_area) * (draws[0] / 2.0**64))
        aspect = (3 / 4) * (16 / 9) ** (draws[1] / 2.0**64)
        wide_high = np.rint(np.stack([area * aspect, area / aspect], axis=1) ** 0.5).astype(np.int64)
        fits = ((wide_high > 0) & (wide_high <= whole)).all(axis=1)
        left_top = _below(np.stack([draws[2], draws[3]], axis=1), np.maximum(whole - wide_high + 1, 1))
        boxes[open_rows[fits]] = (np.concatenate([left_top, left_top + wide_high], axis=1) / np.tile(whole, 2))[fits]
        open_rows = open_rows[~fits]
        if not len(open_rows):
            break
    return boxes


def crop(images: np.ndarray, boxes: np.ndarray, size: int, interpolation: str = "bicubic") -> torch.Tensor:
    """Cut boxes out of images and resize them, by PIL as the shard feed does: antialiased at any scale.

    An image at a time is no slower here: 0.08 CPU-ms from 72 to 64 px, where batched products with matrices of weights took
    0.11 to 0.14; torch's grid_sample has no antialiasing.

    Args:
        images: (B, S, S, 3) uint8.
        boxes: (B, 4) left, top, right, bottom as parts of the side.
        size: Pixels a side of the result.
        interpolation: "bicubic" or "bilinear".

    Returns:
        (B, 3, size, size) uint8.
    """
    import torch
    from PIL import Image

    side = images.shape[1]
    if side == size and (boxes == (0.0, 0.0, 1.0, 1.0)).all():
        return torch.from_numpy(images).permute(0, 3, 1, 2)
    how = Image.Resampling[interpolation.upper()]

    def cut(one: tuple[np.ndarray, list[float]]) -> bytes:
        image, (left, top, right, bottom) = one
        whole = Image.frombuffer("RGB", (side, side), image, "raw", "RGB", 0, 1)
        return whole.resize((size, size), how, box=(left, top, right, bottom)).tobytes()

    pieces = over_threads(cut, list(zip(images, (boxes * side).tolist(), strict=True)))
    whole = np.frombuffer(bytearray().join(pieces), dtype=np.uint8).reshape(-1, size, size, 3)
    return torch.from_numpy(whole).permute(0, 3, 1, 2)
