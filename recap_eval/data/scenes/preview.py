"""A few scenes in memory, for looking at a model without any data."""

from __future__ import annotations

from recap_eval.data.scenes import language
from recap_eval.data.scenes.render import encode_jpeg, render
from recap_eval.data.scenes.world import draw_scenes
from recap_eval.hashrand import Draws, text_key

SIZE = 64  # pixels


def drawn(n: int, seed: int = 0) -> tuple[list[bytes], list[str]]:
    """Draw scenes of the validation split.

    Returns:
        n JPEGs, and a long faithful caption of each.
    """
    scenes = draw_scenes("val", 0, n, seed)
    images = [encode_jpeg(render(scene, SIZE, seed, text_key("preview"), index)) for index, scene in enumerate(scenes)]
    captions = [
        language.long_caption(scene, Draws(seed, text_key("preview"), index, text_key("long")))
        for index, scene in enumerate(scenes)
    ]
    return images, captions
