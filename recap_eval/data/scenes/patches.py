"""One patch of a picture: which colour it may have, and which shape, where and how large, comes nearest to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from recap_eval.data.scenes.backdrop import Backdrop
from recap_eval.data.scenes.render import COLOUR_RGB
from recap_eval.data.scenes.templates import Bank
from recap_eval.data.scenes.world import SHAPES

if TYPE_CHECKING:
    import numpy as np

UNKNOWN = -1
FAR = 60.0  # RGB distance from the line between background and a thing's colour: another thing's pixel
CLOSE = 25.0  # colours that fit so much worse than the best are tried as well
TRIED = 3  # colours at most
ODD_COLOUR = 75.0  # mean of that distance from which on a colour is none of ours
REACHED = 0.85  # quantile of the cover that must reach a colour itself


@dataclass(frozen=True)
class Colour:
    """A colour that a patch may have.

    Args:
        index: Index into COLOURS, or -1 for one that is none of ours.
        rgb: (3) as it is in the picture.
        margin: How much better the patch's best colour fits than the next one, in RGB.
        own: (S, S) pixels on the line between background and this colour.
    """

    index: int
    rgb: np.ndarray
    margin: float
    own: np.ndarray


def colours_of(canvas: np.ndarray, behind: Backdrop, patch: np.ndarray) -> list[Colour]:
    """Return the colours a patch may have: its pixels lie on their line from the background, and reach its end."""
    import numpy as np

    palette = np.array(COLOUR_RGB, dtype=np.float32)
    pixels, base = canvas[patch][:, None, :], behind.rgb[patch][:, None, :]
    away = palette - base  # (N, 8, 3)
    alpha = ((pixels - base) * away).sum(axis=-1) / np.maximum((away**2).sum(axis=-1), 1)
    off = np.linalg.norm(pixels - base - alpha.clip(0, 1)[..., None] * away, axis=-1)
    reach = np.quantile(alpha, REACHED, axis=0)
    short = np.maximum(0, 1 - reach) * np.linalg.norm(away, axis=-1).mean(axis=0)
    costs = np.minimum(off, FAR).mean(axis=0) + short
    order = np.argsort(costs)
    margin = float(costs[order[1]] - costs[order[0]])
    found = []
    for index in order[:TRIED]:
        if costs[index] > costs[order[0]] + CLOSE:
            break
        core = (alpha[:, index] > 0.8) & (off[:, index] < FAR)
        rgb = np.median(canvas[patch][core], axis=0) if core.sum() >= 3 else palette[index]
        named = int(index) if costs[index] < ODD_COLOUR else UNKNOWN
        own = _on_line(canvas, behind, rgb) if (off[:, index] < FAR).any() else patch
        found.append(Colour(named, rgb.astype(np.float32), margin, own))
    return found


def _on_line(canvas: np.ndarray, behind: Backdrop, rgb: np.ndarray) -> np.ndarray:
    """Return the pixels that lie between background and a colour."""
    import numpy as np

    line = rgb - behind.rgb
    part = (((canvas - behind.rgb) * line).sum(axis=-1) / np.maximum((line**2).sum(axis=-1), 1)).clip(0, 1)
    near: np.ndarray = np.linalg.norm(canvas - behind.rgb - part[..., None] * line, axis=-1) < FAR
    return near


@dataclass(frozen=True)
class Fit:
    """The template that comes nearest to a patch.

    Args:
        shape: Index into SHAPES.
        radius: Its radius on the canvas.
        x, y: Its centre in pixels.
        misfit: Share of the square cover that it does not explain.
        margin: How much more the next shape leaves unexplained.
        cover: (S, S) how much of each pixel it covers.
    """

    shape: int
    radius: float
    x: float
    y: float
    misfit: float
    margin: float
    cover: np.ndarray


SHIFTS = tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1))


def fit(alpha: np.ndarray, known: np.ndarray, bank: Bank) -> Fit:
    """Return the template that comes nearest to a cover, by weighted least squares at nine places around its centroid.

    Args:
        alpha: (S, S) float32, how much of each pixel the patch covers; its sum is above 0.
        known: (S, S) float32, 1 where that can be said, 0 where another thing stands.
        bank: The templates.
    """
    import numpy as np

    size, half = len(alpha), bank.half
    mass = float(alpha.sum())
    row, column = (round(float(alpha.sum(axis=axis) @ np.arange(size) / mass)) for axis in (1, 0))
    shown, weight = (_windows(one, row, column, half, outside) for one, outside in ((alpha, 0), (known, 1)))
    low, high = np.searchsorted(bank.mass, (0.8 * mass, (1.2 if known.all() else 1.35) * mass))
    low, high = (low, high) if high > low else (max(0, low - 200), max(1, high + 200))
    chosen = slice(int(low), int(high))
    errors = (weight * shown**2).sum(axis=1)[:, None] - 2 * (weight * shown) @ bank.cover[chosen].T
    errors += weight @ bank.square[chosen].T
    per_shape = np.full(len(SHAPES), np.inf)
    np.minimum.at(per_shape, bank.shape[chosen], errors.min(axis=0))
    shift, at = np.unravel_index(int(errors.argmin()), errors.shape)
    entry, total = int(low) + int(at), float((known * alpha**2).sum())
    best, next_best = np.sort(per_shape)[:2]
    y, x = row + SHIFTS[shift][0], column + SHIFTS[shift][1]
    cx, cy = bank.centre[entry]
    margin = float(min(next_best - best, total)) / total
    drawn = _placed(bank.cover[entry], y, x, half, size)
    place = x + 0.5 + float(cx), y + 0.5 + float(cy)
    return Fit(int(bank.shape[entry]), float(bank.radius[entry]), *place, float(best) / total, margin, drawn)


def _windows(image: np.ndarray, row: int, column: int, half: int, outside: float) -> np.ndarray:
    """Return (9, P) windows around a pixel and its neighbours."""
    import numpy as np

    wide, side = np.pad(image, half + 1, constant_values=outside), 2 * half + 1
    corners = [(row + 1 + dy, column + 1 + dx) for dy, dx in SHIFTS]
    return np.stack([wide[y : y + side, x : x + side].ravel() for y, x in corners])


def _placed(cover: np.ndarray, y: int, x: int, half: int, size: int) -> np.ndarray:
    """Return a window's template in its place in the picture."""
    import numpy as np

    whole, side = np.zeros((size + 2 * half + 2,) * 2, dtype=np.float32), 2 * half + 1
    whole[y + 1 : y + 1 + side, x + 1 : x + 1 + side] = cover.reshape(side, side)
    return whole[half + 1 : -half - 1, half + 1 : -half - 1]
