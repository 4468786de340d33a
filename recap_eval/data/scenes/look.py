"""Pixels to what is there: the looker, by analysis through synthesis.

First the background (`backdrop.py`), then one thing after the other: the largest patch that is not background, its colour by
unmixing it from the background, its shape, place and radius by comparing how much of each pixel it covers with what the
renderer's own masks would cover (`patches.py`, `templates.py`). What a thing covers is explained, and what
is left is looked at again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from recap_eval.data.scenes.backdrop import Backdrop, find_backdrop
from recap_eval.data.scenes.patches import UNKNOWN, Colour, Fit, colours_of, fit
from recap_eval.data.scenes.render import CANVAS, CENTRES, COLOUR_RGB, RADII
from recap_eval.data.scenes.templates import shape_bank
from recap_eval.data.scenes.world import Scene, Thing

if TYPE_CHECKING:
    import numpy as np

VERSION = 1  # raised whenever the same picture would be seen otherwise
MOST_THINGS = 12
CONTRAST, NOISES = 34.0, 3.2  # how far a pixel is from the background: RGB distance, and multiples of its noise
NOISY, SMOOTH = 14.0, 0.7  # noise from which on a picture is smoothed, by so many pixels
LEAST_PIXELS = 5  # of a thing, at 32 px
MISFIT = 0.3  # share of a thing's square cover that its best template may leave unexplained
SURE = 0.85  # of `fit`, from which on a picture is not looked at again, smaller


@dataclass(frozen=True)
class SeenThing:
    """A thing that was recognised; -1 stands for a colour or shape that is none of ours.

    Args:
        thing: Colour, shape, size, place.
        x, y: Its centre on the renderer's canvas of 4096 units.
        radius: Its radius there.
        fit: Share of its square cover that its shape explains.
        shape_margin: How much better its shape fits than the next one, in the same unit.
        colour_margin: How much nearer its colour is than the next one, in RGB.
    """

    thing: Thing
    x: float
    y: float
    radius: float
    fit: float
    shape_margin: float
    colour_margin: float


@dataclass(frozen=True)
class Seen:
    """What was recognised in a picture.

    Args:
        things: The things, the largest first.
        ground: Index into GROUNDS, or -1.
        texture: Index into TEXTURES, or -1.
        ground_share: Share of the pixels that are of the ground.
        texture_fit: How well the texture explains the ground, 0 to 1.
    """

    things: tuple[SeenThing, ...]
    ground: int
    texture: int
    ground_share: float
    texture_fit: float

    @property
    def scene(self) -> Scene:
        """What was recognised, as a scene; -1 stands for what was not."""
        return Scene(tuple(seen.thing for seen in self.things), self.ground, self.texture)


def working_size(height: int, width: int) -> int:
    """Return the size at which a picture is looked at: 32, or 64 from 64 px on."""
    return 64 if min(height, width) >= 64 else 32


def look(pixels: np.ndarray) -> Seen:
    """Return what can be seen in a picture of a scene.

    Args:
        pixels: (H, W, 3) uint8 RGB of any size; it is resized to 32 x 32, or to 64 x 64 from 64 px on (to 32 x 32 as
            well where a shape fits badly there; what fits better counts).

    Raises:
        ValueError: Another shape or type.
    """
    import numpy as np

    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or 0 in pixels.shape:
        raise ValueError(f"Pixels must be (H, W, 3) uint8, not {pixels.shape} {pixels.dtype}.")
    seen = _look(pixels, working_size(*pixels.shape[:2]))
    if working_size(*pixels.shape[:2]) > 32 and any(_sureness(thing) < SURE for thing in seen.things):
        coarse = _look(pixels, 32)  # blur is half as wide there
        seen = max(seen, coarse, key=lambda one: sum(map(_sureness, one.things)) / max(len(one.things), 1))
    return seen


def _look(pixels: np.ndarray, size: int) -> Seen:
    canvas = _resized(pixels, size)
    behind = find_backdrop(canvas)
    found = sorted(_things(canvas, behind), key=lambda seen: -seen.radius)
    return Seen(tuple(found), behind.ground, behind.texture, behind.share, behind.fit)


def _sureness(seen: SeenThing) -> float:
    return 0.0 if UNKNOWN in (seen.thing.shape, seen.thing.colour) else seen.fit


def _resized(pixels: np.ndarray, size: int) -> np.ndarray:
    import numpy as np
    from PIL import Image

    high, wide = pixels.shape[:2]
    if high == wide and high % size == 0:
        step = high // size
        small: np.ndarray = pixels.reshape(size, step, size, step, 3).mean(axis=(1, 3), dtype=np.float32)
        return small
    resample = Image.Resampling.BOX if min(high, wide) > size else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(pixels).resize((size, size), resample), dtype=np.float32)


def _things(canvas: np.ndarray, behind: Backdrop) -> list[SeenThing]:
    """Return the things of a picture, by explaining its patches one after the other."""
    import numpy as np
    from scipy import ndimage

    size = len(canvas)
    least = LEAST_PIXELS * (size / 32) ** 2
    front = _front(canvas, behind)
    left, found = front.copy(), list[SeenThing]()
    square = np.ones((3, 3), dtype=bool)
    for _ in range(2 * MOST_THINGS):
        labels, count = ndimage.label(left, square)
        if count == 0 or len(found) == MOST_THINGS:
            break
        areas = np.bincount(labels.ravel())
        areas[0] = 0
        if areas.max() < least:
            break
        patch = labels == areas.argmax()
        seen, explained = _thing(canvas, behind, patch, front)
        left &= ~(explained if (explained & patch).any() else patch)
        if seen is not None:
            found.append(seen)
    return found


def _front(canvas: np.ndarray, behind: Backdrop) -> np.ndarray:
    """Return the pixels that are not background; of a noisy picture, after smoothing it."""
    from scipy import ndimage

    if behind.noise > NOISY:
        behind = find_backdrop(ndimage.gaussian_filter(canvas, (SMOOTH, SMOOTH, 0)))
    front: np.ndarray = behind.distance > max(CONTRAST, NOISES * behind.noise)
    return front


def _thing(canvas: np.ndarray, behind: Backdrop, patch: np.ndarray, front: np.ndarray) -> tuple[SeenThing | None, np.ndarray]:
    """Return the thing of a patch, and the pixels that it explains; None for a speck."""
    from scipy import ndimage

    size = len(canvas)
    tries = [(colour, _fit_as(canvas, behind, patch, front, colour)) for colour in colours_of(canvas, behind, patch)]
    fits = [(_unlike(canvas, behind, patch, colour, fitted), colour, fitted) for colour, fitted in tries if fitted is not None]
    if not fits:
        return None, patch
    _, colour, fitted = min(fits, key=lambda one: one[0])
    thing = _named(fitted, colour)
    explained = (patch & colour.own) | ndimage.binary_dilation(fitted.cover > 0)
    if thing.shape == UNKNOWN and thing.colour == UNKNOWN and fitted.misfit > 2 * MISFIT:
        return None, explained
    unit = CANVAS // size
    return SeenThing(
        thing, fitted.x * unit, fitted.y * unit, fitted.radius, 1 - fitted.misfit, fitted.margin, colour.margin
    ), explained  # fmt: skip


def _fit_as(canvas: np.ndarray, behind: Backdrop, patch: np.ndarray, front: np.ndarray, colour: Colour) -> Fit | None:
    """Return the best template for a patch of a given colour; None if it is a speck."""
    import numpy as np
    from scipy import ndimage

    away = colour.rgb - behind.rgb
    alpha = ((canvas - behind.rgb) * away).sum(axis=-1) / np.maximum((away**2).sum(axis=-1), 1)
    near = ndimage.binary_dilation(patch & colour.own, np.ones((3, 3), dtype=bool))
    known = ~front | (near & colour.own)  # pixels that say how much of them the thing covers
    alpha = np.where(near & known, alpha.clip(0, 1), 0).astype(np.float32)
    if alpha.sum() < LEAST_PIXELS * (len(canvas) / 32) ** 2:
        return None
    return fit(alpha, known.astype(np.float32), shape_bank(len(canvas)))


def _unlike(canvas: np.ndarray, behind: Backdrop, patch: np.ndarray, colour: Colour, fitted: Fit) -> float:
    """Return how far the patch is from the fitted thing drawn in its colour: mean squared RGB distance."""
    import numpy as np

    palette = np.array(COLOUR_RGB[colour.index] if colour.index >= 0 else colour.rgb, dtype=np.float32)
    drawn = behind.rgb + fitted.cover[..., None] * (palette - behind.rgb)
    return float(((canvas - drawn)[patch | (fitted.cover > 0)] ** 2).sum(axis=-1).mean())


def _named(fitted: Fit, colour: Colour) -> Thing:
    import numpy as np

    unit = CANVAS // len(fitted.cover)
    size = int(np.abs(np.array(RADII) - fitted.radius).argmin())
    gaps = np.array(CENTRES) - (fitted.x * unit, fitted.y * unit)
    place = int((gaps**2).sum(axis=1).argmin())
    return Thing(colour.index, fitted.shape if fitted.misfit < MISFIT else UNKNOWN, size, place)
