"""How often the looker errs, on clean and on damaged scenes, at every size; what it takes for what; how fast it is.

    python -m benchmarks.looker                 some minutes on one core
    python -m benchmarks.looker --n 100

Scenes are the first of the test split of preset v1, saved as the world saves them, then damaged in the way and to the degree
named. Blur is in pixels of a 32 px picture at every size.
"""

from __future__ import annotations

import argparse
import io
import time
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.corruptions import blurred, compressed, noisy, tinted
from recap_eval.data.scenes.look import look
from recap_eval.data.scenes.look_errors import paired, rates
from recap_eval.data.scenes.render import RESOLUTIONS, encode_jpeg, render
from recap_eval.data.scenes.world import COLOURS, SHAPES, SIZES, Scene, draw_scenes
from recap_eval.hashrand import Draws, text_key

DAMAGE: dict[str, Callable[[np.ndarray, int, Draws], np.ndarray]] = {
    "as saved": lambda pixels, size, draws: pixels,
    "blur 0.5": lambda pixels, size, draws: blurred(pixels, 0.5 * size / 32, draws),
    "blur 0.8": lambda pixels, size, draws: blurred(pixels, 0.8 * size / 32, draws),
    "noise 10": lambda pixels, size, draws: noisy(pixels, 10, draws),
    "noise 20": lambda pixels, size, draws: noisy(pixels, 20, draws),
    "JPEG 75, 4:2:0": lambda pixels, size, draws: compressed(pixels, 75, draws),
    "palette 15": lambda pixels, size, draws: tinted(pixels, 15, draws),
    "palette 25": lambda pixels, size, draws: tinted(pixels, 25, draws),
}
COLUMNS = ("shape", "colour", "size", "place", "count", "ground", "texture", "image")
NAMES = {"colour": COLOURS, "shape": SHAPES, "size": SIZES}


def pictures(scenes: Sequence[Scene], size: int, way: str) -> list[np.ndarray]:
    """Return pictures of scenes, saved as JPEG and damaged."""
    from PIL import Image

    files = [encode_jpeg(render(scene, size, 0, text_key("test"), at)) for at, scene in enumerate(scenes)]
    opened = [np.asarray(Image.open(io.BytesIO(file))) for file in files]
    return [DAMAGE[way](pixels, size, Draws(at, text_key(way))) for at, pixels in enumerate(opened)]


def confusions(scenes: Sequence[Scene], shown: Sequence[np.ndarray]) -> list[str]:
    """Return what was taken for what, the commonest first."""
    counts: Counter[str] = Counter()
    for scene, pixels in zip(scenes, shown, strict=True):
        for thing, seen in paired(scene, look(pixels).scene):
            for name, names in NAMES.items():
                told, found = getattr(thing, name), getattr(seen, name, None)
                if found not in (None, told):
                    counts[f"{names[told]} as {names[found] if found >= 0 else 'unknown'}"] += 1
    return [f"{name} {count}" for name, count in counts.most_common(6)]


def main() -> None:
    """Print error rates in percent as a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=1000)
    args = parser.parse_args()
    scenes = draw_scenes("test", 0, args.n, 0)
    print(f"| px | damage | {' | '.join(COLUMNS)} | images/s | taken for what |\n|{'---|' * (len(COLUMNS) + 4)}")
    for size in RESOLUTIONS:
        some = scenes if size <= 64 else scenes[: max(1, args.n // 4)]
        for way in DAMAGE:
            shown = pictures(some, size, way)
            look(shown[0])
            start = time.perf_counter()
            found = rates(some, shown)
            speed = len(some) / (time.perf_counter() - start)
            cells = " | ".join(f"{100 * found[f'wrong_{name}']:.2f}" for name in COLUMNS)
            print(f"| {size} | {way} | {cells} | {speed:.0f} | {', '.join(confusions(some, shown))} |", flush=True)


if __name__ == "__main__":
    main()
