"""How well each metric of generated images ranks sets by their truth: scenes made worse by known degrees.

    python -m benchmarks.truth --clip runs/scenes-clip --out build/truth       some fifteen minutes on one core
    python -m benchmarks.truth --clip runs/scenes-clip --out build/truth --n 64 --seeds 1
    python -m benchmarks.truth --out build/truth --render                      tables and plot of what was measured

The CLIP is trained on scenes, say by `recap-train clip --data scenes --model scenes-tiny --p-original 0 --samples-seen 60000`.
Scenes are the first of the test split of preset v1 with two things or more, prompts their long captions, the reference as many
other real scenes (validation split). Each set is made worse in one way (`corruptions.py`) at five grades, with each seed.
Truth is the share of the prompt's claims that hold in the scene that was drawn, so it needs no looking; "looker" is the same
share as `t2i --metrics scenes-truth` finds it in the picture. A set is a line of sets.jsonl, and what is there is not measured
again. Distances are turned round: a correlation of 1 is a metric that ranks as the truth does.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.corruptions import FAMILIES, Family
from benchmarks.truth_report import CLEAN, TRUTH, write_report
from recap_eval.console import progress_bar
from recap_eval.data.items import ImageItem
from recap_eval.data.scenes import language
from recap_eval.data.scenes.claims import Claims, claims
from recap_eval.data.scenes.look import look
from recap_eval.data.scenes.render import render
from recap_eval.data.scenes.verdict import held_against
from recap_eval.data.scenes.world import Scene, draw_scenes
from recap_eval.embed import Embedder
from recap_eval.hashrand import Draws, permute_array, text_key
from recap_eval.metrics.moments import Moments
from recap_eval.tasks.base import Scores
from recap_eval.tasks.generation import Features, Real, clip_scores, frechet, kernel, mean_discrepancy, neighbours

SIZE, SETS = 32, "sets.jsonl"


class Picture(ImageItem):
    """An image in memory."""

    def __init__(self, key: str, pixels: np.ndarray) -> None:
        from PIL import Image

        self._file = io.BytesIO()
        Image.fromarray(pixels).save(self._file, "PNG", compress_level=1)
        self.key, self.where = key, hashlib.sha256(self._file.getvalue()).hexdigest()  # embeddings are found again by it

    def read_image(self) -> bytes:
        """Return the picture as PNG."""
        return self._file.getvalue()


def several(split: str, n: int) -> list[Scene]:
    """Return the first n scenes of a split that have two things or more."""
    return [scene for scene in draw_scenes(split, 0, 2 * n, 0) if len(scene.things) > 1][:n]


def drawn(scenes: Sequence[Scene], *parts: int) -> list[np.ndarray]:
    """Return a picture of each scene."""
    return [render(scene, SIZE, *parts, at) for at, scene in enumerate(scenes)]


@dataclass(frozen=True)
class Bench:
    """What sets are measured with.

    Args:
        scenes: The true scenes.
        prompts: Their captions.
        told: The claims of these.
        embedder: The CLIP.
        real: Features of the reference, by extractor.
    """

    scenes: list[Scene]
    prompts: list[str]
    told: list[Claims]
    embedder: Embedder
    real: dict[str, Real]


def extracted(embedder: Embedder, pictures: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Return features of pictures by extractor: the CLIP, a fixed random network, pixels at 8 x 8."""
    import torch

    stack = np.stack(pictures).astype(np.float32)
    pixels = stack.reshape(len(stack), 8, 4, 8, 4, 3).mean(axis=(2, 4)).reshape(len(stack), -1)
    generator = torch.Generator().manual_seed(0)
    shown = torch.from_numpy(stack).permute(0, 3, 1, 2) / 128 - 1
    for wide, deep in ((3, 32), (32, 64), (64, 128)):
        weight = torch.randn(deep, wide, 3, 3, generator=generator) * (2 / (9 * wide)) ** 0.5
        shown = torch.relu(torch.nn.functional.conv2d(shown, weight, stride=2, padding=1))
    items = [Picture(str(at), picture) for at, picture in enumerate(pictures)]
    return {"CLIP": embedder.images(items).vectors.numpy(), "random net": shown.mean(dim=(2, 3)).numpy(), "pixels": pixels}


def prepare(clip: str, n: int) -> Bench:
    """Return the bench."""
    from recap_eval.models.base import Loading
    from recap_eval.models.loading import load

    scenes = several("test", n)
    prompts = [language.long_caption(scene, Draws(0, at, text_key("long"))) for at, scene in enumerate(scenes)]
    embedder = Embedder(load(clip, Loading("fp32", "cpu")), progress=False)
    rows = extracted(embedder, drawn(several("val", n), text_key("reference")))
    real = {name: Real(Moments.of(found).statistics({}), found) for name, found in rows.items()}
    return Bench(scenes, prompts, [claims(prompt) for prompt in prompts], embedder, real)


