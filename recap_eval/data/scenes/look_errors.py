"""How often the looker errs: on scenes whose truth is known."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING

from recap_eval.data.scenes.look import look
from recap_eval.data.scenes.render import RESOLUTIONS, encode_jpeg, render
from recap_eval.data.scenes.world import Scene, draw_scenes
from recap_eval.hashrand import text_key

if TYPE_CHECKING:
    import numpy as np

CHECKED, SEED = 300, text_key("looker")
ATTRIBUTES = ("shape", "colour", "size", "place")


def scene_size(pixels: int) -> int:
    """Return the size at which scenes are drawn that comes nearest below a picture's, or the smallest."""
    return max((size for size in RESOLUTIONS if size <= pixels), default=RESOLUTIONS[0])


@cache
def errors(size: int, n: int = CHECKED) -> dict[str, float]:
    """Return the looker's error rates on n scenes of the test split, drawn for this and saved as JPEG; see `rates`."""
    import numpy as np
    from PIL import Image

    scenes = draw_scenes("test", 0, n, SEED)
    files = (encode_jpeg(render(scene, size, SEED, at)) for at, scene in enumerate(scenes))
    return rates(scenes, (np.asarray(Image.open(io.BytesIO(file))) for file in files))


def rates(scenes: Sequence[Scene], pictures: Iterable[np.ndarray]) -> dict[str, float]:
    """Return how often the looker errs.

    Args:
        scenes: (N) what is there.
        pictures: (N) pixels of each, uint8.

    Returns:
        `wrong_shape`, `wrong_colour`, `wrong_size`, `wrong_place`: shares of the things; a thing is known by its place, and one
        that was not found has all of them wrong. `wrong_count`, `wrong_ground`, `wrong_texture`, `wrong_image` (anything
        wrong): shares of the images. `checked`: N.
    """
    found = [(scene, look(pixels).scene) for scene, pixels in zip(scenes, pictures, strict=True)]
    things = [pair for scene, seen in found for pair in paired(scene, seen)]
    shares = {f"wrong_{name}": sum(getattr(a, name) != getattr(b, name, None) for a, b in things) for name in ATTRIBUTES}
    of_images = {
        "wrong_count": sum(len(scene.things) != len(seen.things) for scene, seen in found),
        "wrong_ground": sum(scene.ground != seen.ground for scene, seen in found),
        "wrong_texture": sum(scene.texture != seen.texture for scene, seen in found),
        "wrong_image": sum(as_set(scene) != as_set(seen) for scene, seen in found),
    }
    rated = {name: count / max(len(things), 1) for name, count in shares.items()}
    return rated | {name: count / len(found) for name, count in of_images.items()} | {"checked": float(len(found))}


def paired(scene: Scene, seen: Scene) -> list[tuple[object, object | None]]:
    """Pair each thing with the thing seen at its place, or with None."""
    there = {thing.place: thing for thing in seen.things}
    return [(thing, there.get(thing.place)) for thing in scene.things]


def as_set(scene: Scene) -> tuple[object, ...]:
    """Return a scene without the order of its things."""
    things = sorted((thing.colour, thing.shape, thing.size, thing.place) for thing in scene.things)
    return (*things, scene.ground, scene.texture)
