"""`recap-eval t2i --suite`: every set of a suite generated, then scored, as single commands would; then its row of figures."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap_eval.commands.gallery import gallery_command
from recap_eval.commands.suite_plan import dry_run
from recap_eval.commands.suite_row import row_of, shown
from recap_eval.commands.t2i import end_part, foresee, make_images, make_plan, score_images
from recap_eval.console import warn
from recap_eval.errors import DataError, UserError
from recap_eval.memory import keep_freed_memory
from recap_eval.suite import Suite, SuiteSet, load_suite

if TYPE_CHECKING:
    from recap_eval.runner import Outcome

FIXED: dict[str, Any] = {  # what a suite says itself, and what an option holds that was not given
    "prompts": None, "column": None, "prompt_column": None, "id_column": None, "reference_column": None, "list": None,
    "reference": None, "metrics": None, "resize": None, "frame": None, "save_stats": None, "scheduler": None, "steps": None,
    "guidance_scale": None, "height": None, "width": None, "negative_prompt": None, "samples": 1, "safety_checker": False,
    "set": [],
}  # fmt: skip
CALL = {"steps": "num_inference_steps"}  # what a pipeline's call, and so a manifest, calls an option otherwise


def run_suite(args: argparse.Namespace) -> int:
    """Generate and score the sets of a suite; one that fails leaves the others running.

    Returns:
        0, or 1 if anything failed.
    """
    suite = _suite_of(args)
    runs = {one.name: arguments(suite, one, args) for one in suite.sets}
    if args.dry_run:
        print(dry_run(suite, runs, args.json))
        return 0
    keep_freed_memory()
    plans = {name: make_plan(run) for name, run in runs.items()}
    failed: dict[str, DataError] = {}
    if args.model is not None:
        foresee(args, plans.values())
        if not _generate(runs, failed):
            _tell_failed(failed)
            return 1 if failed else end_part(args)
    outcomes: dict[str, Outcome] = {}
    for name, run in runs.items():
        if name in failed:
            continue
        try:
            if args.model is None:
                check_made(suite, run.images)
            outcomes[name] = score_images(run, plans[name])
        except DataError as error:
            failed[name] = error
    return _tell(args, suite, outcomes, failed)


def _suite_of(args: argparse.Namespace) -> Suite:
    """Read the suite that is named, and refuse options that do not go with it."""
    suite = load_suite(args.suite)
    for option, absent in FIXED.items():
        if getattr(args, option) != absent:
            known = suite.constant(option)
            said = f" ({known.value}; {known.source})" if known else ""
            raise UserError(
                f"--{option.replace('_', '-')} does not go with --suite {suite.name}, which says that itself{said}.",
                "Leave it out. Another protocol is a command without --suite, or a suite file of your own.",
            )
    if args.images is None:
        raise UserError("--suite needs a folder for its images.", "Name it: --images DIR; each set lies in DIR/SET")
    if args.model and ":" in args.model and not Path(args.model).expanduser().exists():
        raise UserError(
            f"{args.model} samples by itself, so that --suite {suite.name} cannot say how.",
            f"Generate into {args.images}/SET by recap-eval generate, then give --suite without --model.",
        )
    if suite.takes_scorer != bool(args.scorer):
        what = f"--suite {suite.name} needs a model that scores." if suite.takes_scorer else "--scorer does not go with it."
        raise UserError(what, "Name it: --scorer M" if suite.takes_scorer else f"--suite {suite.name} names its scorers.")
    return suite.scored_by(args.scorer) if args.scorer else suite


def arguments(suite: Suite, one: SuiteSet, args: argparse.Namespace) -> argparse.Namespace:
    """Return what a single command for a set of a suite would be given."""
    constants = {name: known.value for name, known in (suite.generate | suite.score).items()}
    said = {
        "prompts": one.prompts,
        "column": one.column or None,
        "metrics": ",".join(one.metrics),
        "images": args.images / one.name,
    }
    return argparse.Namespace(**vars(args) | constants | said | {"suite": None, "scorer": None, "dry_run": False})


def _generate(runs: dict[str, argparse.Namespace], failed: dict[str, DataError]) -> bool:
    """Make the images of every set; True if this process is to score them."""
    ready = True
    for name, run in runs.items():
        try:
            ready = make_images(run) and ready
        except DataError as error:
            failed[name] = error
    return ready and len(failed) < len(runs)


def check_made(suite: Suite, folder: Path) -> None:
    """Hold a folder of images against the sampling that a suite asks for, as far as anything tells it.

    Raises:
        DataError: They were made otherwise.
    """
    from recap_eval.artifact import find_artifact
    from recap_eval.generate.schedulers import SCHEDULERS

    artifact = find_artifact(folder) if folder.is_dir() else None
    made = dict(artifact.made.get("sampling", {})) if artifact else {}
    made["scheduler"] = (made.get("scheduler") or {}).get("class")
    unknown = []
    for name, constant in suite.generate.items():
        wanted = SCHEDULERS[constant.value][0] if name == "scheduler" else constant.value
        there = made.get(CALL.get(name, name))
        if there is None:
            unknown.append(name)
        elif there != wanted:
            raise DataError(
                f"{folder} is no set of the suite {suite.name}: it was made with {name} {there}, not {wanted}.",
                "Score it by a command without --suite, or generate it again elsewhere.",
            )
    if unknown and folder.is_dir():
        warn(f"{folder}: nothing tells {', '.join(unknown)}; whether it follows the suite {suite.name} is yours to know")


def _tell_failed(failed: dict[str, DataError]) -> None:
    for name, why in failed.items():
        print(f"error: {name}: {why.what}\n       {why.hint}", file=sys.stderr)


def _tell(args: argparse.Namespace, suite: Suite, outcomes: dict[str, Outcome], failed: dict[str, DataError]) -> int:
    from recap_eval.runner import as_json

    row = row_of(suite, outcomes, failed)
    if args.json:
        sets = {name: as_json(outcome) for name, outcome in outcomes.items()}
        print(json.dumps({"suite": suite.name, "sets": sets, "row": row} | {"failed": {n: w.what for n, w in failed.items()}}))
    else:
        print(shown(suite, row))
        print(f"Results: {args.out / 'results'}; two models: recap-eval compare {args.images}/SET OTHER/SET", file=sys.stderr)
        for name in outcomes:
            print(f"See them: {gallery_command(args, args.images / name)}", file=sys.stderr)
    _tell_failed(failed | {f"{name}, {task}": why for name, one in outcomes.items() for task, why in one.failed.items()})
    return 1 if failed or any(outcome.failed for outcome in outcomes.values()) else 0
