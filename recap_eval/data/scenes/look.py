"""Pixels to what is there: the looker, by analysis through synthesis.

First the background (`backdrop.py`), then one thing after the other: the largest patch that is not background, its colour by
unmixing it from the background, its shape, place and radius by comparing how much of each pixel it covers with what the
renderer's own masks would cover (`templates.py`). What a thing covers is explained; what is left is looked at again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from recap_eval.data.scenes.backdrop import Backdrop, find_backdrop
from recap_eval.data.scenes.render import CANVAS, CENTRES, COLOUR_RGB, RADII
from recap_eval.data.scenes.templates import Bank, shape_bank
from recap_eval.data.scenes.world import Scene, Thing

if TYPE_CHECKING:
    import numpy as np

VERSION = 1  # raised whenever the same picture would be seen otherwise
MOST_THINGS = 12
CONTRAST, NOISES = 34.0, 3.2  # how far a pixel is from the background: RGB distance, and multiples of its noise
SMOOTH = 0.7  # pixels, where noise is larger
LEAST_PIXELS = 5  # of a thing, at 32 px
MISFIT = 0.3  # share of a thing's square cover that its best template may leave unexplained
SURE = 0.85  # of `fit`, from which on a picture is not looked at again, smaller
FAR = 60.0  # RGB distance from the line between background and a thing's colour: another thing's pixel
CLOSE = 25.0  # colours that fit so much worse than the best are tried as well
ODD_COLOUR = 75.0  # mean of that distance from which on a colour is none of ours
UNKNOWN = -1


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

    if behind.noise * NOISES > CONTRAST:
        behind = find_backdrop(ndimage.gaussian_filter(canvas, (SMOOTH, SMOOTH, 0)))
    front: np.ndarray = behind.distance > max(CONTRAST, NOISES * behind.noise)
    return front


@dataclass(frozen=True)
class _Colour:
    index: int
    rgb: np.ndarray  # (3)
    margin: float
    own: np.ndarray  # (S, S) pixels on the line between background and this colour


def _thing(canvas: np.ndarray, behind: Backdrop, patch: np.ndarray, front: np.ndarray) -> tuple[SeenThing | None, np.ndarray]:
    """Return the thing of a patch, and the pixels that it explains; None for a speck."""
    from scipy import ndimage

    size = len(canvas)
    tries = [(colour, _fit_as(canvas, behind, patch, front, colour)) for colour in _colours(canvas, behind, patch)]
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


def _fit_as(canvas: np.ndarray, behind: Backdrop, patch: np.ndarray, front: np.ndarray, colour: _Colour) -> _Fit | None:
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
    return _fit(alpha, known.astype(np.float32), shape_bank(len(canvas)))


def _unlike(canvas: np.ndarray, behind: Backdrop, patch: np.ndarray, colour: _Colour, fitted: _Fit) -> float:
    """Return how far the patch is from the fitted thing drawn in its colour: mean squared RGB distance."""
    import numpy as np

    palette = np.array(COLOUR_RGB[colour.index] if colour.index >= 0 else colour.rgb, dtype=np.float32)
    drawn = behind.rgb + fitted.cover[..., None] * (palette - behind.rgb)
    return float(((canvas - drawn)[patch | (fitted.cover > 0)] ** 2).sum(axis=-1).mean())


def _colours(canvas: np.ndarray, behind: Backdrop, patch: np.ndarray) -> list[_Colour]:
    """Return the colours a patch may have: its pixels lie on their line from the background, and reach its end."""
    import numpy as np

    palette = np.array(COLOUR_RGB, dtype=np.float32)
    pixels, base = canvas[patch][:, None, :], behind.rgb[patch][:, None, :]
    away = palette - base  # (N, 8, 3)
    alpha = ((pixels - base) * away).sum(axis=-1) / (away**2).sum(axis=-1)
    off = np.linalg.norm(pixels - base - alpha.clip(0, 1)[..., None] * away, axis=-1)
    reach = np.quantile(alpha, 0.85, axis=0)
    short = np.maximum(0, 1 - reach) * np.linalg.norm(away, axis=-1).mean(axis=0)
    costs = np.minimum(off, FAR).mean(axis=0) + short
    order = np.argsort(costs)
    margin = float(costs[order[1]] - costs[order[0]])
    found = []
    for index in order[:3]:
        if costs[index] > costs[order[0]] + CLOSE:
            break
        core = (alpha[:, index] > 0.8) & (off[:, index] < FAR)
        rgb = np.median(canvas[patch][core], axis=0) if core.sum() >= 3 else palette[index]
        named = int(index) if costs[index] < ODD_COLOUR else UNKNOWN
        own = _on_line(canvas, behind, rgb) if (off[:, index] < FAR).any() else patch
        found.append(_Colour(named, rgb.astype(np.float32), margin, own))
    return found


def _on_line(canvas: np.ndarray, behind: Backdrop, rgb: np.ndarray) -> np.ndarray:
    """Return the pixels that lie between background and a colour."""
    import numpy as np

    line = rgb - behind.rgb
    part = (((canvas - behind.rgb) * line).sum(axis=-1) / np.maximum((line**2).sum(axis=-1), 1)).clip(0, 1)
    near: np.ndarray = np.linalg.norm(canvas - behind.rgb - part[..., None] * line, axis=-1) < FAR
    return near


@dataclass(frozen=True)
class _Fit:
    shape: int
    radius: float
    x: float  # in pixels
    y: float
    misfit: float
    margin: float
    cover: np.ndarray  # (S, S)


def _fit(alpha: np.ndarray, known: np.ndarray, bank: Bank) -> _Fit:
    """Return the template that comes nearest to a cover, by weighted least squares at nine places."""
    import numpy as np

    size, half = len(alpha), bank.half
    mass = float(alpha.sum())
    rows, columns = (alpha.sum(axis=axis) @ np.arange(size) / mass for axis in (1, 0))
    row, column = round(float(rows)), round(float(columns))
    wide = np.pad(alpha, half + 1), np.pad(known, half + 1, constant_values=1)
    places = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    corners = [(row + 1 + dy, column + 1 + dx) for dy, dx in places]
    shown, weight = (np.stack([one[y : y + 2 * half + 1, x : x + 2 * half + 1].ravel() for y, x in corners]) for one in wide)
    low, high = np.searchsorted(bank.mass, (0.8 * mass, 1.35 * mass))
    if known.all():
        low, high = np.searchsorted(bank.mass, (0.8 * mass, 1.2 * mass))
    low, high = (low, high) if high > low else (max(0, low - 200), max(1, high + 200))
    chosen = slice(int(low), int(high))
    errors = (
        (weight * shown**2).sum(axis=1)[:, None] - 2 * (weight * shown) @ bank.cover[chosen].T + weight @ bank.square[chosen].T
    )
    best = errors.min(axis=0)
    shapes = bank.shape[chosen]
    per_shape = np.full(8, np.inf)
    np.minimum.at(per_shape, shapes, best)
    at = int(best.argmin())
    place = int(errors[:, at].argmin())
    total = float((known * alpha**2).sum())
    rest = np.sort(per_shape)
    entry = int(low) + at
    y, x = row + places[place][0], column + places[place][1]
    drawn = np.zeros((size + 2 * half + 2,) * 2, dtype=np.float32)
    drawn[y + 1 : y + 2 * half + 2, x + 1 : x + 2 * half + 2] = bank.cover[entry].reshape(2 * half + 1, -1)
    centre = bank.centre[entry]
    margin = float(min(rest[1] - rest[0], total)) / total
    return _Fit(
        int(bank.shape[entry]), float(bank.radius[entry]), x + 0.5 + float(centre[0]), y + 0.5 + float(centre[1]),
        float(best[at]) / total, margin, drawn[half + 1 : -half - 1, half + 1 : -half - 1],
    )  # fmt: skip


def _named(fitted: _Fit, colour: _Colour) -> Thing:
    import numpy as np

    unit = CANVAS // len(fitted.cover)
    size = int(np.abs(np.array(RADII) - fitted.radius).argmin())
    gaps = np.array(CENTRES) - (fitted.x * unit, fitted.y * unit)
    place = int((gaps**2).sum(axis=1).argmin())
    return Thing(colour.index, fitted.shape if fitted.misfit < MISFIT else UNKNOWN, size, place)
