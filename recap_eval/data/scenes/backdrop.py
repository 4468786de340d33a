"""The background of a picture: which ground, which texture, and what each pixel would be if nothing stood on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from recap_eval.data.scenes.render import COLOUR_RGB, GROUND_RGB, TINT
from recap_eval.data.scenes.templates import texture_bank
from recap_eval.data.scenes.world import GROUNDS, TEXTURES

if TYPE_CHECKING:
    import numpy as np

BLACK, PLAIN = GROUNDS.index("black"), TEXTURES.index("plain")
NEAR = 48.0  # RGB distance within which a pixel may be of a ground
LEAST_SHARE = 0.12  # of the pixels that must be of a ground
LEAST_AMPLITUDE, LEAST_FIT = 0.35, 0.2  # of a texture: its tint, in TINTs, and its share of the variance
FINE = 32  # textures are told at this size


@dataclass(frozen=True)
class Backdrop:
    """What is behind the things.

    Args:
        ground: Index into GROUNDS; -1 if it is none of them.
        texture: Index into TEXTURES; -1 if the ground is none.
        share: Share of the pixels that are of the ground.
        fit: Share of the ground's variance that the texture explains; for "plain", what no texture explains.
        rgb: (S, S, 3) float32, what each pixel would be without things.
        distance: (S, S) float32, RGB distance of each pixel to the ground in its two tones.
        noise: Median of `distance` over the ground.
    """

    ground: int
    texture: int
    share: float
    fit: float
    rgb: np.ndarray
    distance: np.ndarray
    noise: float


def find_backdrop(pixels: np.ndarray) -> Backdrop:
    """Return the background of a picture.

    Args:
        pixels: (S, S, 3) float32 RGB, S being 32 or 64.
    """
    import numpy as np

    ends = np.array(GROUND_RGB, dtype=np.float32)
    tint = np.array([TINT if ground == BLACK else -TINT for ground in range(len(GROUNDS))], dtype=np.float32)
    along = np.clip((pixels[..., None, :] - ends) @ np.ones(3, np.float32) / (3 * tint), 0, 1)  # (S, S, 4)
    nearest = ends + (along * tint)[..., None]
    apart = np.linalg.norm(pixels[..., None, :] - nearest, axis=-1)
    things = np.linalg.norm(pixels[..., None, :] - np.array(COLOUR_RGB, dtype=np.float32), axis=-1).min(axis=-1)
    of = (apart <= apart.min(axis=-1, keepdims=True)) & (apart < NEAR) & (apart < things[..., None])
    shares = of.mean(axis=(0, 1))
    ground = int(shares.argmax())
    if shares[ground] < LEAST_SHARE:
        return _strange(pixels)
    mine = of[..., ground]
    shift = np.median((pixels - nearest[:, :, ground])[mine], axis=0)
    shift -= shift.mean()  # along the tint nothing is known yet: a darker ground may be a textured one
    tones = (pixels - shift - ends[ground]) @ np.ones(3, np.float32) / (3 * tint[ground])  # 0 and 1: the two tones
    texture, fit, levels = _texture(tones, mine)
    rgb = ends[ground] + shift + (levels * tint[ground])[..., None]
    low, high = levels.min(), levels.max()
    line = ends[ground] + shift + (np.clip(tones, low, high) * tint[ground])[..., None]
    distance = np.linalg.norm(pixels - line, axis=-1)
    noise = float(np.median(distance[mine]))
    return Backdrop(ground, texture, float(shares[ground]), fit, rgb.astype(np.float32), distance, noise)


def _strange(pixels: np.ndarray) -> Backdrop:
    """Return a background of no known ground: the colour of the border, whatever it is."""
    import numpy as np

    border = np.concatenate([pixels[:2].reshape(-1, 3), pixels[-2:].reshape(-1, 3), pixels[:, 0], pixels[:, -1]])
    colour = np.median(border, axis=0).astype(np.float32)
    distance = np.linalg.norm(pixels - colour, axis=-1)
    noise = float(np.median(np.linalg.norm(border - colour, axis=-1)))
    return Backdrop(-1, -1, 0.0, 0.0, np.broadcast_to(colour, pixels.shape).copy(), distance, noise)


def _texture(tones: np.ndarray, mine: np.ndarray) -> tuple[int, float, np.ndarray]:
    """Return the texture, how well it fits, and the tone of every pixel, by weighted least squares against every phase."""
    import numpy as np

    step = len(tones) // FINE
    small = tones.reshape(FINE, step, FINE, step).mean(axis=(1, 3)).ravel()
    weight = mine.reshape(FINE, step, FINE, step).all(axis=(1, 3)).ravel().astype(np.float32)
    total = float(weight.sum())
    level = float(np.median(tones[mine]))
    if total < FINE:
        return PLAIN, 0.0, np.full(tones.shape, level, dtype=np.float32)
    bank = texture_bank(FINE)
    mean = float(weight @ small) / total
    centred = weight * (small - mean)
    spread = float(centred @ (small - mean))
    means = bank.cover @ weight / total
    spreads = (bank.cover**2) @ weight - total * means**2
    together = bank.cover @ centred
    amplitude = together / np.maximum(spreads, 1e-6)
    explained = np.where(amplitude > 0, amplitude * together, 0) / max(spread, 1e-6)
    best = int(explained.argmax())
    if amplitude[best] < LEAST_AMPLITUDE or explained[best] < LEAST_FIT:
        return PLAIN, 1 - float(explained[best]), np.full(tones.shape, level, dtype=np.float32)
    drawn = texture_bank(len(tones)).cover[best].reshape(tones.shape)
    return int(bank.texture[best]), float(explained[best]), mean + amplitude[best] * (drawn - means[best])