def corrupted(bench: Bench, name: str, grade: float, seed: int) -> tuple[list[Scene], list[np.ndarray]]:
    """Return the scenes of a set, and their pictures."""
    family = FAMILIES.get(name, Family(()))
    of = partial(Draws, seed, text_key(name), int(grade * 1000))
    scenes = list(bench.scenes)
    if family.scene is not None:
        scenes = [family.scene(scene, grade, of(at)) for at, scene in enumerate(scenes)]
    if family.shuffle:
        moved = permute_array(np.arange(len(scenes)), len(scenes), seed, text_key("moved"))[: round(grade * len(scenes))]
        for to, come in zip(moved, np.roll(moved, 1), strict=True):
            scenes[to] = bench.scenes[come]
    pictures = drawn(scenes, seed, text_key("set"))
    if family.pixels is not None:
        pictures = [family.pixels(picture, grade, of(at if name != "palette" else 0)) for at, picture in enumerate(pictures)]
    return scenes, pictures


def measured(bench: Bench, name: str, grade: float, seed: int) -> dict[str, Any]:
    """Return a set's truth and what every metric says of it."""
    scenes, pictures = corrupted(bench, name, grade, seed)
    keys = [str(at) for at in range(len(scenes))]
    known = [held_against(told, scene) for told, scene in zip(bench.told, scenes, strict=True)]
    seen = [held_against(told, look(picture).scene) for told, picture in zip(bench.told, pictures, strict=True)]
    found = {TRUTH: [one.truth for one in known], "looker": [one.truth for one in seen]}
    values = {key: float(np.mean(shares)) for key, shares in found.items()}
    values["looker, all true"] = float(np.mean([bool(one.all_true) for one in seen]))
    items = [Picture(key, picture) for key, picture in zip(keys, pictures, strict=True)]
    scores = clip_scores(bench.embedder, items, bench.prompts, keys).metrics
    values |= {
        "CLIP score": float(scores["clip_score"].values.mean()),
        "R-precision": float(scores["r_precision"].values.mean()),
    }
    for extractor, rows in extracted(bench.embedder, pictures).items():
        ours, real = Features(keys, rows, keys), bench.real[extractor]
        values[f"FD, {extractor}"] = value_of(frechet(ours, real, {}), "fd")
        if extractor == "CLIP":
            values["KID, CLIP"] = value_of(kernel(ours, real, {}), "kid")
            values["CMMD, CLIP"] = value_of(mean_discrepancy(ours, real, {}), "cmmd")
            near = neighbours(ours, real, {})
            values |= {f"{part}, CLIP": value_of(near, part) for part in ("precision", "recall", "density", "coverage")}
    return {"family": name, "grade": grade, "seed": seed, "n": len(scenes), "values": values}


def value_of(scores: Scores, name: str) -> float:
    """Return a metric's value."""
    return float(scores.corpus[name] if name in scores.corpus else scores.metrics[name].values.mean())


def plan(seeds: int) -> list[tuple[str, float, int]]:
    """Return all sets: the clean ones, and every family at every grade."""
    ways = [(CLEAN, 0.0), *((name, grade) for name, family in FAMILIES.items() for grade in family.grades)]
    return [(name, grade, seed) for seed in range(seeds) for name, grade in ways]


def read_sets(out: Path, n: int | None = None) -> list[dict[str, Any]]:
    """Return the sets measured so far, of n images if n is given."""
    path = out / SETS
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
    return [row for row in rows if n is None or row["n"] == n]


def main() -> None:
    """Measure what is missing, and render."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clip", help="a CLIP trained on scenes")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--render", action="store_true", help="measure nothing")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    done = {(row["family"], row["grade"], row["seed"]) for row in read_sets(args.out, args.n)}
    left = [] if args.render else [one for one in plan(args.seeds) if one not in done]
    if left:
        if args.clip is None:
            sys.exit("error: no CLIP to measure with.\n       Name one: --clip runs/scenes-clip")
        bench = prepare(args.clip, args.n)
        with progress_bar(len(left), "sets", "set") as bar, (args.out / SETS).open("a") as stream:
            for one in left:
                stream.write(json.dumps(measured(bench, *one)) + "\n")
                stream.flush()
                bar.update(1)
    print(write_report(read_sets(args.out, args.n), args.out))


if __name__ == "__main__":
    main()
