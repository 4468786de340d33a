"""What `recap-train captioner` does."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from recap_eval.artifact import Artifact
from recap_eval.console import note
from recap_eval.errors import UserError, unknown_name
from recap_eval.memory import keep_freed_memory
from recap_eval.signals import Stopped
from recap_train.captioner.recipe import WHOLE, CaptionerRecipe, load_captioner_recipe, stages_of
from recap_train.evals import Evals
from recap_train.mixing import Mix
from recap_train.parallel import alone_environment, choose_device, is_main
from recap_train.requests import engine_of, loading_of, need, precision_of, scenes_of
from recap_train.run import Run
from recap_train.stages import changed_constants


def train_captioner(args: argparse.Namespace) -> int:
    """Train a captioner, and measure it; or tell what that would be."""
    recipe = load_captioner_recipe(args.recipe)
    stage = stage_of(recipe, args.stage)
    if args.dry_run:
        from recap_train.captioner.telling import told

        print(told(recipe, stage, args.json))
        return 0
    need(args, "data", "out")
    keep_freed_memory()
    try:
        artifact, known = _whole(args, recipe) if stage == WHOLE else _staged(args, recipe, stage)
    except Stopped as stop:
        if is_main():
            print(f"{args.out}: {stop}; the same command goes on from there.", file=sys.stderr)
        return stop.exit_code
    if not is_main():
        return 0
    _tell(args, artifact, known)
    return 0 if args.no_eval else _evaluate(args)


def stage_of(recipe: CaptionerRecipe, asked: str | None) -> str:
    """Return the stage to run.

    Raises:
        UserError: The recipe has no such stage, or several and none is named.
    """
    stages = stages_of(recipe)
    if asked is None and (WHOLE in stages or len(stages) == 1):
        return str(stages[0])
    if asked is None:
        raise UserError(f"{recipe.name} has several stages.", f"Name one: --stage {' | '.join(stages)}")
    if asked not in stages:
        raise unknown_name(f"stage of {recipe.name}", asked, stages, ", ".join(stages))
    return asked


def _whole(args: argparse.Namespace, recipe: CaptionerRecipe) -> tuple[Artifact, bool]:
    """Train everything from nothing."""
    from recap_train.captioner import whole
    from recap_train.captioner.requests import caption_key

    for name in ("init", "language_model", "vision_tower", "chat_template", "images"):
        if getattr(args, name) is not None:
            raise UserError(
                f"--{name.replace('_', '-')}: {recipe.name} is trained whole, from nothing.",
                "Leave it out, or name a stage: --stage",
            )
    recipe = _changed(replace(recipe, stages={}), args)
    for sentence in changed_constants(recipe):
        print(f"{recipe.name}: {sentence}", file=sys.stderr)
    seen = args.samples_seen or recipe.train.get("samples_seen")
    if seen is None:
        raise UserError(f"{recipe.name} does not say how many samples to see.", "Say it: --samples-seen N")
    ema = recipe.train.get("ema") if args.ema is None else args.ema
    key, precision = caption_key(args), precision_of(args.precision, choose_device(args.device))
    run = Run(
        args.data, recipe, Mix(0.0), seen, args.seed, args.out, args.name or f"{recipe.name}-s{args.seed}",
        {"original": key, "recaption": key}, precision, args.skip_bad, engine_of(args, ema), loading_of(args),
    )  # fmt: skip
    return whole.train(run, _measured(args))


def _changed(recipe: CaptionerRecipe, args: argparse.Namespace) -> CaptionerRecipe:
    """Return the recipe with what the user changes in it; its sources say so."""
    asked = {name: getattr(args, name) for name in ("batch_size", "lr")}
    new = {name: value for name, value in asked.items() if value is not None and value != recipe.train[name]}
    sources = {f"train.{name}": f"changed; the recipe has {recipe.train[name]:g}" for name in new}
    return replace(recipe, train=recipe.train | new, sources=recipe.sources | sources)


def _measured(args: argparse.Namespace) -> Any:
    """Return what makes the hooks that measure on the way, or None."""
    from recap_train.captioner.evals import OnTheWay

    if args.eval_every is None:
        return None
    data = args.eval_data or scenes_of(args.data)
    if data is None:
        raise UserError("It is not said on what to measure on the way.", "Name scenes or a data root: --eval-data DIR")
    measured = Evals(args.eval_every, args.eval_tasks, data, args.keep_evals, args.leaderboards)
    return OnTheWay(measured, args.eval_limit).hooks


def _tell(args: argparse.Namespace, artifact: Artifact, known: bool) -> None:
    made, ran = artifact.made, artifact.run
    if args.json:
        print(json.dumps({"artifact": str(args.out), "name": artifact.name, "trained_before": known, "made": made, "run": ran}))
        return
    if known:
        print(f"{args.out}: {artifact.name} is trained already; nothing to do.")
        return
    print(
        f"{args.out}: {artifact.name}, {made['samples_seen']:,} samples in {ran['seconds']} s ({ran['samples_per_second']}/s)."
    )


def _evaluate(args: argparse.Namespace) -> int:
    """Measure the model by the command a person would type, so that a failure there cannot cost the training."""
    from recap_train.captioner.evals import measuring

    data: Path | None = args.eval_data or scenes_of(args.data)
    if data is None:
        note(f"Nothing to measure it on is named (--eval-data DIR). Later: recap-eval captioner --model {args.out} …")
        return 0
    words = [*measuring(args.out, data, args.eval_tasks), "--out", str(args.leaderboards), "--reports", str(args.reports)]
    words += ["--json"] if args.json else []
    code = subprocess.run([sys.executable, "-m", "recap_eval.cli", *words], check=False, env=alone_environment()).returncode
    if code:
        note(f"The model is whole in {args.out}; only its measurement failed. Again: recap-eval {' '.join(words)}")
    return code


def _staged(args: argparse.Namespace, recipe: CaptionerRecipe, stage: str) -> tuple[Artifact, bool]:
    """Train one stage on TRL's trainer."""
    from recap_train.captioner.requests import rows_of, settings_of, start_of
    from recap_train.captioner.staged import Stage, train

    check_libraries()
    _refuse(args, recipe)
    settings, told = settings_of(recipe, stage, args)
    for sentence in told:
        print(f"{recipe.name}, {stage}: {sentence}", file=sys.stderr)
    device = choose_device(args.device)
    precision, engine, loading = precision_of(args.precision, device), engine_of(args, None), loading_of(args)
    rows = rows_of(args, recipe.model_cfg["prompt"])
    seen = args.samples_seen or len(rows) * int(settings["epochs"])
    name = args.name or f"{recipe.name}-{stage}{'-lora' if args.lora else ''}-s{args.seed}"
    what = Stage(
        recipe, stage, settings, seen, args.seed, args.out, name, args.lora, precision, loading.workers, engine
    )  # fmt: skip
    opened, revision = start_of(args, recipe)
    return train(what, rows, opened, revision)


WHOLE_ONLY = {"ema": None, "compile": False, "keep_every": None, "eval_every": None, "peak_tflops": None, "parallel": "ddp"}


def _refuse(args: argparse.Namespace, recipe: CaptionerRecipe) -> None:
    """Refuse options that mean nothing to a stage on TRL's trainer."""
    for name, default in WHOLE_ONLY.items():
        if getattr(args, name) != default:
            raise UserError(f"--{name.replace('_', '-')} is not of the stages that TRL trains.", "Leave it out.")


def check_libraries() -> None:
    """Refuse to go on without TRL and peft.

    Raises:
        UserError: One of them is not installed.
    """
    from importlib.util import find_spec

    if lacking := [name for name in ("trl", "peft", "datasets") if find_spec(name) is None]:
        raise UserError(f"The stages of a captioner need {lacking[0]}.", "Install it: pip install 'recap[captioner]'")
