"""From the words of a command to what a run is made of; what the training commands have in common."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from recap_eval.errors import UserError
from recap_train.engine import Engine

if TYPE_CHECKING:
    from recap_train.join import CaptionSource
    from recap_train.mixing import Mix
    from recap_train.workers import Loading


def need(args: argparse.Namespace, *names: str) -> None:
    """Refuse a command that lacks an option.

    Raises:
        UserError: One of them is not given.
    """
    lacking = [name.replace("_", "-") for name in names if getattr(args, name) is None]
    if lacking:
        hint = "Give it, or look at the run first with --dry-run." if hasattr(args, "dry_run") else "Give it; see --help."
        raise UserError(f"--{lacking[0]} is needed to train.", hint)


def roles_of(args: argparse.Namespace) -> dict[str, str]:
    """Return which texts are the captions: as named, else as the data declares."""
    from recap_eval.data.shards import resolve_roles
    from recap_train.training_data import declared_roles

    named = resolve_roles(args.caption_preset, args.original_key, args.recaption_key)
    return named or (declared_roles(args.data) if args.data else {})


def captions_of(args: argparse.Namespace) -> CaptionSource | None:
    """Return the caption files to join."""
    from recap_train.join import CaptionSource

    return CaptionSource(args.captions, args.join_on, args.max_unjoined) if args.captions else None


def mix_of(args: argparse.Namespace, roles: dict[str, str], dropout: float) -> Mix:
    """Return how captions are mixed."""
    from recap_train.captions import recaption_roles
    from recap_train.mixing import Mix

    recaptions = max(1, len(recaption_roles(roles)))
    return Mix(args.p_original, args.mix, recaptions, args.recaption_turns, args.recaption_weights, dropout)


def engine_of(args: argparse.Namespace, ema: float | None, mask_images: float = 0.0) -> Engine:
    """Return how the machine trains."""
    return Engine(
        args.device, args.parallel, args.micro_batch, mask_images, ema, args.grad_checkpointing, args.compile,
        args.tf32, args.save_every, args.keep_every, args.tensorboard, args.peak_tflops,
    )  # fmt: skip


def loading_of(args: argparse.Namespace) -> Loading:
    """Return how the data is read."""
    from recap_train.parallel import choose_device
    from recap_train.workers import Loading, default_workers

    if not 0 <= args.max_bad <= 1:
        raise UserError(f"--max-bad {args.max_bad} is not a share.", "It must lie in [0, 1]; 0.01 is one in a hundred.")
    workers = default_workers(choose_device(args.device)) if args.workers is None else args.workers
    return Loading(workers, args.prefetch, args.shuffle_window, args.max_bad)


def precision_of(choice: str, device: str) -> str:
    """Return "fp32" or "bf16": where nothing is asked for, bf16 where the device has it."""
    if choice != "auto":
        return choice
    import torch

    if device != "cpu":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    able = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return "bf16" if able.get("avx512_bf16") or able.get("amx_bf16") else "fp32"


def scenes_of(data: Path | str | None) -> Path | None:
    """Return the training data's folder if it holds scenes to measure on, too."""
    from recap_eval.data.scenes.locate import missing

    return data if isinstance(data, Path) and not missing(data) else None
