"""What shapes and textures look like at a working size, drawn by the renderer's own masks, as matrices to compare with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import TYPE_CHECKING

from recap_eval.data.scenes.render import CANVAS, PATTERNS, cover_count, points, shape_mask
from recap_eval.data.scenes.world import SHAPES, TEXTURES

if TYPE_CHECKING:
    import numpy as np

LEAST_RADIUS, MOST_RADIUS, RADIUS_STEP = 340, 1180, 1.035  # on the canvas
REACH = 1.25  # how far a shape reaches from its centroid, in radii
OFFSETS = {32: (-0.375, -0.125, 0.125, 0.375), 64: (-0.25, 0.25)}  # of the centroid within a pixel, by working size
PHASE = 64  # canvas units between the phases of textures


@dataclass(frozen=True)
class Bank:
    """Every shape at every radius and place within a pixel, sorted by mass.

    Args:
        half: Pixels on each side of the window's middle.
        cover: (K, P) float32, P pixels of the window, 0 to 1.
        square: (K, P) the squares.
        mass: (K) sums of `cover`, ascending.
        shape: (K) indices into SHAPES.
        radius: (K) radii on the canvas.
        centre: (K, 2) x, y of the shape's centre from the window's middle, in pixels.
    """

    half: int
    cover: np.ndarray
    square: np.ndarray
    mass: np.ndarray
    shape: np.ndarray
    radius: np.ndarray
    centre: np.ndarray


@cache
def shape_bank(size: int) -> Bank:
    """Return the shapes at a working size, 32 or 64."""
    import numpy as np

    unit = CANVAS // size
    half = math.ceil(MOST_RADIUS * REACH / unit) + 1
    steps = math.ceil(math.log(MOST_RADIUS / LEAST_RADIUS) / math.log(RADIUS_STEP))
    radii = [round(LEAST_RADIUS * RADIUS_STEP**step) for step in range(steps + 1)]
    rows = list(product(range(len(SHAPES)), radii, OFFSETS[size], OFFSETS[size]))
    covers, centres = [], []
    for shape, radius, dx, dy in rows:
        cx, cy = (offset - part * radius / unit for offset, part in zip((dx, dy), _centroid(SHAPES[shape]), strict=True))
        covers.append(_drawn(SHAPES[shape], radius, cx, cy, half, size))
        centres.append((cx, cy))
    whole = np.stack(covers).astype(np.float32) / 16
    mass = whole.sum(axis=1)
    order = np.argsort(mass, kind="stable")
    shapes, sizes = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    whole = whole[order]
    return Bank(half, whole, whole**2, mass[order], shapes[order], sizes[order], np.array(centres)[order])


@cache
def _centroid(shape: str) -> tuple[float, float]:
    """Return the centroid of a shape of radius 1."""
    import numpy as np

    grid = np.arange(-1000, 1000, 8)
    rows, columns = np.nonzero(shape_mask(shape, grid[None, :], grid[:, None], 1000))
    return float(grid[columns].mean() / 1000), float(grid[rows].mean() / 1000)


def _drawn(shape: str, radius: int, cx: float, cy: float, half: int, size: int) -> np.ndarray:
    """Return the covered points of each pixel of the window around the middle of its middle pixel, (P) of 0 to 16."""
    unit, wide = CANVAS // size, 2 * half + 1
    middle = half * unit + unit // 2
    grid = points(0, wide, size) - middle
    x, y = grid[None, :] - round(cx * unit), grid[:, None] - round(cy * unit)
    return cover_count(shape_mask(shape, x, y, radius)).ravel()


@dataclass(frozen=True)
class Textures:
    """Every texture at every phase.

    Args:
        cover: (K, S * S) float32, share of each pixel that has the second tone.
        texture: (K) indices into TEXTURES.
    """

    cover: np.ndarray
    texture: np.ndarray


@cache
def texture_bank(size: int) -> Textures:
    """Return the textures at a working size; a model may shift them in x and y on their own, as the renderer never does."""
    import numpy as np

    covers, names = [], []
    for name, period, both in (("striped", 1024, False), ("checkered", 1024, True), ("dotted", 768, True)):
        for dx in range(0, period, PHASE):
            for dy in range(0, period, PHASE) if both else (0,):
                x, y = points(0, size, size)[None, :] + dx, points(0, size, size)[:, None] + dy
                covers.append(cover_count(np.broadcast_to(PATTERNS[name](x, y), (size * 4, size * 4))).ravel())
                names.append(TEXTURES.index(name))
    return Textures(np.stack(covers).astype(np.float32) / 16, np.array(names))
