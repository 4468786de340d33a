"""What shared coins are worth: the spread of a difference between two mixes, with shared and with independent randomness.

    python -m benchmarks.coins                      8 seeds, two mixes, on small scenes; about four minutes on two cores

Runs of one seed share initial weights, order, coins and crops, so the difference of two mixes is taken within a seed. Had both
sides been drawn independently, the variance of their difference would be the sum of both variances, known from the same runs.
The ratio of the two variances is how many times fewer seeds give the same interval. With 8 seeds each variance is uncertain
itself, by a factor of about 2 either way (chi-squared on 7 degrees of freedom).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

METRICS = (("scenes-zeroshot", "acc1"), ("scenes-long", "i2t_r1"), ("scenes-long", "t2i_r1"), ("scenes-retrieval", "t2i_r1"))


def call(package: str, *words: object) -> str:
    """Run one of our commands on one core and return what it prints."""
    command = [sys.executable, "-m", f"{package}.cli", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-2000:]}")
    return done.stdout


def measure(place: tuple[float, int], folder: Path, samples: int) -> dict[str, float]:
    """Train a model at (p, seed) and return its last training loss and its metrics."""
    p, seed = place
    out = folder / f"p{p:g}-s{seed}"
    need = [
        "--data",
        folder / "scenes",
        "--recipe",
        "scenes-tiny",
        "--p-original",
        p,
        "--seed",
        seed,
        "--samples-seen",
        samples,
    ]
    call("recap_train", "clip", *need, "--out", out, "--no-eval", "--json")
    tasks = ",".join(dict.fromkeys(task for task, _ in METRICS))
    told = ["--model", out, "--data", folder / "scenes", "--tasks", tasks, "--out", folder / "lb", "--no-report", "--no-cache"]
    (outcome,) = json.loads(call("recap_eval", "clip", *told, "--json")).values()
    records: dict[str, Any] = {record["task"]["name"]: record["metrics"] for record in outcome["results"]}
    return {f"{task} {metric}": 100 * records[task][metric]["value"] for task, metric in METRICS}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--samples", type=int, default=12_800)
    parser.add_argument("--p", type=float, nargs=2, default=(0.5, 0.6))
    args = parser.parse_args()
    low, high = args.p
    places = [(p, seed) for seed in range(args.seeds) for p in (low, high)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        call("recap_eval", "scenes", folder / "scenes", "--n", 6000)
        with ThreadPoolExecutor(2) as pool:
            work = partial(measure, folder=folder, samples=args.samples)
            found = dict(zip(places, pool.map(work, places), strict=True))
    print(f"{args.seeds} seeds, {args.samples} samples, p = {high:g} minus p = {low:g}; figures x 100")
    print(f"{'':<26}{'difference':>11}{'SD shared':>11}{'SD independent':>16}{'seeds saved':>13}")
    for metric in found[places[0]]:
        one, two = ([found[p, seed][metric] for seed in range(args.seeds)] for p in (low, high))
        differences = [b - a for a, b in zip(one, two, strict=True)]
        shared, apart = statistics.variance(differences), statistics.variance(one) + statistics.variance(two)
        mean = statistics.mean(differences)
        print(f"{metric:<26}{mean:>11.2f}{shared**0.5:>11.2f}{apart**0.5:>16.2f}{apart / shared:>12.1f}x")


if __name__ == "__main__":
    main()
