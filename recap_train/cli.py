"""The command `recap-train`. Standard library only at import."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from recap_eval import __version__
from recap_eval.console import add_common, as_path, main_guard, positive, positive_number

if TYPE_CHECKING:
    from recap_train.clip import Run
    from recap_train.evals import Evals

EXAMPLES = """examples:
  recap-train list
  recap-train clip --data scenes --recipe scenes-tiny --p-original 0.5 --samples-seen 60000 --out runs/p0.5
  recap-train clip --data scenes --recipe recap-clip-scenes --p-original 0.8 --out runs/small
  recap-train clip --recipe recap-clip-b16 --p-original 0.8 --dry-run --gpu h100 --gpus 8 --gpu-price 2.5
  recap-train clip --data shards --recipe recap-clip-b16 --caption-preset recap-datacomp --p-original 0.8 \\
      --tokenizer bert-base-uncased/ --out runs/b16
  recap-train clip --data shards --recipe recap-clip-b16 --stage 2 --init runs/b16/stage1 \\
      --caption-preset recap-datacomp --p-original 0.8 --out runs/b16-again
  recap-train clip --data shards --recipe ViT-B-16 --caption-preset recap-datacomp --p-original 0.8 \\
      --samples-seen 2560000 --eval-every 500000 --eval-tasks scenes --out runs/plain

