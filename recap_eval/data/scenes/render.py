"""Scenes to pixels, in integer arithmetic only, so that every machine draws the same bytes.

The canvas is 4096 units wide at any resolution, so a scene is the same picture at 32 and at 256 pixels. Shapes are
antialiased by counting which of 4 x 4 points of a pixel they cover.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from recap_eval.data.scenes.world import GROUNDS, SHAPES, TEXTURES, Scene, Thing
from recap_eval.hashrand import Draws, combine, combine_array, text_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    import numpy as np
    from numpy.typing import NDArray

    Ints: TypeAlias = NDArray[np.int64]
    Mask: TypeAlias = NDArray[np.bool_]

CANVAS = 4096
POINTS = 4  # sampling points per pixel and axis
RESOLUTIONS = (32, 64, 128, 256)
JPEG_QUALITY = 95
NOISE = 10  # grey levels each way, per pixel and channel

COLOUR_RGB = (
    (214, 38, 38), (240, 132, 20), (244, 216, 36), (42, 154, 58),
    (36, 84, 212), (128, 48, 176), (246, 128, 190), (120, 72, 36),
)  # fmt: skip
GROUND_RGB = ((240, 240, 240), (136, 136, 136), (22, 22, 22), (226, 206, 170))
TINT = 30  # grey levels between the two tones of a texture

RADII = (440, 650, 960)  # of small, medium and large things
CENTRES = ((1024, 1024), (3072, 1024), (1024, 3072), (3072, 3072), (2048, 2048))  # x, y by place
PLACE_JITTER, RADIUS_JITTER, COLOUR_JITTER = 110, 50, 14

# Outlines around the origin in 1/1000 of the radius, y down.
OUTLINES = {
    "square": ((-820, -820), (820, -820), (820, 820), (-820, 820)),
    "triangle": ((0, -950), (950, 780), (-950, 780)),
    "diamond": ((0, -1000), (680, 0), (0, 1000), (-680, 0)),
    "star": (
        (0, -1000), (235, -324), (951, -309), (380, 124), (588, 809),
        (0, 400), (-588, 809), (-380, 124), (-951, -309), (-235, -324),
    ),
    "cross": (
        (-320, -950), (320, -950), (320, -320), (950, -320), (950, 320), (320, 320),
        (320, 950), (-320, 950), (-320, 320), (-950, 320), (-950, -320), (-320, -320),
    ),
}  # fmt: skip


def _inside_outline(name: str, x: Ints, y: Ints, radius: int) -> Mask:
    """Even-odd rule by integer cross products; x (1, W) and y (H, 1) to (H, W) booleans."""
    import numpy as np

    inside: Mask = np.zeros((len(y), x.shape[1]), dtype=bool)
    corners = [(cx * radius // 1000, cy * radius // 1000) for cx, cy in OUTLINES[name]]
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
        if ay == by:
            continue
        if ay > by:
            ax, ay, bx, by = bx, by, ax, ay
        spans = (y >= ay) & (y < by)
        inside ^= spans & ((x - ax) * (by - ay) < (bx - ax) * (y - ay))
    return inside


def _disc(x: Ints, y: Ints, radius: int) -> Mask:
    return x * x + y * y <= radius * radius


def _ring(x: Ints, y: Ints, radius: int) -> Mask:
    return _disc(x, y, radius) & ~_disc(x, y, radius * 58 // 100)


def _crescent(x: Ints, y: Ints, radius: int) -> Mask:
    return _disc(x, y, radius) & ~_disc(x - radius * 45 // 100, y, radius * 80 // 100)


ROUND: dict[str, Callable[[Ints, Ints, int], Mask]] = {
    "circle": _disc,
    "ring": _ring,
    "crescent": _crescent,
}


def shape_mask(shape: str, x: Ints, y: Ints, radius: int) -> Mask:
    """Return which points lie in a shape around the origin: x (1, W) and y (H, 1) to (H, W) booleans, in canvas units."""
    return ROUND[shape](x, y, radius) if shape in ROUND else _inside_outline(shape, x, y, radius)


def cover_count(mask: Mask) -> Ints:
    """Count covered points per pixel: (H * POINTS, W * POINTS) booleans to (H, W) integers 0-16."""
    import numpy as np

    high, wide = mask.shape
    covered: Ints = mask.reshape(high // POINTS, POINTS, wide // POINTS, POINTS).sum(axis=(1, 3), dtype=np.int64)
    return covered


def _blend(base: Ints, rgb: Ints, cover: Ints) -> Ints:
    full = POINTS * POINTS
    part = cover[..., None]
    blended: Ints = (base * (full - part) + rgb * part + full // 2) // full
    return blended


def points(first: int, last: int, size: int) -> Ints:
    """Canvas coordinates of the sampling points of pixels [first, last) along one axis."""
    import numpy as np

    step = CANVAS // (size * POINTS)
    return np.arange(first * POINTS, last * POINTS, dtype=np.int64) * step + step // 2


PATTERNS: dict[str, Callable[[Ints, Ints], Mask]] = {
    "striped": lambda x, y: (x + y) // 512 % 2 == 0,
    "checkered": lambda x, y: (x // 512 + y // 512) % 2 == 0,
    "dotted": lambda x, y: _disc(x % 768 - 384, y % 768 - 384, 220),
}


def _background(scene: Scene, size: int, draws: Draws) -> Ints:
    import numpy as np

    texture = TEXTURES[scene.texture]
    base = np.asarray(GROUND_RGB[scene.ground], dtype=np.int64)
    shift = draws.below(1024)
    canvas = np.broadcast_to(base, (size, size, 3)).copy()
    if texture == "plain":
        return canvas
    y, x = points(0, size, size)[:, None] + shift, points(0, size, size)[None, :] + shift
    pattern = PATTERNS[texture](x, y)
    other = base + (TINT if GROUNDS[scene.ground] == "black" else -TINT)
    return _blend(canvas, other, cover_count(pattern))


def _paint(canvas: Ints, thing: Thing, draws: Draws) -> None:
    """Draw one thing onto `canvas` (S, S, 3), in place, touching only its bounding box."""
    import numpy as np

    size = canvas.shape[0]
    unit = CANVAS // size
    cx, cy = (centre + draws.between(-PLACE_JITTER, PLACE_JITTER) for centre in CENTRES[thing.place])
    radius = RADII[thing.size] + draws.between(-RADIUS_JITTER, RADIUS_JITTER)
    rgb = np.asarray([c + draws.between(-COLOUR_JITTER, COLOUR_JITTER) for c in COLOUR_RGB[thing.colour]])
    left, right = max(0, (cx - radius) // unit), min(size, (cx + radius) // unit + 1)
    top, bottom = max(0, (cy - radius) // unit), min(size, (cy + radius) // unit + 1)
    x, y = points(left, right, size)[None, :] - cx, points(top, bottom, size)[:, None] - cy
    cover = cover_count(shape_mask(SHAPES[thing.shape], x, y, radius))
    canvas[top:bottom, left:right] = _blend(canvas[top:bottom, left:right], rgb, cover)


def render(scene: Scene, size: int, *parts: int) -> np.ndarray:
    """Draw a scene.

    Args:
        scene: What to draw.
        size: Width and height in pixels, one of RESOLUTIONS.
        parts: Integers that name this picture (seed, split, index): they fix jitter and noise.

    Returns:
        (size, size, 3) uint8 RGB.
    """
    import numpy as np

    draws = Draws(*parts, text_key("jitter"))
    canvas = _background(scene, size, draws)
    for thing in reversed(scene.things):
        _paint(canvas, thing, draws)
    grain = combine_array(np.arange(size * size * 3), combine(*parts), text_key("noise")) % np.uint64(2 * NOISE + 1)
    noisy = canvas + grain.astype(np.int64).reshape(size, size, 3) - NOISE
    return noisy.clip(0, 255).astype(np.uint8)


def encode_jpeg(pixels: np.ndarray) -> bytes:
    """Encode (S, S, 3) uint8 RGB as JPEG without chroma subsampling, so that small colours survive."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()
