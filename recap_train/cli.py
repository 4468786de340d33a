"""The command `recap-train`. Standard library only at import."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from recap_eval import __version__
from recap_eval.console import add_common, as_path, main_guard, positive
from recap_train.engine import Engine, duration

EXAMPLES = """examples:
  recap-train clip --data scenes --model scenes-tiny --p-original 0.5 --samples-seen 60000 --out runs/p0.5
  recap-train clip --data shards --model ViT-B-16 --caption-preset recap-datacomp --p-original 0.8 \\
      --samples-seen 2560000 --out runs/b16

  torchrun --nproc-per-node 8 -m recap_train.cli clip --parallel fsdp …   (batches are shared by the processes)

p is the probability of the ORIGINAL caption; 1 - p that of the recaption. Stopped by Ctrl-C or SIGTERM, the same command
goes on where it stopped. The finished model is measured with `recap-eval clip`, unless --no-eval."""


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = argparse.ArgumentParser(
        "recap-train", description="Train on any mix of original captions and recaptions.",
        epilog="Each command has examples: recap-train clip --help",
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"recap {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    clip = commands.add_parser(
        "clip", help="train CLIP on mixed captions", epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    need = clip.add_argument_group("what to train")
    need.add_argument("--data", type=as_path, required=True, help="folder of image-text shards (*.tar), or of scenes")
    need.add_argument("--model", required=True, help="recipe (scenes-tiny), recipe.json, or an open_clip config (ViT-B-16)")
    need.add_argument("--p-original", type=float, required=True, metavar="P", help="probability of the original caption, 0-1")
    need.add_argument("--samples-seen", type=positive, required=True, metavar="N", help="samples to see in all")
    need.add_argument("--out", type=as_path, required=True, metavar="DIR", help="folder of the finished model")
    need.add_argument("--seed", type=int, default=0, help="of weights, order, coins and crops (default 0)")
    need.add_argument("--name", help="what tables call it (default: made of recipe, p and seed)")
    need.add_argument(
        "--precision", choices=("auto", "fp32", "bf16"), default="auto", help="auto: bf16 where the device has it"
    )
    need.add_argument("--skip-bad", action="store_true", help="leave out unreadable images, counted, instead of stopping")
    roles = clip.add_argument_group("which caption is which (scenes say it themselves)")
    roles.add_argument("--caption-preset", metavar="NAME", help="recap-datacomp, datacomp or scenes")
    roles.add_argument("--original-key", metavar="KEY", help="txt or json:FIELD")
    roles.add_argument("--recaption-key", metavar="KEY", help="txt or json:FIELD")
    _add_engine_options(clip)
    after = clip.add_argument_group("measuring it afterwards")
    after.add_argument("--no-eval", action="store_true", help="do not measure the finished model")
    after.add_argument("--leaderboards", type=as_path, default=Path("leaderboards"), metavar="DIR", help="where results go")
    after.add_argument("--reports", type=as_path, default=Path("reports"), metavar="DIR", help="where the report goes")
    add_common(clip)
    clip.set_defaults(run=run_clip)
    return parser


def _add_engine_options(clip: argparse.ArgumentParser) -> None:
    """Add the options of recap_train.engine.Engine."""
    group = clip.add_argument_group("how the machine trains (docs/training.md)")
    group.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: a GPU if there is one")
    group.add_argument("--parallel", choices=("ddp", "fsdp"), default="ddp", help="how torchrun's processes share the work")
    group.add_argument("--micro-batch", type=positive, metavar="N", help="hold N samples at a time; the loss stays the batch's")
    group.add_argument("--grad-checkpointing", action="store_true", help="less memory, a third more work")
    group.add_argument("--compile", action="store_true", help="compile the transformer blocks; pays on a GPU or in long runs")
    group.add_argument("--tf32", action="store_true", help="on a GPU: fp32 products in TF32")
    group.add_argument("--image-size", type=positive, metavar="PIXELS", help="train at another size than the model's")
    group.add_argument("--mask-images", type=float, default=0.0, metavar="SHARE", help="leave out this share of the patches")
    group.add_argument("--ema", type=float, metavar="DECAY", help="also average the weights, such as 0.9999, into OUT/ema")
    group.add_argument(
        "--save-every", type=duration, default=60.0, metavar="TIME", help="checkpoint: 90s, 10m, 2h (default 60s)"
    )
    group.add_argument("--keep-every", type=positive, metavar="SAMPLES", help="keep a checkpoint each time so many were seen")
    group.add_argument("--tensorboard", action="store_true", help="write OUT/tensorboard, if TensorBoard is installed")
    group.add_argument("--peak-tflops", type=float, metavar="N", help="of one device, for the MFU, where it is not known")


def _engine(args: argparse.Namespace) -> Engine:
    return Engine(
        args.device, args.parallel, args.micro_batch, args.mask_images, args.ema, args.grad_checkpointing, args.compile,
        args.tf32, args.save_every, args.keep_every, args.tensorboard, args.peak_tflops,
    )  # fmt: skip


def run_clip(args: argparse.Namespace) -> int:
    """Train a CLIP model and measure it."""
    from recap_eval.data.shards import resolve_roles
    from recap_eval.errors import UserError
    from recap_train.mixing import Mix

    mix, engine = Mix(args.p_original), _engine(args)
    named = resolve_roles(args.caption_preset, args.original_key, args.recaption_key)
    from recap_train import clip
    from recap_train.parallel import choose_device, is_main
    from recap_train.recipes import load_recipe
    from recap_train.signals import Stopped
    from recap_train.towers import at_image_size

    recipe = at_image_size(load_recipe(args.model), args.image_size)
    roles = named or clip.declared_roles(args.data)
    precision = _precision(args.precision, choose_device(engine.device))
    name = args.name or f"{recipe.name}-p{args.p_original:g}-s{args.seed}"
    if not name.strip():
        raise UserError("--name is empty.", "Give a name, or leave it out.")
    run = clip.Run(
        args.data, recipe, mix, args.samples_seen, args.seed, args.out, name, roles, precision, args.skip_bad, engine
    )  # fmt: skip
    try:
        artifact, known = clip.train(run)
    except Stopped as stop:
        if is_main():
            print(f"{args.out}: {stop}; the same command goes on from there.", file=sys.stderr)
        return stop.exit_code
    if not is_main():
        return 0
    _tell(args, artifact.name, artifact.made, artifact.run, known)
    return 0 if args.no_eval else _evaluate(args)


def _tell(args: argparse.Namespace, name: str, made: dict[str, object], run: dict[str, object], known: bool) -> None:
    if args.json:
        print(json.dumps({"artifact": str(args.out), "name": name, "trained_before": known, "made": made, "run": run}))
        return
    if known:
        print(f"{args.out}: {name} is trained already; nothing to do.")
        return
    print(
        f"{args.out}: {name}, {made['samples_seen']} samples in {run['seconds']} s ({run['samples_per_second']}/s, "
        f"{float(str(run['data_wait_share'])):.1%} of it waiting for data), "
        f"{float(str(made['realised_original'])):.1%} shown with their original caption."
    )


def _precision(choice: str, device: str) -> str:
    if choice != "auto":
        return choice
    import torch

    if device != "cpu":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    able = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return "bf16" if able.get("avx512_bf16") or able.get("amx_bf16") else "fp32"


def _evaluate(args: argparse.Namespace) -> int:
    """Measure the artifact by the command a person would type, so that a failure there cannot cost the training."""
    from recap_eval.data.scenes.locate import missing
    from recap_train.parallel import alone_environment

    words = ["clip", "--model", str(args.out), "--out", str(args.leaderboards), "--reports", str(args.reports)]
    if not missing(args.data):
        words += ["--data", str(args.data)]
    words += ["--json"] if args.json else []
    command = [sys.executable, "-m", "recap_eval.cli", *words]
    code = subprocess.run(command, check=False, env=alone_environment()).returncode
    if code:
        print(
            f"The model is whole in {args.out}; only its measurement failed. Again: recap-eval {' '.join(words)}",
            file=sys.stderr,
        )
    return code


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return main_guard(build_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
