"""Scenes and their pictures made worse by known degrees, for `benchmarks/truth.py`."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from recap_eval.data.scenes.world import CENTRE, COLOURS, GROUNDS, SHAPES, SIZES, TEXTURES, Scene, Thing
from recap_eval.hashrand import Draws

SHARES, RATES = (0.1, 0.25, 0.5, 0.75, 1.0), (0.05, 0.1, 0.2, 0.35, 0.5)


def _other(value: int, options: int, draws: Draws) -> int:
    return (value + 1 + draws.below(options - 1)) % options


def attributes(scene: Scene, rate: float, draws: Draws) -> Scene:
    """Change each attribute of each thing, and of the background, at a rate; places stay distinct."""
    places, things = {thing.place for thing in scene.things}, []
    for thing in scene.things:
        colour = _other(thing.colour, len(COLOURS), draws) if draws.chance(rate) else thing.colour
        shape = _other(thing.shape, len(SHAPES), draws) if draws.chance(rate) else thing.shape
        size = _other(thing.size, len(SIZES), draws) if draws.chance(rate) else thing.size
        free = sorted(set(range(CENTRE)) - places)
        place = draws.pick(free) if draws.chance(rate) and free else thing.place
        places = places - {thing.place} | {place}
        things.append(Thing(colour, shape, size, place))
    ground = _other(scene.ground, len(GROUNDS), draws) if draws.chance(rate) else scene.ground
    texture = _other(scene.texture, len(TEXTURES), draws) if draws.chance(rate) else scene.texture
    return Scene(tuple(things), ground, texture)


def _turned(scene: Scene, name: str) -> Scene:
    values = [getattr(thing, name) for thing in scene.things]
    turned = values[1:] + values[:1]
    return replace(scene, things=tuple(replace(t, **{name: v}) for t, v in zip(scene.things, turned, strict=True)))


def colours_swapped(scene: Scene, share: float, draws: Draws) -> Scene:
    """Pass the colours on from thing to thing."""
    return _turned(scene, "colour") if draws.chance(share) else scene


def places_swapped(scene: Scene, share: float, draws: Draws) -> Scene:
    """Pass the places on from thing to thing."""
    return _turned(scene, "place") if draws.chance(share) else scene


def dropped(scene: Scene, share: float, draws: Draws) -> Scene:
    """Take one thing away."""
    gone = draws.below(len(scene.things))
    return replace(scene, things=scene.things[:gone] + scene.things[gone + 1 :]) if draws.chance(share) else scene


def added(scene: Scene, share: float, draws: Draws) -> Scene:
    """Put a thing at a free place, or, where there is none, leave the scene as it is."""
    free = sorted(set(range(CENTRE)) - {thing.place for thing in scene.things})
    if not free or not draws.chance(share):
        return scene
    new = Thing(draws.below(len(COLOURS)), draws.below(len(SHAPES)), draws.below(len(SIZES)), draws.pick(free))
    return replace(scene, things=(*scene.things, new))


def _image(pixels: np.ndarray) -> Any:
    from PIL import Image

    return Image.fromarray(pixels)


def blurred(pixels: np.ndarray, sigma: float, draws: Draws) -> np.ndarray:
    """Blur by a Gaussian of so many pixels."""
    from PIL import ImageFilter

    return np.asarray(_image(pixels).filter(ImageFilter.GaussianBlur(sigma)))


def noisy(pixels: np.ndarray, sigma: float, draws: Draws) -> np.ndarray:
    """Add Gaussian noise of so many grey levels."""
    grain = np.random.default_rng(draws.bits()).normal(0, sigma, pixels.shape)
    return (pixels + grain).round().clip(0, 255).astype(np.uint8)


def compressed(pixels: np.ndarray, quality: float, draws: Draws) -> np.ndarray:
    """Save as JPEG of this quality, colours at half the resolution."""
    from PIL import Image

    buffer = io.BytesIO()
    _image(pixels).save(buffer, "JPEG", quality=int(quality))
    return np.asarray(Image.open(buffer))


def tinted(pixels: np.ndarray, levels: float, draws: Draws) -> np.ndarray:
    """Shift all colours by so many grey levels, one channel up, one down."""
    up, down = ((0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2))[draws.below(6)]
    shift = np.zeros(3)
    shift[up], shift[down] = levels, -levels
    return (pixels + shift).clip(0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Family:
    """One way to make a set worse.

    Args:
        grades: How much, mildest first.
        scene: (scene, grade, draws) → another scene; None if the scenes stay.
        pixels: (pixels, grade, draws) → other pixels; None if they stay.
        shuffle: The grade is the share of pictures that are dealt to other prompts.
    """

    grades: tuple[float, ...]
    scene: Callable[[Scene, float, Draws], Scene] | None = None
    pixels: Callable[[np.ndarray, float, Draws], np.ndarray] | None = None
    shuffle: bool = False


FAMILIES = {
    "attributes": Family(RATES, attributes),
    "colours swapped": Family(SHARES, colours_swapped),
    "places swapped": Family(SHARES, places_swapped),
    "thing dropped": Family(SHARES, dropped),
    "thing added": Family(SHARES, added),
    "shuffled": Family(SHARES, shuffle=True),
    "blur": Family((0.3, 0.5, 0.8, 1.1, 1.5), pixels=blurred),
    "noise": Family((5, 10, 20, 30, 45), pixels=noisy),
    "jpeg": Family((90, 75, 50, 30, 15), pixels=compressed),
    "palette": Family((5, 10, 20, 30, 45), pixels=tinted),
}
