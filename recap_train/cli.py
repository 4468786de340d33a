"""The command `recap-train`. Standard library only at import."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from recap_eval import __version__
from recap_eval.console import add_common, as_path, main_guard, positive

if TYPE_CHECKING:
    from recap_train.workers import Loading

EXAMPLES = """examples:
  recap-train clip --data scenes --model scenes-tiny --p-original 0.5 --samples-seen 60000 --out runs/p0.5
  recap-train clip --data shards --model ViT-B-16 --caption-preset recap-datacomp --p-original 0.8 \\
      --samples-seen 2560000 --out runs/b16

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
    need.add_argument("--data", type=as_data, required=True, help="folder of image-text shards (*.tar), or of scenes; or URLs")
    need.add_argument("--model", required=True, help="recipe (scenes-tiny), recipe.json, or an open_clip config (ViT-B-16)")
    need.add_argument("--p-original", type=float, required=True, metavar="P", help="probability of the original caption, 0-1")
    need.add_argument("--samples-seen", type=positive, required=True, metavar="N", help="samples to see in all")
    need.add_argument("--out", type=as_path, required=True, metavar="DIR", help="folder of the finished model")
    need.add_argument("--seed", type=int, default=0, help="of weights, order, coins and crops (default 0)")
    need.add_argument("--name", help="what tables call it (default: made of recipe, p and seed)")
    need.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto", help="auto: bf16 where the CPU has it")
    need.add_argument("--skip-bad", action="store_true", help="leave out what is unreadable, counted, instead of stopping")
    _add_loading_options(clip)
    roles = clip.add_argument_group("which caption is which (scenes say it themselves)")
    roles.add_argument("--caption-preset", metavar="NAME", help="recap-datacomp, datacomp or scenes")
    roles.add_argument("--original-key", metavar="KEY", help="txt or json:FIELD")
    roles.add_argument("--recaption-key", metavar="KEY", help="txt or json:FIELD")
    after = clip.add_argument_group("measuring it afterwards")
    after.add_argument("--no-eval", action="store_true", help="do not measure the finished model")
    after.add_argument("--leaderboards", type=as_path, default=Path("leaderboards"), metavar="DIR", help="where results go")
    after.add_argument("--reports", type=as_path, default=Path("reports"), metavar="DIR", help="where the report goes")
    add_common(clip)
    clip.set_defaults(run=run_clip)
    return parser


def as_data(text: str) -> Path | str:
    """Return the folder that holds the data, or the pattern of files or URLs that names its shards."""
    from recap_eval.data.shard_places import is_pattern

    return text if is_pattern(text) else as_path(text)


def _count(text: str) -> int:
    return 0 if text == "0" else positive(text)


def _add_loading_options(clip: argparse.ArgumentParser) -> None:
    reading = clip.add_argument_group("reading the data (docs/training.md)")
    reading.add_argument(
        "--workers", type=_count, metavar="N", help="processes that prepare batches (default 0; on a GPU up to 8)"
    )
    reading.add_argument(
        "--prefetch", type=positive, default=2, metavar="N", help="batches each of them prepares ahead (default 2)"
    )
    reading.add_argument(
        "--shuffle-window", type=positive, default=1 << 20, metavar="N", help="samples shuffled together (default 1048576)"
    )
    reading.add_argument(
        "--max-bad",
        type=float,
        default=0.01,
        metavar="SHARE",
        help="with --skip-bad: stop when more is left out (default 0.01)",
    )


def _loading(args: argparse.Namespace) -> Loading:
    from recap_eval.errors import UserError
    from recap_train.workers import Loading, default_workers

    if not 0 <= args.max_bad <= 1:
        raise UserError(f"--max-bad {args.max_bad} is not a share.", "It must lie in [0, 1]; 0.01 is one in a hundred.")
    workers = default_workers("cpu") if args.workers is None else args.workers
    return Loading(workers, args.prefetch, args.shuffle_window, args.max_bad)


def run_clip(args: argparse.Namespace) -> int:
    """Train a CLIP model and measure it."""
    from recap_eval.data.shards import resolve_roles
    from recap_eval.errors import UserError
    from recap_train.mixing import Mix

    mix = Mix(args.p_original)
    named = resolve_roles(args.caption_preset, args.original_key, args.recaption_key)
    from recap_train import clip
    from recap_train.loop import Stopped
    from recap_train.recipes import load_recipe
    from recap_train.training_data import declared_roles

    recipe = load_recipe(args.model)
    roles = named or declared_roles(args.data)
    precision = _precision(args.precision)
    name = args.name or f"{recipe.name}-p{args.p_original:g}-s{args.seed}"
    if not name.strip():
        raise UserError("--name is empty.", "Give a name, or leave it out.")
    run = clip.Run(
        args.data, recipe, mix, args.samples_seen, args.seed, args.out, name, roles, precision, args.skip_bad, _loading(args)
    )  # fmt: skip
    try:
        artifact, known = clip.train(run)
    except Stopped as stop:
        print(f"{args.out}: {stop}; the same command goes on from there.", file=sys.stderr)
        return 130
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
    if isinstance(args.data, Path) and not missing(args.data):
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
