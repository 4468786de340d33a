"""What training a diffusion transformer costs beside its own step: from a precomputed set, and encoded on the fly.

    python -m benchmarks.train_dit                  # scenes: a run's steps against the same steps on batches in memory
    python -m benchmarks.train_dit --full           # DiT-B/4 at 256 px, networks of the real size with random weights

The limit is the very step, forward, backward, optimiser and average, on encoded batches that lie in memory. Rounds alternate,
and beside wall time the process's own time is told, which others on the machine disturb less.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from recap_eval.data.scenes.write import World, write_world
from recap_eval.hashrand import text_key
from recap_train.attention import plain_attention
from recap_train.clip import train as train_clip
from recap_train.diffusion import run as diffusion
from recap_train.diffusion import vae
from recap_train.diffusion.autoencoder import Autoencoder
from recap_train.diffusion.encoded import Encoded, Encoders
from recap_train.diffusion.precompute import Encoding, precompute
from recap_train.diffusion.recipe import load_image_recipe
from recap_train.diffusion.text import ABSENT, TextEncoder
from recap_train.engine import Engine
from recap_train.ledger import Ledger
from recap_train.loader import Batch
from recap_train.loop import Loop
from recap_train.mixing import Mix
from recap_train.parallel import World as Processes
from recap_train.recipes import load_recipe
from recap_train.run import Run
from recap_train.training_data import declared_roles, plan_of

LENGTHS = (13, 62)  # tokens of an original caption and of a recaption


def clocked(work: Callable[[], None]) -> tuple[float, float]:
    """Return seconds of the clock and of the process that some work takes."""
    wall, own = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - own


def report(rates: dict[str, list[tuple[float, float]]], images: int, base: str) -> None:
    """Print images a second and their ratio to `base`, the median over rounds."""
    for name, times in rates.items():
        wall, own = (statistics.median(found) for found in zip(*times, strict=True))
        ratios = [[one[k] / other[k] for one, other in zip(rates[base], times, strict=True)] for k in (0, 1)]
        shares = " ".join(f"{statistics.median(found):.3f} ({min(found):.3f}-{max(found):.3f})" for found in ratios)
        print(f"{name:<16} {images / wall:8.2f} images/s, {images / own:8.2f} a CPU-second; of the limit {shares}")


def scenes(rounds: int, steps: int) -> None:
    """Compare a run on scenes, both ways, with its limit."""
    folder = Path(tempfile.mkdtemp(prefix="recap-bench-"))
    world = folder / "scenes"
    write_world(world, World(n=1500, n_eval=10))
    run = Run(
        world, load_recipe("scenes-tiny"), Mix(0.5), 256, 0, folder / "clip", "clip", declared_roles(world), "fp32", False
    )
    train_clip(run)
    coder = replace(
        run, recipe=load_image_recipe("vae-scenes", "autoencoder"), samples_seen=160, out=folder / "vae", name="vae"
    )
    vae.train(coder)
    parts = diffusion.Parts(str(folder / "vae"), str(folder / "clip"))
    recipe = load_image_recipe("dit-scenes", "dit")
    run = replace(run, recipe=recipe, mix=Mix(0.5, dropout=0.1), samples_seen=10**6, precision="bf16", engine=Engine(ema=0.999))
    encoders = diffusion.open_encoders(recipe, parts, "cpu")
    precompute(Encoding(replace(run, out=folder / "set"), encoders))
    loops = {}
    for name, data in (("precomputed", folder / "set"), ("on the fly", world)):
        one = replace(run, data=data, out=folder / name)
        found = diffusion.read_encoded(one, encoders)
        feed = found.feed(one, plan_of(one, found), encoders.text.tokens)
        loops[name] = diffusion.make_loop(one, encoders, feed, "x", Processes())
    size = recipe.train["batch_size"]
    kept = list(loops["precomputed"].batches(range(0, size * steps, size)))
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in ("limit", *loops)}
    with plain_attention():
        for number in range(rounds + 1):
            first = number * steps * size
            span = range(first, first + steps * size, size)
            told = {"limit": clocked(lambda: steps_of(loops["precomputed"], iter(kept)))}
            told |= {
                name: clocked(lambda loop=loop, span=span: steps_of(loop, loop.batches(span))) for name, loop in loops.items()
            }
            for name, times in told.items():
                rates[name] += [times] if number else []  # the first round warms up
    print(f"scenes, batches of {size}, {rounds} rounds of {steps} steps, {torch.get_num_threads()} threads, bf16")
    report(rates, steps * size, "limit")


def steps_of(loop: Loop, batches: Iterator[object]) -> None:
    """Take a step for each batch."""
    for number, batch in enumerate(batches):
        loop._step(number, batch)


def full(rounds: int, size: int) -> None:
    """Compare a step of DiT-B/4 on encoded batches with one that encodes its images and texts, by networks of the real size."""
    recipe = load_image_recipe("dit-b4", "dit")
    encoders = Encoders(Autoencoder(stable_diffusion_vae(), ""), clip_l())
    run = Run(Path(), recipe, Mix(0.5), 10**6, 0, Path(tempfile.mkdtemp()), "x", {}, "fp32", False, Engine(ema=0.9999))
    loop = diffusion.make_loop(run, encoders, None, "x", Processes())  # type: ignore[arg-type]
    keys = np.array([text_key(str(number)) for number in range(size)], dtype=np.uint64)
    tokens = torch.full((size, 77), ABSENT)
    for row in range(size):
        tokens[row, : LENGTHS[row % 2]] = 5
    pixels = torch.randint(0, 256, (size, 3, 256, 256), dtype=torch.uint8)
    raw = Batch(pixels, tokens, Ledger(seen=size), keys, np.zeros(size, dtype=np.int64))
    encoded: Encoded = encoders(raw)
    rates: dict[str, list[tuple[float, float]]] = {"limit": [], "on the fly": []}
    for number in range(rounds + 1):
        for name, batch in (("limit", encoded), ("on the fly", raw)):
            times = clocked(lambda batch=batch: steps_of(loop, iter([batch])))
            rates[name] += [times] if number else []
    print(f"DiT-B/4, 256 px, batches of {size}, {rounds} rounds, {torch.get_num_threads()} threads, fp32, random weights")
    report(rates, size, "limit")
    sizes = (encoded.moments[0].nbytes / 1024, sum(LENGTHS) * 768 * 2 / 1024)
    print(f"a precomputed sample: {sizes[0]:.0f} KiB of moments, {sizes[1]:.0f} KiB of states")


def stable_diffusion_vae() -> object:
    """Return an auto-encoder of Stable Diffusion's shape."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4, sample_size=256,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, scaling_factor=0.18215,
    ).eval()  # fmt: skip


def clip_l() -> TextEncoder:
    """Return a text encoder of CLIP ViT-L/14's shape."""
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=1000, hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
        bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    return TextEncoder(CLIPTextModel(config).eval(), type("T", (), {"pad_token_id": 1, "model_max_length": 77}), "")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=50, help="a round on scenes")
    parser.add_argument("--full", action="store_true", help="DiT-B/4 at 256 px")
    parser.add_argument("--batch", type=int, default=2, help="of --full")
    args = parser.parse_args()
    if args.full:
        full(args.rounds, args.batch)
    else:
        scenes(args.rounds, args.steps)


if __name__ == "__main__":
    main()
