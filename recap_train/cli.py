"""The command `recap-train`. Standard library only at import."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from recap_eval import __version__
from recap_eval.artifact import named
from recap_eval.console import main_guard
from recap_train import options
from recap_train.captioner import options as captioner
from recap_train.diffusion import options as diffusion
from recap_train.requests import captions_of, engine_of, loading_of, mix_of, need, precision_of, roles_of, scenes_of

if TYPE_CHECKING:
    from recap_train.evals import Evals
    from recap_train.mixing import Mix
    from recap_train.recipes import Recipe
    from recap_train.run import Run


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = argparse.ArgumentParser(
        "recap-train", description="Train on any mix of original captions and recaptions.",
        epilog="Each command has examples: recap-train clip --help",
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"recap {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    options.add_clip(commands).set_defaults(run=run_clip)
    options.add_prepare(commands).set_defaults(run=run_prepare)
    diffusion.add_dit(commands).set_defaults(run=run_dit)
    diffusion.add_vae(commands).set_defaults(run=run_vae)
    diffusion.add_precompute(commands).set_defaults(run=run_precompute)
    captioner.add_captioner(commands).set_defaults(run=run_captioner)
    options.add_halve(commands).set_defaults(run=run_halve)
    options.add_list(commands).set_defaults(run=run_list)
    return parser


def run_clip(args: argparse.Namespace) -> int:
    """Train a CLIP model, stage by stage, and measure it; or tell what that would be."""
    runs = _runs(args)
    if args.dry_run:
        return _dry_run(args, runs)
    from recap_eval.memory import keep_freed_memory
    from recap_eval.signals import Stopped
    from recap_train import clip
    from recap_train.parallel import is_main
    from recap_train.stages import chain, changed_constants

    for sentence in [f"{run.recipe.name}: {said}" for run in runs for said in changed_constants(run.recipe)]:
        print(sentence, file=sys.stderr)
    keep_freed_memory()
    try:
        artifact, known = clip.train(chain(runs))
    except Stopped as stop:
        if is_main():
            print(f"{args.out}: {stop}; the same command goes on from there.", file=sys.stderr)
        return stop.exit_code
    if not is_main():
        return 0
    _tell(args, artifact.name, artifact.made, artifact.run, known)
    return 0 if args.no_eval else _evaluate(args)


def _runs(args: argparse.Namespace) -> list[Run]:
    """Return what is asked for, a run a stage.

    Raises:
        UserError: Something that is needed is not said, or two things that are said do not go together.
    """
    from recap_eval.errors import UserError

    if not args.dry_run:
        need(args, "data", "out")
    if args.name is not None and not args.name.strip():
        raise UserError("--name is empty.", "Give a name, or leave it out.")
    roles, engine, loading = roles_of(args), engine_of(args, args.ema, args.mask_images), loading_of(args)
    evals, mix, recipes = _evals(args), mix_of(args, roles, args.caption_dropout), _recipes(args)
    from recap_train.parallel import choose_device
    from recap_train.run import Run
    from recap_train.stages import samples_of
    from recap_train.start import Start

    captions = captions_of(args)
    precision, start = precision_of(args.precision, choose_device(engine.device)), Start(args.init, None, args.tokenizer)
    return [
        Run(
            args.data, one, mix, samples_of(one, args.samples_seen), args.seed, args.out or Path("OUT"),
            _name(args, one, mix, last=one is recipes[-1]), roles, precision, args.skip_bad, engine, loading, captions, start,
            evals, dict(args.fact),
        )
        for one in recipes
    ]  # fmt: skip


def _recipes(args: argparse.Namespace) -> list[Recipe]:
    """Return the recipe of each stage to run, with what the user changes in it."""
    from recap_eval.errors import UserError
    from recap_train.recipes import at_image_size, load_recipe
    from recap_train.stages import Changes, choose_stages, resolve

    recipe = load_recipe(args.recipe)
    changes = Changes(args.samples_seen, args.batch_size, args.lr, args.warmup_samples)
    recipes = resolve(recipe, choose_stages(recipe, args.stage), changes)
    if args.image_size and len(recipes) > 1:
        raise UserError("--image-size is of one stage, and this runs several.", "Name one: --stage 1, then --stage 2.")
    return [at_image_size(one, args.image_size) for one in recipes]


def _name(args: argparse.Namespace, recipe: Recipe, mix: Mix, last: bool) -> str:
    if not args.name:
        return named(f"{recipe.name}-{mix.label}-s{args.seed}", args.fact)
    return str(args.name) if last else f"{args.name}-stage{recipe.stage}"


def _evals(args: argparse.Namespace) -> Evals | None:
    from recap_eval.errors import UserError
    from recap_train.evals import Evals

    if args.eval_every is None:
        if args.eval_tasks or args.eval_data or args.keep_evals:
            raise UserError("It is not said how often to measure on the way.", "Say it: --eval-every SAMPLES")
        return None
    data = args.eval_data or scenes_of(args.data)
    return Evals(args.eval_every, args.eval_tasks, data, args.keep_evals, args.leaderboards)


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


def run_prepare(args: argparse.Namespace) -> int:
    """Prepare a data set."""
    from recap_train.prepare import Preparation, prepare

    manifest, known = prepare(Preparation(args.data, args.size, args.out, args.workers, args.skip_bad))
    facts = {"prepared": str(args.out), "made_before": known}
    facts |= {name: manifest[name] for name in ("n", "size", "bad", "seconds")}
    if args.json:
        print(json.dumps(facts))
        return 0
    bad = f", {manifest['bad']} unreadable ones left out" if manifest["bad"] else ""
    how = "prepared already" if known else f"in {manifest['seconds']} s"
    print(f"{args.out}: {manifest['n']} images of {manifest['size']} px{bad}, {how}.")
    print(f"Train from it: recap-train clip --data {args.out} …")
    return 0


def run_dit(args: argparse.Namespace) -> int:
    """Train a diffusion transformer, and measure it; or tell what that would be."""
    from recap_train.diffusion.command import train_dit

    return train_dit(args)


def run_vae(args: argparse.Namespace) -> int:
    """Train a small auto-encoder."""
    from recap_train.diffusion.command import train_vae

    return train_vae(args)


def run_precompute(args: argparse.Namespace) -> int:
    """Encode a data set once."""
    from recap_train.diffusion.command import encode_data

    return encode_data(args)


def run_captioner(args: argparse.Namespace) -> int:
    """Train a captioner, and measure it; or tell what that would be."""
    from recap_train.captioner.command import train_captioner

    return train_captioner(args)


def run_halve(args: argparse.Namespace) -> int:
    """Round a model's weights to half precision."""
    from recap_train.halving import halve

    artifact, known = halve(args.model, args.out, args.name)
    size = sum((args.out / file).stat().st_size for file in artifact.files)
    if args.json:
        print(json.dumps({"artifact": str(args.out), "name": artifact.name, "made_before": known, "bytes": size}))
    else:
        print(f"{args.out}: {artifact.name} in half precision, {size / 1e6:.1f} MB{', made before' if known else ''}.")
    return 0


def run_list(args: argparse.Namespace) -> int:
    """List the recipes."""
    from recap_train.diffusion.listing import describe_networks, render_networks
    from recap_train.listing import describe_recipes, render_recipes

    rows, networks = describe_recipes(), describe_networks()
    both = f"{render_recipes(rows)}\n\n{render_networks(networks)}"
    print(json.dumps([*rows, *networks]) if args.json else both)
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
        f"{float(str(run['data_wait_share'])):.1%} of it waiting for data), {_shown(made)}."
    )


def _shown(made: dict[str, object]) -> str:
    if "concatenated_captions" in made:
        return f"{made['concatenated_captions']} shown with both captions"
    return f"{float(str(made['realised_original'])):.1%} shown with their original caption"


def _evaluate(args: argparse.Namespace) -> int:
    """Measure the artifact by the command a person would type, so that a failure there cannot cost the training."""
    from recap_train.parallel import alone_environment

    words = ["clip", "--model", str(args.out), "--out", str(args.leaderboards), "--reports", str(args.reports)]
    words += ["--data", str(scenes)] if (scenes := scenes_of(args.data)) else []
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
