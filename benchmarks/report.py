"""How long `recap-eval report` and `gallery` take, and how large their pages are, with many results and images.

    python -m benchmarks.report                        2,000 results, 1,000 images; needs the machine alone
    python -m benchmarks.report --results 200 --profile

Everything is drawn into a temporary folder: 20 sweeps of one training seed (differences are paired by item, which reads the
most), four of three seeds, and models without a mix, five tasks each, 1,000 images a task. No figure in them means anything.
"""

from __future__ import annotations

import argparse
import csv
import os
import pstats
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from recap_eval.data.items import DataId
from recap_eval.models.base import ModelId
from recap_eval.registry import choose_tasks
from recap_eval.results import identity, new_record, result_path, settings_of, write_result
from recap_eval.tasks.base import ItemScores, Scores, Task

PLACES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0)
SWEEPS = ((20, 1), (4, 3))  # how many of how many seeds
N, PIXELS = 1000, 256  # images a task, and their width in the gallery
RUN = {"command": "python -m benchmarks.report", "date": "2026-01-01T00:00:00Z", "seconds": 1.0}


def makers() -> Iterator[ModelId]:
    """Yield models without end: those of the sweeps, then models without a mix."""
    number = 0
    for sweeps, seeds in SWEEPS:
        for sweep in range(sweeps):
            facts = {"recipe": f"recipe-{seeds}-{sweep}", "samples_seen": 1000 * (sweep + 1), "precision": "bf16"}
            for seed in range(seeds):
                for place in PLACES:
                    number += 1
                    meta = facts | {"p_original": place, "seed": seed, "train_data": "f" * 64, "recipe_digest": "0" * 64}
                    yield ModelId(f"made-{number}", f"{number:064x}", meta, {"precision": "fp32"})
    while True:
        number += 1
        yield ModelId(f"made-{number}", f"{number:064x}", {}, {"precision": "fp32"})


def scores_of(task: Task, random: np.random.Generator) -> Scores:
    """Return right and wrong drawn by a coin, for captions of images where the metric asks for them."""
    skill, found = random.uniform(0.2, 0.8), {}
    keys = [f"{number:09d}" for number in range(N)]
    captions = 5 if task.name == "scenes-retrieval" else 1
    for metric in task.metrics:
        each = captions if metric.name.startswith("t2i") else 1
        owners = [key for key in keys for _ in range(each)]
        items = [f"{key}#{number}" for number, key in enumerate(owners)] if each > 1 else owners
        found[metric.name] = ItemScores(items, owners, (random.random(len(items)) < skill).astype(float))
    return Scores(found)


def write_results(root: Path, count: int) -> None:
    """Write so many results."""
    random, tasks, models = np.random.default_rng(0), choose_tasks("scenes"), makers()
    for number in range(count):
        task = tasks[number % len(tasks)]
        who = next(models) if number % len(tasks) == 0 else who  # noqa: F821
        data = DataId("scenes-v1", "test", "d" * 64, "made by a benchmark")
        settings, scores = settings_of(task, who, None), scores_of(task, random)
        path = result_path(root, task, who, identity(task, who, data, settings))
        write_result(path, new_record(task, who, data, settings, scores, {}) | {"run": RUN}, scores)


def write_images(folder: Path, count: int) -> Path:
    """Write images of noise and a list of them; returns the list."""
    random, listed = np.random.default_rng(1), folder.with_suffix(".csv")
    folder.mkdir()
    with listed.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["file", "prompt", "id"])
        for number in range(count):
            coarse = Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8))
            coarse.resize((PIXELS, PIXELS), Image.Resampling.BICUBIC).save(folder / f"{number}.jpg", quality=90)
            rows.writerow([f"{number}.jpg", f"a caption of image {number} with some words more", number])
    return listed


def keep_to(cores: int) -> None:
    """Keep this process on the first cores that it may use."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])


def timed(place: Path, *words: str, cores: int = 1) -> tuple[float, float]:
    """Run a command of ours on some cores; returns seconds by the clock, and of computing, which others do not lengthen."""
    environment, quiet = os.environ | {"OMP_NUM_THREADS": "1"}, subprocess.DEVNULL
    start, before = time.perf_counter(), os.times()
    subprocess.run(
        [sys.executable, *words], cwd=place, check=True, stdout=quiet, stderr=quiet, env=environment,
        preexec_fn=lambda: keep_to(cores),
    )  # fmt: skip
    after = os.times()
    used = after.children_user - before.children_user + after.children_system - before.children_system
    return time.perf_counter() - start, used


def say(what: str, place: Path, *words: str, cores: int = 1) -> None:
    """Run a command and print how long it took."""
    clock, used = timed(place, "-m", "recap_eval.cli", *words, cores=cores)
    print(f"{what}: {clock:.1f} s, {used:.1f} s of computing", flush=True)


def told(page: Path) -> str:
    """Say how large a page is, and how many of its images are read when they are seen."""
    text = page.read_text(encoding="utf-8")
    images = re.findall(r"<img\b[^>]*>", text)
    beside = page.with_name(f"{page.stem}_files")
    more = sum(path.stat().st_size for path in beside.glob("*")) if beside.is_dir() else 0
    lazy = sum('loading="lazy"' in image for image in images)
    size = f"{page.name}: {page.stat().st_size / 1e6:.2f} MB"
    return size + (f" and {more / 1e6:.1f} MB of images beside it" if more else "") + f", {lazy} of {len(images)} images lazy"


def main() -> None:
    """Draw, render, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=int, default=2000, metavar="N", help="how many results (default 2000)")
    parser.add_argument("--images", type=int, default=1000, metavar="N", help="how many images (default 1000)")
    parser.add_argument("--profile", action="store_true", help="say where the time of the report goes")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        write_results(place / "leaderboards", args.results)
        listed = write_images(place / "images", args.images)
        if args.profile:
            timed(place, "-m", "cProfile", "-o", "profile", "-m", "recap_eval.cli", "report")
            pstats.Stats(str(place / "profile")).sort_stats("cumulative").print_stats(60)
            return
        print(f"{args.results:,} results; on one core, where nothing else is said")
        say("recap-eval report, all boards, from nothing, on two cores", place, "report", cores=2)
        shutil.rmtree(place / "reports")
        say("recap-eval report, all boards, from nothing", place, "report")
        say("recap-eval report, again", place, "report")
        next(place.glob("leaderboards/results/*/*zeroshot*.json")).unlink()
        say("recap-eval report, after one result went", place, "report")
        say("recap-eval report --check", place, "report", "--check")
        print(told(place / "reports" / "clip.html"))
        words = ("gallery", "images", "--list", listed.name, "--n", str(args.images), "--out", "gallery.html")
        say(f"recap-eval gallery, {args.images:,} images", place, *words)
        print(told(place / "gallery.html"))


if __name__ == "__main__":
    main()
