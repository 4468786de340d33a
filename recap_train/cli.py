"""The command `recap-train`. Standard library only at import."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap_eval import __version__
from recap_eval.console import add_common, as_path, main_guard, positive

if TYPE_CHECKING:
    from recap_train.mixing import Mix

EXAMPLES = """examples:
  recap-train clip --data scenes --model scenes-tiny --p-original 0.5 --samples-seen 60000 --out runs/p0.5
  recap-train clip --data shards --model ViT-B-16 --caption-preset recap-datacomp --p-original 0.8 \\
      --samples-seen 2560000 --out runs/b16

p is the probability of the ORIGINAL caption; 1 - p that of the recaption. Stopped by Ctrl-C or SIGTERM, the same command
goes on where it stopped. The finished model is measured with `recap-eval clip`, unless --no-eval."""


PREPARE_EXAMPLES = """examples:
  recap-train prepare --data shards --size 128 --out shards-128
  recap-train clip --data shards-128 --caption-preset recap-datacomp …

Takes S x S x 3 bytes an image, twice that while it is made. Stopped, the same command goes on."""


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
    need.add_argument("--data", type=as_path, required=True, help="folder of shards (*.tar), of scenes, or prepared")
    need.add_argument("--model", required=True, help="recipe (scenes-tiny), recipe.json, or an open_clip config (ViT-B-16)")
    need.add_argument("--p-original", type=float, metavar="P", help="probability of the original caption, 0-1")
    need.add_argument("--samples-seen", type=positive, required=True, metavar="N", help="samples to see in all")
    need.add_argument("--out", type=as_path, required=True, metavar="DIR", help="folder of the finished model")
    need.add_argument("--seed", type=int, default=0, help="of weights, order, coins and crops (default 0)")
    need.add_argument("--name", help="what tables call it (default: made of recipe, p and seed)")
    need.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto", help="auto: bf16 where the CPU has it")
    need.add_argument("--skip-bad", action="store_true", help="leave out unreadable images, counted, instead of stopping")
    _add_caption_options(clip)
    after = clip.add_argument_group("measuring it afterwards")
    after.add_argument("--no-eval", action="store_true", help="do not measure the finished model")
    after.add_argument("--leaderboards", type=as_path, default=Path("leaderboards"), metavar="DIR", help="where results go")
    after.add_argument("--reports", type=as_path, default=Path("reports"), metavar="DIR", help="where the report goes")
    add_common(clip)
    clip.set_defaults(run=run_clip)
    _add_prepare(commands)
    return parser


def _add_caption_options(clip: argparse.ArgumentParser) -> None:
    roles = clip.add_argument_group("which caption is which (scenes say it themselves)")
    roles.add_argument("--caption-preset", metavar="NAME", help="recap-datacomp, datacomp, caption-rows or scenes")
    roles.add_argument("--original-key", metavar="KEY", help="txt, json:FIELD or parquet:COLUMN")
    roles.add_argument("--recaption-key", metavar="KEY", action="append", help="likewise; again for several recaptions")
    roles.add_argument("--captions", metavar="PARQUET", help="caption files to join: a file, a folder or a quoted pattern")
    roles.add_argument("--join-on", choices=("sha256", "key", "url"), default="sha256", help="(default sha256)")
    roles.add_argument("--max-unjoined", type=int, default=0, metavar="N", help="most images that may lack a row (default 0)")
    mixing = clip.add_argument_group("how captions are mixed")
    mixing.add_argument("--mix", choices=("draw", "concat"), default="draw", help="one caption (default), or both joined")
    mixing.add_argument(
        "--recaption-turns", choices=("random", "alternate"), default="random", help="which of several recaptions"
    )
    mixing.add_argument("--recaption-weights", type=_numbers, default=(), metavar="W,W", help="how often each of them is drawn")
    mixing.add_argument("--caption-dropout", type=float, default=0.0, metavar="P", help="probability of no caption (default 0)")


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not numbers with commas between them") from error


def _add_prepare(commands: Any) -> None:
    prepare = commands.add_parser(
        "prepare", help="make a data set small and quick to read, once", epilog=PREPARE_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    prepare.add_argument("--data", type=as_path, required=True, help="folder of image-text shards (*.tar), or of scenes")
    prepare.add_argument("--size", type=positive, required=True, metavar="PX", help="pixels a side, 9/8 of the model's or more")
    prepare.add_argument("--out", type=as_path, required=True, metavar="DIR", help="folder of the prepared set")
    prepare.add_argument(
        "--workers", type=positive, default=os.cpu_count() or 1, metavar="N", help="threads (default: all cores)"
    )
    prepare.add_argument("--skip-bad", action="store_true", help="leave out unreadable images, counted, instead of stopping")
    add_common(prepare)
    prepare.set_defaults(run=run_prepare)


def run_clip(args: argparse.Namespace) -> int:
    """Train a CLIP model and measure it."""
    from recap_eval.data.shards import resolve_roles
    from recap_eval.errors import UserError
    from recap_train import clip
    from recap_train.join import CaptionSource
    from recap_train.loop import Stopped
    from recap_train.recipes import load_recipe

    named = resolve_roles(args.caption_preset, args.original_key, args.recaption_key)
    roles = named or clip.declared_roles(args.data)
    mix = _mix(args, roles)
    recipe = load_recipe(args.model)
    captions = CaptionSource(args.captions, args.join_on, args.max_unjoined) if args.captions else None
    precision = _precision(args.precision)
    name = args.name or f"{recipe.name}-{mix.label}-s{args.seed}"
    if not name.strip():
        raise UserError("--name is empty.", "Give a name, or leave it out.")
    run = clip.Run(
        args.data, recipe, mix, args.samples_seen, args.seed, args.out, name, roles, precision, args.skip_bad, captions
    )  # fmt: skip
    try:
        artifact, known = clip.train(run)
    except Stopped as stop:
        print(f"{args.out}: {stop}; the same command goes on from there.", file=sys.stderr)
        return 130
    _tell(args, artifact.name, artifact.made, artifact.run, known)
    return 0 if args.no_eval else _evaluate(args)


def _mix(args: argparse.Namespace, roles: dict[str, str]) -> Mix:
    from recap_train.captions import recaption_roles
    from recap_train.mixing import Mix

    recaptions = max(1, len(recaption_roles(roles)))
    return Mix(
        args.p_original, args.mix, recaptions, args.recaption_turns, args.recaption_weights, args.caption_dropout
    )  # fmt: skip


def run_prepare(args: argparse.Namespace) -> int:
    """Prepare a data set."""
    from recap_train.prepare import Preparation, prepare

    manifest, known = prepare(Preparation(args.data, args.size, args.out, args.workers, args.skip_bad))
    facts = {"prepared": str(args.out), "made_before": known} | {
        name: manifest[name] for name in ("n", "size", "bad", "seconds")
    }
    if args.json:
        print(json.dumps(facts))
        return 0
    bad = f", {manifest['bad']} unreadable ones left out" if manifest["bad"] else ""
    how = "prepared already" if known else f"in {manifest['seconds']} s"
    print(f"{args.out}: {manifest['n']} images of {manifest['size']} px{bad}, {how}.")
    print(f"Train from it: recap-train clip --data {args.out} …")
    return 0


def _tell(args: argparse.Namespace, name: str, made: dict[str, object], run: dict[str, object], known: bool) -> None:
    if args.json:
        print(json.dumps({"artifact": str(args.out), "name": name, "trained_before": known, "made": made, "run": run}))
        return
    if known:
        print(f"{args.out}: {name} is trained already; nothing to do.")
        return
    print(
        f"{args.out}: {name}, {made['samples_seen']} samples in {run['seconds']} s ({run['samples_per_second']}/s, "
        f"{float(str(run['data_wait_share'])):.1%} of it waiting for data), {_shown(made)}."
    )


def _shown(made: dict[str, object]) -> str:
    if "concatenated_captions" in made:
        return f"{made['concatenated_captions']} shown with both captions"
    return f"{float(str(made['realised_original'])):.1%} shown with their original caption"


def _precision(choice: str) -> str:
    if choice != "auto":
        return choice
    import torch

    able = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return "bf16" if able.get("avx512_bf16") or able.get("amx_bf16") else "fp32"


def _evaluate(args: argparse.Namespace) -> int:
    """Measure the artifact by the command a person would type, so that a failure there cannot cost the training."""
    from recap_eval.data.scenes.locate import missing

    words = ["clip", "--model", str(args.out), "--out", str(args.leaderboards), "--reports", str(args.reports)]
    if not missing(args.data):
        words += ["--data", str(args.data)]
    words += ["--json"] if args.json else []
    code = subprocess.run([sys.executable, "-m", "recap_eval.cli", *words], check=False).returncode
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
