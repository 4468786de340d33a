"""Training steps on one GPU: images a second and MFU, beside what facebookresearch/DiT and open_clip make of the same sizes.

    python -m benchmarks.gpu_steps --peer DiT        DiT is a checkout of github.com/facebookresearch/DiT, which wants timm
    python -m benchmarks.gpu_steps --only dit-b4 --steps 5 --batch 2 --device cpu       to see that it runs

DiT: latents of 32 x 32 x 4, batches that lie in memory; ours has cross-attention on 77 text tokens more, theirs a network of
time a block and a class. Theirs runs as its train.py does (fp32 with TF32, its own EMA), and under bf16 autocast. CLIP:
recap-clip-b16 at 112 px with 128 text tokens; the peer is open_clip's model, loss and AdamW under its amp_bf16. Each case by
itself, after warm steps; operations are counted by torch. MFU is of the device's dense bf16 peak, for TF32, too.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from recap_eval.hashrand import text_key
from recap_train import clip
from recap_train.diffusion import run as diffusion
from recap_train.diffusion.autoencoder import Autoencoder
from recap_train.diffusion.encoded import Encoded, Encoders
from recap_train.diffusion.recipe import load_image_recipe
from recap_train.engine import Engine
from recap_train.gpus import peak_of
from recap_train.ledger import Ledger
from recap_train.loader import Batch
from recap_train.mixing import Mix
from recap_train.parallel import World
from recap_train.recipes import load_recipe
from recap_train.run import Run
from recap_train.stages import Changes, resolve

TOKENS, WIDTH, CLASSES, WARM = 77, 768, 1000, 4
BATCHES = {"dit-b4": 256, "dit-l2": 64, "recap-clip-b16": 1024}
Step = Callable[[], Any]


def timed(step: Step, steps: int, device: str) -> float:
    """Return seconds a step."""
    for _ in range(WARM):
        step()
    settle(device)
    begun = time.perf_counter()
    for _ in range(steps):
        step()
    settle(device)
    return (time.perf_counter() - begun) / steps


def settle(device: str) -> None:
    """Wait for the device."""
    if device != "cpu":
        torch.cuda.synchronize()


def counted(forward: Step) -> float:
    """Return the operations of a step, of which the forward pass is a third."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        forward()
    return 3.0 * counter.get_total_flops()


def keys_of(size: int) -> np.ndarray:
    """Return the keys of some samples."""
    return np.array([text_key(str(number)) for number in range(size)], dtype=np.uint64)


def our_dit(name: str, size: int, device: str, compiled: bool) -> tuple[Step, float]:
    """Return our step on encoded batches in memory, and its operations."""
    engine = Engine(device=device, ema=0.9999, compile=compiled)
    recipe = load_image_recipe(name, "dit")
    run = Run(Path(), recipe, Mix(0.5), 10**10, 0, Path(tempfile.mkdtemp()), "x", {}, "bf16", False, engine)
    vae: Any = SimpleNamespace(config=SimpleNamespace(scaling_factor=0.18215))
    text: Any = SimpleNamespace(width=WIDTH)
    encoders = Encoders(Autoencoder(vae, ""), text, device)
    loop = diffusion.make_loop(run, encoders, None, "x", World(device=device))  # type: ignore[arg-type]
    moments = torch.randn(size, 8, 32, 32, dtype=torch.float16)
    states = torch.randn(size, TOKENS, WIDTH, dtype=torch.float16)
    present = torch.arange(TOKENS)[None] < torch.randint(8, TOKENS + 1, (size, 1))
    batch = Encoded(moments, states, present, keys_of(size), np.zeros(size, dtype=np.int64), Ledger())
    flops = loop.objective.flops(batch) * size
    return lambda: loop._step(0, batch), flops


def their_dit(name: str, size: int, device: str, bf16: bool) -> tuple[Step, float]:
    """Return the step of facebookresearch/DiT's train.py on latents in memory, and its operations."""
    import train as peer
    from diffusion import create_diffusion
    from models import DiT_models

    size_name, patch = name.removeprefix("dit-")[:-1].upper(), name[-1]
    model = DiT_models[f"DiT-{size_name}/{patch}"](input_size=32, num_classes=CLASSES).to(device).train()
    average = deepcopy(model).eval()
    peer.requires_grad(average, False)
    process = create_diffusion(timestep_respacing="")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    latents = torch.randn(size, 4, 32, 32, device=device)
    classes = torch.randint(0, CLASSES, (size,), device=device)

    def losses() -> torch.Tensor:
        times = torch.randint(0, process.num_timesteps, (size,), device=device)
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            found: torch.Tensor = process.training_losses(model, latents, times, {"y": classes})["loss"].mean()
        return found

    def step() -> float:
        loss = losses()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        peer.update_ema(average, model)
        return loss.item()

    return step, counted(losses)