p is the probability of the ORIGINAL caption; 1 - p that of the recaption. Stopped by Ctrl-C or SIGTERM, the same command
goes on where it stopped. The finished model is measured with `recap-eval clip`, unless --no-eval. A recipe with stages runs
them in order, the earlier ones in OUT/stage1, …; what is done is not done again."""


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
    need.add_argument("--data", type=as_path, help="folder of image-text shards (*.tar), or of scenes")
    need.add_argument(
        "--recipe", "--model", required=True, metavar="R", help="recipe (recap-train list), recipe.json, or an open_clip config"
    )
    need.add_argument("--p-original", type=float, required=True, metavar="P", help="probability of the original caption, 0-1")
    need.add_argument("--out", type=as_path, metavar="DIR", help="folder of the finished model")
    need.add_argument("--seed", type=int, default=0, help="of weights, order, coins and crops (default 0)")
    need.add_argument("--name", help="what tables call it (default: made of recipe, p and seed)")
    need.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto", help="auto: bf16 where the CPU has it")
    need.add_argument("--skip-bad", action="store_true", help="leave out unreadable images, counted, instead of stopping")
    _add_recipe_options(clip)
    roles = clip.add_argument_group("which caption is which (scenes say it themselves)")
    roles.add_argument("--caption-preset", metavar="NAME", help="recap-datacomp, datacomp or scenes")
    roles.add_argument("--original-key", metavar="KEY", help="txt or json:FIELD")
    roles.add_argument("--recaption-key", metavar="KEY", help="txt or json:FIELD")
    after = clip.add_argument_group("measuring it afterwards")
    after.add_argument("--no-eval", action="store_true", help="do not measure the finished model")
    after.add_argument("--leaderboards", type=as_path, default=Path("leaderboards"), metavar="DIR", help="where results go")
    after.add_argument("--reports", type=as_path, default=Path("reports"), metavar="DIR", help="where the report goes")
    _add_eval_options(clip)
    _add_dry_run_options(clip)
    add_common(clip)
    clip.set_defaults(run=run_clip)
    names = commands.add_parser("list", help="list recipes with their sizes", description="List recipes with their sizes.")
    add_common(names)
    names.set_defaults(run=run_list)
    return parser


def _add_recipe_options(clip: argparse.ArgumentParser) -> None:
    group = clip.add_argument_group("stages, and what is to be otherwise than in the recipe")
    group.add_argument("--stage", metavar="S", help="1, 2 or all (default: all that the recipe has, in order)")
    group.add_argument("--samples-seen", type=positive, metavar="N", help="samples to see in all (default: the recipe's)")
    group.add_argument("--batch-size", type=positive, metavar="N", help="samples a step; the learning rate follows by the rule")
    group.add_argument("--lr", type=positive_number, metavar="LR", help="peak learning rate of the stage")
    group.add_argument("--warmup-samples", type=positive, metavar="N", help="samples during which the learning rate rises")
    group.add_argument("--init", type=as_path, metavar="DIR", help="start from the weights of an earlier model")
    group.add_argument("--tokenizer", type=as_path, metavar="DIR", help="folder of a tokenizer (BERT's for Recap-CLIP)")


def _add_eval_options(clip: argparse.ArgumentParser) -> None:
    group = clip.add_argument_group("measuring it on the way")
    group.add_argument("--eval-every", type=positive, metavar="N", help="measure the weights so far every N samples")
    group.add_argument("--eval-tasks", metavar="T,…", help="tasks and suites (default: every task whose data is there)")
    group.add_argument(
        "--eval-data", type=as_path, metavar="DIR", help="data root or folder of scenes (default: as afterwards)"
    )
    group.add_argument("--keep-evals", action="store_true", help="keep the weights that were measured, in OUT/evals")


def _add_dry_run_options(clip: argparse.ArgumentParser) -> None:
    group = clip.add_argument_group("looking before spending")
    group.add_argument("--dry-run", action="store_true", help="print the whole run, its time and its cost; write nothing")
    group.add_argument("--gpu", default="h100", metavar="G", help="assumed: a100, h100 (default), h200, b200, l40s, …")
    group.add_argument("--gpus", type=positive, default=8, metavar="N", help="assumed: how many (default 8)")
    group.add_argument("--assume-mfu", type=float, default=0.4, metavar="F", help="assumed: share of the peak (default 0.4)")
    group.add_argument("--gpu-price", type=positive_number, metavar="X", help="assumed: price of a GPU hour")


def run_clip(args: argparse.Namespace) -> int:
    """Train a CLIP model, stage by stage, and measure it; or tell what that would be."""
    from recap_train import clip
    from recap_train.loop import Stopped
    from recap_train.stages import chain, changed_constants

    runs = _runs(args)
    if args.dry_run:
        return _dry_run(args, runs)
    for run in runs:
        for sentence in changed_constants(run.recipe):
            print(f"{run.recipe.name}: {sentence}", file=sys.stderr)
    try:
        artifact, known = clip.train(chain(runs))
    except Stopped as stop:
        print(f"{args.out}: {stop}; the same command goes on from there.", file=sys.stderr)
        return 130
    _tell(args, artifact.name, artifact.made, artifact.run, known)
    return 0 if args.no_eval else _evaluate(args)


def _runs(args: argparse.Namespace) -> list[Run]:
    """Return what is asked for, a run a stage.

    Raises:
        UserError: Something that is needed is not said.
    """
    from recap_eval.data.shards import resolve_roles
    from recap_eval.errors import UserError
    from recap_train.mixing import Mix

    mix = Mix(args.p_original)
    roles = resolve_roles(args.caption_preset, args.original_key, args.recaption_key)
    if not args.dry_run and (lacking := [name for name in ("data", "out") if getattr(args, name) is None]):
        raise UserError(f"--{lacking[0]} is needed to train.", "Give it, or look at the run first with --dry-run.")
    if args.name is not None and not args.name.strip():
        raise UserError("--name is empty.", "Give a name, or leave it out.")
    from recap_train import clip, stages
    from recap_train.recipes import load_recipe
    from recap_train.start import Start

    recipe = load_recipe(args.recipe)
    changes = stages.Changes(args.samples_seen, args.batch_size, args.lr, args.warmup_samples)
    recipes = stages.resolve(recipe, stages.choose_stages(recipe, args.stage), changes)
    roles = roles or (clip.declared_roles(args.data) if args.data else {})
    precision, out = _precision(args.precision), args.out or Path("OUT")
    runs = []
    for one in recipes:
        name = f"{one.name}-p{args.p_original:g}-s{args.seed}"
        if args.name:
            name = args.name if one is recipes[-1] else f"{args.name}-stage{one.stage}"
        start = Start(init=args.init, tokenizer=args.tokenizer)
        seen = stages.samples_of(one, args.samples_seen)
        run = clip.Run(args.data, one, mix, seen, args.seed, out, name, roles, precision, args.skip_bad)  # fmt: skip
        runs.append(replace(run, start=start, evals=_evals(args)))
    return runs


def _evals(args: argparse.Namespace) -> Evals | None:
    from recap_eval.data.scenes.locate import missing
    from recap_eval.errors import UserError
    from recap_train.evals import Evals

    if args.eval_every is None:
        if args.eval_tasks or args.eval_data or args.keep_evals:
            raise UserError("It is not said how often to measure on the way.", "Say it: --eval-every SAMPLES")
        return None
    own = args.data if args.data and not missing(args.data) else None
    return Evals(args.eval_every, args.eval_tasks, args.eval_data or own, args.keep_evals)


def _dry_run(args: argparse.Namespace, runs: list[Run]) -> int:
    from recap_train.dry_run import collect
    from recap_train.dry_run_text import render
    from recap_train.estimate import Assumptions
    from recap_train.stages import places

    precision = "fp32" if args.precision == "fp32" else "bf16"
    assumed = Assumptions(args.gpu, args.gpus, args.assume_mfu, args.gpu_price, precision)
    facts = collect(places(runs), assumed, args.data)
    print(json.dumps(facts) if args.json else render(facts))
    return 0


def run_list(args: argparse.Namespace) -> int:
    """List the recipes."""
    from recap_train.listing import describe_recipes, render_recipes

    rows = describe_recipes()
    print(json.dumps(rows) if args.json else render_recipes(rows))
    return 0


def _tell(args: argparse.Namespace, name: str, made: dict[str, object], run: dict[str, object], known: bool) -> None:
    from recap_train.clip import own_samples

    if args.json:
        print(json.dumps({"artifact": str(args.out), "name": name, "trained_before": known, "made": made, "run": run}))
        return
    if known:
        print(f"{args.out}: {name} is trained already; nothing to do.")
        return
    print(
        f"{args.out}: {name}, {own_samples(made)} samples in {run['seconds']} s ({run['samples_per_second']}/s, "
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
    from recap_train.evals import alone

    words = ["clip", "--model", str(args.out), "--out", str(args.leaderboards), "--reports", str(args.reports)]
    if not missing(args.data):
        words += ["--data", str(args.data)]
    words += ["--json"] if args.json else []
    code = subprocess.run([sys.executable, "-m", "recap_eval.cli", *words], env=alone(), check=False).returncode
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
