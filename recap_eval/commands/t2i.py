"""`recap-eval t2i`: measure generated images, after generating them if a model is named."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from recap_eval.commands.gallery import gallery_command
from recap_eval.console import warn
from recap_eval.data.root import default_cache, default_root
from recap_eval.errors import DataError, UserError
from recap_eval.memory import keep_freed_memory

if TYPE_CHECKING:
    from recap_eval.extractors.base import Extraction
    from recap_eval.generate.images import ImageSet
    from recap_eval.judge.rating import Config
    from recap_eval.runner import Options, Outcome
    from recap_eval.scoring import Reference
    from recap_eval.tasks.generation import SetMetric

METRICS, RESIZE = "clip", "clean"  # where nothing is said


@dataclass(frozen=True)
class Plan:
    """What images are to be measured by.

    Args:
        metrics: The metrics.
        reference: What distances are to; None if there is none.
        how: How extractors are built and run.
        options: Where results and features go, and how errors are met.
        jury: The judge at work, and how many images it sees; None if there is none.
    """

    metrics: list[SetMetric]
    reference: Reference | None
    how: Extraction
    options: Options
    jury: tuple[Config, int | None] | None = None


def evaluate_images(args: argparse.Namespace) -> int:
    """Measure images by every metric named; one that fails leaves the others running.

    Returns:
        0, or 1 if anything failed.
    """
    if args.suite is not None:
        from recap_eval.commands.suite import run_suite

        return run_suite(args)
    for name in ("scorer", "dry_run"):
        if getattr(args, name):
            raise UserError(f"--{name.replace('_', '-')} goes with --suite.", "Name one: --suite paper or --suite scenes")
    keep_freed_memory()
    plan = make_plan(args)
    if args.model is not None:
        foresee(args, [plan])
        if not make_images(args):
            return end_part(args)
    outcome = score_images(args, plan)
    tell(args, outcome)
    return 1 if outcome.failed else 0


def make_plan(args: argparse.Namespace) -> Plan:
    """Find out what is to be measured, before anything is generated.

    Raises:
        UserError: Unknown names, or a distance to nothing.
        DataError: The reference is missing or damaged.
    """
    from recap_eval.judge.options import config_of, sample_of
    from recap_eval.scoring import find_reference, no_reference
    from recap_eval.tasks.generation import find_metrics

    metrics = find_metrics(METRICS if args.metrics is None else args.metrics)
    if not metrics:
        raise UserError("--metrics names no metric.", "All names: recap-eval t2i --help")
    reference = find_reference(args.reference, args.data or default_root()) if args.reference else None
    if reference is None and (lacking := [metric for metric in metrics if metric.extractor]):
        raise no_reference(lacking[0])
    jury = (config_of(args), sample_of(args)) if any(metric.judged for metric in metrics) else None
    return Plan(metrics, reference, _extraction(args), _options(args), jury)


def foresee(args: argparse.Namespace, plans: Iterable[Plan]) -> None:
    """Load once what images will be measured by, so that what is missing is told before they are generated.

    Raises:
        UserError: A model or extractor has no such name.
    """
    from recap_eval.extractors.loading import load_extractor
    from recap_eval.models.base import Loading
    from recap_eval.models.loading import load
    from recap_eval.parallel import Team

    team = Team.of(args.shard)
    if team.launched and not team.scores:
        return
    networks = {metric.extractor or metric.scorer: (metric, plan) for plan in plans for metric in plan.metrics}
    for metric, plan in (found for word, found in networks.items() if word):
        try:
            if metric.extractor:
                load_extractor(metric.extractor, replace(plan.how, device="cpu", precision="fp32"))
            else:
                load(metric.scorer, Loading("fp32", "cpu"))
        except DataError as error:
            warn(f"{metric.name} is going to fail. {error.what} {error.hint}")


def make_images(args: argparse.Namespace) -> bool:
    """Make the images of a model.

    Returns:
        True if all are there and this process is the one that scores them.

    Raises:
        UserError: There is no folder or no prompts for them, or an option does not fit.
        DataError: Images failed.
    """
    from recap_eval.artifact import find_artifact
    from recap_eval.commands.generate import run_generate
    from recap_eval.parallel import Team

    if args.images is None or args.prompts is None:
        raise UserError("A model needs prompts, and a folder for its images.", "Name them: --prompts P --images DIR")
    named = argparse.Namespace(**vars(args) | {"out": args.images, "json": False})
    with contextlib.redirect_stdout(sys.stderr):  # standard output is the measurement's
        code = run_generate(named)
    if code:
        raise DataError("Not all images could be made.", "Mend what is said above; the same command goes on.")
    team = Team.of(args.shard)
    if team.launched and not team.scores:
        return False
    return find_artifact(args.images) is not None


def end_part(args: argparse.Namespace) -> int:
    """Say what becomes of a part's images; returns 0."""
    if args.shard:
        print("This part is made. The part that ends last scores; so does the same command without --shard.", file=sys.stderr)
    return 0


def score_images(args: argparse.Namespace, plan: Plan) -> Outcome:
    """Measure the images of a folder.

    Raises:
        UserError: What to measure is not said.
        DataError: The folder is not what it says.
    """
    from recap_eval.scoring import Bench, measure_images

    images = _images(args)
    print(f"{images.folder}: {len(images.images):,} images, paired by {images.paired_by}", file=sys.stderr)
    bench = Bench(images, plan.reference, plan.how, plan.options, plan.jury)
    outcome = measure_images(bench, plan.metrics)
    if args.save_stats:
        word = next((metric.extractor for metric in plan.metrics if metric.extractor), "inception")
        made = bench.save_statistics(word, args.save_stats)
        print(f"Statistics of {made.n:,} reference images: {args.save_stats}", file=sys.stderr)
    return outcome


def tell(args: argparse.Namespace, outcome: Outcome) -> None:
    """Say where results are, and what failed."""
    from recap_eval.runner import as_json

    if args.json:
        print(json.dumps(as_json(outcome)))
    else:
        print(f"Results: {args.out / 'results'}; two sets of images: recap-eval compare A B", file=sys.stderr)
        print(f"See them: {gallery_command(args, args.images)}", file=sys.stderr)
    for name, why in outcome.failed.items():
        print(f"error: {name}: {why.what}\n       {why.hint}", file=sys.stderr)


def _images(args: argparse.Namespace) -> ImageSet:
    from recap_eval.generate.images import read_images
    from recap_eval.generate.options import prompts_of

    if args.model is not None:
        return read_images(args.images)
    if args.images is None:
        raise UserError(
            "What to measure is not said.", "Name a folder: --images DIR, or a model: --model M --prompts P --images DIR"
        )
    prompts = prompts_of(args) if args.prompts else None
    return read_images(args.images, args.list, prompts, args.skip_bad)


def _extraction(args: argparse.Namespace) -> Extraction:
    from recap_eval.extractors.base import Extraction
    from recap_eval.extractors.frame import Frame
    from recap_eval.models.loading import resolve_device

    frame = Frame.parse(args.frame) if args.frame else None
    return Extraction(
        resolve_device(args.device), args.feature_precision, args.resize or RESIZE, frame, args.inception_weights,
        args.data or default_root(),
    )  # fmt: skip


def _options(args: argparse.Namespace) -> Options:
    from recap_eval.runner import Options

    cache = None if args.no_cache else args.cache or default_cache()
    return Options(
        args.out, args.data or default_root(), args.feature_batch, None, args.skip_bad, args.force, True, cache,
        int(args.cache_limit * 1e9),
    )  # fmt: skip
