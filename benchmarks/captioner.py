"""How fast scenes-tiny is trained whole by our own loop and by TRL's trainer: the same model, captions, batches and precision.

Each trains twice, the second time longer; the difference is told, so that starting does not count. Seconds of processor time,
so that other processes hardly matter.. Needs the extra `captioner`.

    python -m benchmarks.captioner --work build/captioner-bench
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from recap_eval.data.scenes.write import World, write_world
from recap_train.captioner import staged, whole
from recap_train.captioner.described import read_described
from recap_train.captioner.opening import open_llava
from recap_train.captioner.recipe import load_captioner_recipe
from recap_train.mixing import Mix
from recap_train.run import Run

SHORT, LONG, ROUNDS, KEY = 640, 1920, 3, "json:re_caption"
RECIPE = replace(load_captioner_recipe("scenes-tiny"))


def ours(world: Path, start: Path, out: Path, samples: int, precision: str) -> Any:
    """Train by our own loop."""
    run = Run(
        world,
        replace(RECIPE, stages={}),
        Mix(0.0),
        samples,
        0,
        out,
        "ours",
        dict.fromkeys(("original", "recaption"), KEY),
        precision,
        False,
    )
    return whole.train(run)


def trl(world: Path, start: Path, out: Path, samples: int, precision: str) -> Any:
    """Train by TRL's trainer, all parts."""
    train = RECIPE.train
    settings = RECIPE.stages["instruct"] | {
        name: train[name] for name in ("batch_size", "lr", "warmup", "betas", "weight_decay")
    }
    settings |= {"trains": ["projector", "language_model", "vision_tower"], "group": False}
    stage = staged.Stage(RECIPE, "instruct", settings, samples, 0, out, "trl", precision=precision)
    rows = read_described(world, KEY, RECIPE.model_cfg["prompt"])
    return staged.train(stage, rows, open_llava(str(start), None), {})


def seconds(train: Callable[..., Any], *where: Path, samples: int, precision: str) -> float:
    """Return the processor time of a training from nothing."""
    shutil.rmtree(where[-1], ignore_errors=True)
    start = time.process_time()
    train(*where, samples=samples, precision=precision)
    return time.process_time() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="a folder for its files")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    args = parser.parse_args()
    torch.set_num_threads(1)
    write_world(args.work / "scenes", World(n=2000, n_eval=1, recaption_error=0.0), workers=1)
    ours(args.work / "scenes", Path(), args.work / "start", 32, args.precision)
    rates: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for name, train in {"our own loop": ours, "TRL's trainer": trl}.items():
            where = (args.work / "scenes", args.work / "start", args.work / "out")
            short, long = (seconds(train, *where, samples=n, precision=args.precision) for n in (SHORT, LONG))
            rates.setdefault(name, []).append((LONG - SHORT) / (long - short))
    for name, values in rates.items():
        print(f"{name:<14} {median(values):6.0f} samples a second (min {min(values):.0f}, max {max(values):.0f})")


if __name__ == "__main__":
    main()
