"""`recap-train clip` against its limit and against open_clip's own trainer: one tiny model, the same shards, in one run.

    python -m benchmarks.train_clip                 all rounds, about twenty minutes on two cores; needs the machine alone
    python -m benchmarks.train_clip --rounds 1 --no-peer

ViT of 64 px (patch 8, 4 layers, width 128) and a text tower of 64 tokens (4 layers, width 128), 8 M parameters, batch 256, in
bf16; 6,400 JPEGs of 256 px in 16 shards. KEY.txt is a caption of 49 words, the recaptions' length in the paper, so that hardly
any padding is left to trim and both trainers do the same work. The limit is our own step (forward, backward, AdamW) on
batches that lie in memory. Ours trains from the shards ("streaming") and from a set that was prepared of them once, at 72 px
("prepared"; what that costs is in benchmarks/prepared.py). Samples a second of wall time once a run is under way: the limit
and open_clip after three steps, ours over the second half of its steps, as its log says (the first half holds the first sight
of every text); beside it what a whole run makes, its start and its last checkpoint included. The cases in turn, medians of the
rounds.

open_clip's trainer wants webdataset <= 0.2.86: it runs in an environment of its own, made here, that borrows everything else.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import venv
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.clip_eval import SENTENCE, photo
from recap_train.loop import LOG, LOG_EVERY

SHARDS, IN_SHARD, BATCH, WARM = 16, 400, 256, 3
WAITING = f", share of {LOG_EVERY} steps spent waiting for data, "
MODEL = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": 64, "layers": 4, "width": 128, "head_width": 32, "patch_size": 8},
    "text_cfg": {"context_length": 64, "vocab_size": 49408, "width": 128, "heads": 4, "layers": 4},
}
RECIPE = {
    "model_cfg": MODEL,
    "preprocess_cfg": {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711]},
    "tokenizer": "open_clip",
    "train": {"batch_size": BATCH, "lr": 1e-3, "warmup": 0.1, "crop_min_area": 0.9},
}
THEIRS = """
import sys, open_clip
open_clip.add_model_config(sys.argv[1])
from open_clip_train.main import main
main(sys.argv[2:])
"""
STAMP = re.compile(r"^(\d{4}-\d\d-\d\d,\d\d:\d\d:\d\d) \| INFO \| Train Epoch: \d+ \[ *(\d+)/")


def write_shards(folder: Path) -> None:
    """Write the shards: KEY.jpg, KEY.txt of 49 words, KEY.json with an alt-text of 10."""
    rng = np.random.default_rng(0)
    photos = [photo(rng, 256, 256) for _ in range(200)]  # decoding does not know that they come again
    for shard in range(SHARDS):
        with tarfile.open(folder / f"{shard:05d}.tar", "w") as tar:
            for row in range(IN_SHARD):
                number = shard * IN_SHARD + row
                short, long = (" ".join(rng.choice(SENTENCE.split(), n)) for n in (10, 49))
                parts = {".jpg": photos[number % 200], ".txt": long.encode(), ".json": json.dumps({"alt": short}).encode()}
                for suffix, payload in parts.items():
                    info = tarfile.TarInfo(f"{number:09d}{suffix}")
                    info.size = len(payload)
                    tar.addfile(info, io.BytesIO(payload))


def peer_python(folder: Path) -> str:
    """Make an environment with an old webdataset before everything that this one has; returns its interpreter."""
    place = folder / "peer"
    venv.create(place, with_pip=False, symlinks=True)
    python = place / "bin" / "python"
    inside = next((place / "lib").glob("python*")) / "site-packages"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(inside), "webdataset==0.2.86"]
    subprocess.run(install, check=True)
    borrowed = [path for path in sys.path if path.endswith("site-packages")]
    (inside / "borrowed.pth").write_text("\n".join(borrowed) + "\n")
    return str(python)


def theirs(folder: Path, python: str, steps: int) -> float:
    """Return samples a second of open_clip's trainer, from its log's time stamps after the first steps."""
    (folder / "model").mkdir(exist_ok=True)
    (folder / "model" / "bench-tiny.json").write_text(json.dumps(MODEL))
    logs = folder / "theirs"
    shutil.rmtree(logs, ignore_errors=True)
    size = SHARDS * IN_SHARD
    epochs = max(1, steps * BATCH // size)
    given = ["--train-data", f"{folder}/shards/{{00000..{SHARDS - 1:05d}}}.tar", "--dataset-type", "webdataset"]
    given += ["--train-num-samples", str(size), "--model", "bench-tiny", "--precision", "amp_bf16", "--workers", "1"]
    given += ["--batch-size", str(BATCH), "--epochs", str(epochs), "--logs", str(logs), "--name", "run", "--warmup", "5"]
    given += ["--log-every-n-steps", "1", "--device", "cpu", "--save-frequency", "0", "--lr", "1e-3"]
    done = subprocess.run([python, "-c", THEIRS, str(folder / "model"), *given], capture_output=True, text=True)
    found = [STAMP.match(line) for line in (done.stdout + done.stderr).splitlines()]
    times = [datetime.strptime(match[1], "%Y-%m-%d,%H:%M:%S").timestamp() for match in found if match]  # noqa: DTZ007
    if done.returncode or len(times) < WARM + 2:
        raise SystemExit(f"open_clip's trainer failed:\n{(done.stdout + done.stderr)[-3000:]}")
    return BATCH * (len(times) - 1 - WARM) / (times[-1] - times[WARM])


def words(folder: Path, out: Path, steps: int, data: str = "shards") -> list[str]:
    """Return the command that trains on the recaptions, from the shards or from what was prepared of them."""
    given = ["clip", "--data", str(folder / data), "--model", str(folder / "bench-tiny.json"), "--p-original", "0"]
    given += ["--original-key", "json:alt", "--recaption-key", "txt", "--samples-seen", str(steps * BATCH)]
    return [*given, "--precision", "bf16", "--no-eval", "--json", "--out", str(out)]


def ours(folder: Path, steps: int, data: str = "shards") -> dict[str, float]:
    """Return samples a second of `recap-train clip` over its last `steps` steps and over all, and its waits for data."""
    (folder / "bench-tiny.json").write_text(json.dumps(RECIPE))
    out = folder / "ours"
    shutil.rmtree(out, ignore_errors=True)
    done = subprocess.run(
        [sys.executable, "-m", "recap_train.cli", *words(folder, out, 2 * steps, data)], capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"recap-train clip failed:\n{done.stderr[-3000:]}")
    log = [json.loads(line) for line in (out / LOG).read_text().splitlines()]
    late = [entry for entry in log if entry["step"] > steps]
    seconds = sum(BATCH * LOG_EVERY / entry["samples_per_second"] for entry in late)
    name = "streaming" if data == "shards" else data
    whole = json.loads(done.stdout.splitlines()[-1])["run"]["samples_per_second"]
    waited = {f"{name}{WAITING}{half}": log[place]["data_wait_share"] for half, place in (("first", 0), ("last", -1))}
    return {name: BATCH * LOG_EVERY * len(late) / seconds, f"{name}, whole run": whole} | waited


def limit(folder: Path, steps: int) -> float:
    """Return samples a second of our own step on batches that lie in memory, in a process of its own."""
    again = [sys.executable, "-m", "benchmarks.train_clip", "--limit-of", str(folder), "--steps", str(steps)]
    done = subprocess.run(again, capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def measure_limit(folder: Path, steps: int) -> float:
    """Take steps on eight batches that lie in memory, after some that do not count."""
    import torch

    from recap_eval.memory import keep_freed_memory
    from recap_train import attention, cli, clip, training_data
    from recap_train.parallel import World

    keep_freed_memory()  # as `recap-train clip` does
    (folder / "bench-tiny.json").write_text(json.dumps(RECIPE))
    (run,) = cli._runs(cli.build_parser().parse_args(words(folder, folder / "limit", steps)))
    data = training_data.read_training_data(run)
    model, tokenizer, _ = clip.build_model(run, training_data.some_captions(data))
    feed = data.feed(run, training_data.plan_of(run, data), tokenizer)
    loop = clip.make_loop(run, model, feed, "limit", World())
    batches = [feed.batch(number * BATCH, (number + 1) * BATCH) for number in range(8)]
    with attention.plain_attention():
        for step in range(WARM):
            loop._step(step, batches[step % 8])
        start = time.perf_counter()
        for step in range(steps):
            loop._step(step, batches[step % 8])
    assert torch.isfinite(next(iter(loop.spread.module.parameters()))).all()
    return steps * BATCH / (time.perf_counter() - start)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=LOG_EVERY, help=f"a multiple of {LOG_EVERY}, as often as a run logs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-peer", action="store_true", help="leave open_clip's trainer out")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--limit-of", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.steps < 1 or args.steps % LOG_EVERY:
        parser.error(f"--steps is a multiple of {LOG_EVERY}")
    if args.limit_of:
        print(measure_limit(args.limit_of, args.steps))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "shards").mkdir()
        write_shards(folder / "shards")
        prepare = ["prepare", "--data", str(folder / "shards"), "--size", "72", "--out", str(folder / "prepared")]
        subprocess.run([sys.executable, "-m", "recap_train.cli", *prepare], check=True, stdout=sys.stderr)
        cases: dict[str, Callable[[], dict[str, float]]] = {"limit": lambda: {"limit": limit(folder, args.steps)}}
        cases["streaming"] = lambda: ours(folder, args.steps)
        cases["prepared"] = lambda: ours(folder, args.steps, "prepared")
        if not args.no_peer:
            python = peer_python(folder)
            cases["open_clip"] = lambda: {"open_clip": theirs(folder, python, args.steps)}
        found: dict[str, list[float]] = defaultdict(list)
        for number in range(args.rounds):
            for case in cases.values():
                for name, rate in case().items():
                    found[name].append(rate)
                    print(f"round {number + 1}  {name:<42} {rate:8.4g}", file=sys.stderr, flush=True)
    tell(found, args.json)


def tell(found: dict[str, list[float]], as_json: bool) -> None:
    """Print medians and ratios, each ratio the median of the rounds'."""
    rates = [name for name in found if WAITING not in name]
    out: dict[str, Any] = {f"{name}, samples/s": statistics.median(found[name]) for name in rates}
    out |= {name: statistics.median(found[name]) for name in found if name not in rates}
    for name in (name for name in rates if name.startswith(("streaming", "prepared"))):
        for over in found.keys() & {"limit", "open_clip"}:
            ratios = [a / b for a, b in zip(found[name], found[over], strict=True)]
            out[f"{name} / {over}"] = statistics.median(ratios)
            out[f"{name} / {over}, each round"] = [round(ratio, 3) for ratio in ratios]
    for key, value in out.items():
        print(f"{key:<44} {value if isinstance(value, list) else format(value, '.4g')}", file=sys.stderr)
    if as_json:
        print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
