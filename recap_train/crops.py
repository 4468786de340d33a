"""Random resized crops of a whole batch at once: the boxes that the shard feed would cut, and their pixels as PIL resizes them.

A crop along the axes is a product of two small matrices an image, one for rows and one for columns. So a batch is two batched
matrix products, with bicubic interpolation and antialiasing at any scale, which torch's grid_sample does not have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from recap_eval.hashrand import combine_array, text_key

if TYPE_CHECKING:
    import torch

CROP = text_key("crop")  # the stream of the shard feed: the same key, epoch and seed give the same box
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

    The boxes are those of `recap_train.loader.random_crop` for the same seed, key and epoch, whole pixels of the original image
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


def _weights(low: torch.Tensor, high: torch.Tensor, source: int, target: int) -> torch.Tensor:
    """Return (B, target, source): how much each source pixel gives to each target pixel, PIL's antialiased bicubic.

    Args:
        low: (B,) where the box begins, in source pixels.
        high: (B,) where it ends.
        source: Pixels there are.
        target: Pixels there shall be.
    """
    import torch

    step = (high - low) / target
    wide = step.clamp(min=1.0)[:, None, None]
    centre = low[:, None] + (torch.arange(target) + 0.5) * step[:, None]
    far = (torch.arange(source) + 0.5 - centre[:, :, None]).abs_().div_(wide)
    near = (1 - far).clamp_(min=0)
    far = far.neg_().add_(2).clamp_(min=0)  # Keys' kernel, a = -1/2, in what is left to 2 and to 1
    kernel = (far - 1).mul_(far).mul_(far).mul_(0.5) + near * near * (1 - 2 * near)
    return kernel.div_(kernel.sum(dim=2, keepdim=True))


def crop(images: np.ndarray, boxes: np.ndarray, size: int) -> torch.Tensor:
    """Cut boxes out of images and resize them.

    Args:
        images: (B, S, S, 3) uint8.
        boxes: (B, 4) left, top, right, bottom as parts of the side.
        size: Pixels a side of the result.

    Returns:
        (B, 3, size, size) uint8; within a grey level or two of PIL's resize of the same box.
    """
    import torch

    whole, side = torch.from_numpy(images), images.shape[1]
    if side == size and (boxes == (0.0, 0.0, 1.0, 1.0)).all():
        return whole.permute(0, 3, 1, 2)
    left, top, right, bottom = torch.from_numpy((boxes * side).astype(np.float32)).unbind(1)
    rows, columns = _weights(top, bottom, side, size), _weights(left, right, side, size)
    lines = torch.bmm(rows, whole.float().view(-1, side, side * 3)).clamp_(0, 255).view(-1, size, side, 3)
    planes = lines.permute(0, 3, 1, 2).reshape(-1, 3 * size, side)
    cut = torch.bmm(planes, columns.transpose(1, 2)).clamp_(0, 255).add_(0.5)
    return cut.to(torch.uint8).view(-1, 3, size, size)
