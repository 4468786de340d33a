"""What a captioning run costs beside its engine: processor time a row of reading, spooling, marking and committing.

    python -m benchmarks.caption_run                 three shards of 10,000 images; a minute on one core
    python -m benchmarks.caption_run --shards 1 --rows 2000 --profile

The engine answers at once with a caption of 50 words, reading each image's bytes, so that all that remains is ours: walking the
tars, texts, requests, spool lines and their syncs, leases, flags, digests, parquet. Then `verify` reads everything again.
An image is 20 kB; KEY.json has the fields that img2dataset writes.
"""

from __future__ import annotations

import argparse
import cProfile
import io
import json
import pstats
import random
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

from recap_caption.engines.base import Keep, Reply, Request
from recap_caption.prompts.files import find_prompt
from recap_caption.run.opening import open_run
from recap_caption.run.proving import Proof
from recap_caption.run.record import Run, Wanted
from recap_caption.run.worker import Worker
from recap_caption.sources.base import Reading
from recap_eval.console import positive

IMAGE = b"\xff\xd8\xff" + bytes(20_000)
WORDS = 50
RATE = 100  # images a second of the engine that the share is told of


class Instant:
    """Answers at once."""

    name, model_id = "instant", "none"
    identity: dict[str, Any] = {"weights": "none"}  # noqa: RUF012
    about: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self) -> None:
        draw = random.Random(0)
        words = [f"word{number}" for number in range(5000)]
        self._captions = [" ".join(draw.choices(words, k=WORDS)) + "." for _ in range(997)]

    def caption(self, requests: Any, keep: Keep) -> None:
        """Answer requests."""
        for number, request in enumerate(requests):
            keep(request, self._answer(number, request))

    def _answer(self, number: int, request: Request) -> Reply:
        size = len(request.read_image()) if request.read_image else 0
        caption = f"{self._captions[number % 997]} {number}."
        return Reply("ok", caption, finish_reason="stop", n_prompt_tokens=size // 35, n_output_tokens=70, mean_logprob=-0.4)

    def close(self) -> None:
        """Nothing is held."""


def write(folder: Path, shards: int, rows: int) -> None:
    """Write shards as img2dataset does."""
    folder.mkdir(parents=True)
    for shard in range(shards):
        with tarfile.open(folder / f"{shard:05d}.tar", "w") as tar:
            for row in range(rows):
                key = f"{shard:05d}{row:04d}"
                facts = {
                    "url": f"https://example.com/{key}.jpg", "key": key, "status": "success", "error_message": None,
                    "width": 512, "height": 384, "original_width": 1024, "original_height": 768, "exif": "{}",
                    "sha256": f"{row:064x}", "org_caption": f"an alt text of some words {key}",
                }  # fmt: skip
                for ending, payload in ((".jpg", IMAGE), (".txt", b"an alt text"), (".json", json.dumps(facts).encode())):
                    info = tarfile.TarInfo(key + ending)
                    info.size = len(payload)
                    tar.addfile(info, io.BytesIO(payload))


def caption(folder: Path, out: Path) -> tuple[Run, float, float]:
    """Caption a folder; returns the run, its processor time and its wall time."""
    engine = Instant()
    wanted = Wanted((str(folder),), Reading("json:org_caption"), (find_prompt("paper").prompt,))
    run = open_run(out, wanted, engine, "bench")
    processor, wall = time.process_time(), time.perf_counter()
    Worker(run, engine, "bench").work()
    return run, time.process_time() - processor, time.perf_counter() - wall


def report(what: str, rows: int, processor: float, wall: float) -> None:
    """Print one line."""
    share = RATE * processor / rows
    print(
        f"{what:10s} {rows:,} rows: {1e6 * processor / rows:6.1f} us of processor a row, {rows / wall:8,.0f} rows/s"
        f"  ({share:.2%} of a core at {RATE} images/s)"
    )


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=positive, default=3)
    parser.add_argument("--rows", type=positive, default=10_000, help="images a shard")
    parser.add_argument("--profile", action="store_true", help="show where the time goes")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder, rows = Path(place) / "in", args.shards * args.rows
        write(folder, args.shards, args.rows)
        caption(folder, Path(place) / "warm") if args.rows * args.shards <= 30_000 else None
        profile = cProfile.Profile() if args.profile else None
        if profile:
            profile.enable()
        run, processor, wall = caption(folder, Path(place) / "out")
        if profile:
            profile.disable()
            pstats.Stats(profile).sort_stats("tottime").print_stats(25)
        report("captioning", rows, processor, wall)
        processor, wall = time.process_time(), time.perf_counter()
        proof = Proof(run)
        list(proof.check_parts())
        report("verify", rows, time.process_time() - processor, time.perf_counter() - wall)
        assert not proof.problems and not proof.missing, proof.problems


if __name__ == "__main__":
    main()
