"""`recap-eval captioner`: measure captioners, then render the report."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from recap_eval.commands.clip import draw_scenes, finish
from recap_eval.data.root import data_root, default_cache, is_chosen
from recap_eval.errors import DataError
from recap_eval.tasks.captioner import CaptionerTask, choose

if TYPE_CHECKING:
    from recap_eval.models.captioner import Captioner
    from recap_eval.runner import Options, Outcome
    from recap_eval.tasks.answered import Means


def evaluate_captioners(args: argparse.Namespace) -> int:
    """Measure every captioner named on every task; a task or model that fails leaves the others running.

    Returns:
        0, or 1 if anything failed.
    """
    from recap_eval.runner import Outcome

    root, tasks, absent = find_data(args)
    means, options = _means(args, tasks), _options(args, root)
    outcomes: dict[str, Outcome] = {}
    for spec in args.model:
        print(f"{spec}: {len(tasks)} tasks on {root}", file=sys.stderr)
        try:
            outcomes[spec] = _measure(args, _load(args, spec), tasks, means, options)
        except DataError as error:
            if len(args.model) == 1:
                raise
            outcomes[spec] = Outcome(failed={"(loading)": error})
        outcomes[spec].failed |= absent
    return finish(args, outcomes)


def find_data(args: argparse.Namespace) -> tuple[Path, list[CaptionerTask], dict[str, DataError]]:
    """Return the data root, the tasks to run on it, and the error of each task named by the user whose data is missing.

    With no data at all, no task and no folder named, scenes are drawn into the cache.

    Raises:
        UserError: An unknown task.
        DataError: Nothing can be run.
    """
    root = data_root(args.data)
    tasks, absent = choose(args.tasks, root)
    if not tasks and args.tasks is None and args.data is None and not is_chosen():
        draw_scenes(root)
        tasks, absent = choose(args.tasks, root)
    if not tasks:
        raise next(iter(absent.values()))
    return root, tasks, absent


def _means(args: argparse.Namespace, tasks: list[CaptionerTask]) -> Means:
    """Return how tasks are asked and graded; a judge only where a task needs one."""
    from recap_eval.judge.options import config_of
    from recap_eval.tasks.answered import Means

    judged = any(task.name == "mm-vet" for task in tasks)
    return Means(args.mmmu_images, args.reference_tokens, config_of(args) if judged else None)


def _options(args: argparse.Namespace, root: Path) -> Options:
    from recap_eval.runner import Options

    return Options(
        out=args.out, data=root, limit=args.limit, skip_bad=args.skip_bad, force=args.force, cache=args.cache or default_cache()
    )


def _load(args: argparse.Namespace, spec: str) -> Captioner:
    from recap_eval.endpoint.address import find_address
    from recap_eval.judge.options import limits_of
    from recap_eval.models.base import Loading
    from recap_eval.models.captioners import SERVED, load_captioner
    from recap_eval.models.served import Serving

    if spec.startswith(SERVED):
        serving = Serving(find_address(args.model_url, args.model_key_env), limits_of(args), args.revision)
        return load_captioner(spec, Loading(), serving)
    from recap_eval.models.loading import resolve_device, resolve_precision

    device = resolve_device(args.device)
    return load_captioner(spec, Loading(resolve_precision(args.precision, device), device), Serving(), args.batch_size)


def _measure(
    args: argparse.Namespace, captioner: Captioner, tasks: list[CaptionerTask], means: Means, options: Options
) -> Outcome:  # fmt: skip
    from recap_eval.answering import Bench, measure_captioner
    from recap_eval.said import NAME

    kept = args.answers or (args.cache or default_cache()) / NAME
    return measure_captioner(Bench(captioner, means, kept, options), tasks)