def our_clip(name: str, size: int, device: str, compiled: bool) -> tuple[Step, float]:
    """Return our step of CLIP on batches in memory, and its operations."""
    recipe = resolve(load_recipe(name), ["1"], Changes(batch_size=size))[0]
    engine = Engine(device=device, compile=compiled)
    run = Run(Path(), recipe, Mix(0.5), 10**10, 0, Path(tempfile.mkdtemp()), "x", {}, "bf16", False, engine)
    model, batch = open_clip_model(recipe), clip_batch(recipe, size)
    loop = clip.make_loop(run, model, None, "x", World(device=device))  # type: ignore[arg-type]
    flops = loop.objective.flops(batch) * size
    return lambda: loop._step(0, batch), flops


def open_clip_model(recipe: Any) -> Any:
    """Return the recipe's model with random weights."""
    import open_clip

    config = deepcopy(recipe.model_cfg)
    kind = open_clip.CustomTextCLIP if config.pop("custom_text", False) else open_clip.CLIP
    return kind(**config)


def clip_batch(recipe: Any, size: int) -> Batch:
    """Return random pixels, and captions that fill the context."""
    side, text = recipe.model_cfg["vision_cfg"]["image_size"], recipe.model_cfg["text_cfg"]
    tokens = torch.randint(5, 1000, (size, text["context_length"]))
    pixels = torch.randint(0, 256, (size, 3, side, side), dtype=torch.uint8)
    return Batch(pixels, tokens, Ledger(), keys_of(size), np.zeros(size, dtype=np.int64))


def their_clip(name: str, size: int, device: str) -> tuple[Step, float]:
    """Return a step as open_clip's trainer takes it (amp_bf16), and its operations."""
    import open_clip

    recipe = resolve(load_recipe(name), ["1"], Changes(batch_size=size))[0]
    model, batch = open_clip_model(recipe).to(device).train(), clip_batch(recipe, size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    loss_of = open_clip.ClipLoss()
    pixels, tokens = batch.pixels.to(device).float() / 255, batch.tokens.to(device)

    def losses() -> torch.Tensor:
        with torch.autocast(device, torch.bfloat16):
            image, text, scale = model(pixels, tokens)[:3]
            found: torch.Tensor = loss_of(image, text, scale)
        return found

    def step() -> float:
        optimizer.zero_grad()
        loss = losses()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step, counted(losses)


def cases(name: str, size: int, device: str, peer: bool) -> dict[str, Callable[[], tuple[Step, float]]]:
    """Return what is compared under one name, each to be made when its turn comes."""
    ours = our_clip if name.startswith("recap-clip") else our_dit
    found: dict[str, Callable[[], tuple[Step, float]]] = {
        "ours": lambda: ours(name, size, device, False),
        "ours, --compile": lambda: ours(name, size, device, True),
    }
    if ours is our_clip:
        return found | {"open_clip, amp_bf16": lambda: their_clip(name, size, device)}
    theirs: dict[str, Callable[[], tuple[Step, float]]] = {
        "DiT's train.py, TF32": lambda: their_dit(name, size, device, False),
        "DiT's train.py, bf16": lambda: their_dit(name, size, device, True),
    }
    return found | (theirs if peer else {})


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", metavar="DIR", help="a checkout of facebookresearch/DiT")
    parser.add_argument("--only", choices=tuple(BATCHES), nargs="+", default=list(BATCHES))
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--batch", type=int, help="samples a step (default: by model)")
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()
    sys.path[:0] = [args.peer] if args.peer else []
    known = torch.cuda.get_device_name() if args.device != "cpu" else "cpu"
    peak = peak_of(known, "bf16")
    print(f"{known}, torch {torch.__version__}, {args.steps} steps a case, MFU of {peak} TFLOP/s")
    for name in args.only:
        size = args.batch or BATCHES[name]
        for case, make in cases(name, size, args.device, args.peer is not None).items():
            torch.set_float32_matmul_precision("highest")
            step, flops = make()
            seconds = timed(step, args.steps, args.device)
            memory = torch.cuda.max_memory_allocated() / 2**30 if args.device != "cpu" else 0.0
            mfu = f", MFU {flops / seconds / peak / 1e12:.1%}" if peak else ""
            speed = f"{size / seconds:9.1f} images/s, {flops / size / 1e9:6.1f} GFLOPs an image"
            print(f"{name:<15} batch {size:<5} {case:<22} {speed}{mfu}, {memory:.1f} GiB", flush=True)
            del step
            gc.collect()
            torch._dynamo.reset()
            if args.device != "cpu":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()


if __name__ == "__main__":
    main()
