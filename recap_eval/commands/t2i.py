"""`recap-eval t2i`: measure generated images, after generating them if a model is named."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from typing import TYPE_CHECKING

from recap_eval.data.root import default_cache, default_root
from recap_eval.errors import DataError, UserError
from recap_eval.memory import keep_freed_memory

if TYPE_CHECKING:
    from recap_eval.extractors.base import Extraction
    from recap_eval.generate.images import ImageSet
    from recap_eval.runner import Options


def evaluate_images(args: argparse.Namespace) -> int:
    """Measure images by every metric named; one that fails leaves the others running.

    Returns:
        0, or 1 if anything failed.
    """
    from recap_eval.judge.options import config_of, sample_of
    from recap_eval.runner import as_json
    from recap_eval.scoring import Bench, find_reference, measure_images, no_reference
    from recap_eval.tasks.generation import find_metrics

    keep_freed_memory()
    metrics, root = find_metrics(args.metrics), args.data or default_root()
    reference = find_reference(args.reference, root) if args.reference else None
    if reference is None and (lacking := [metric for metric in metrics if metric.extractor]):
        raise no_reference(lacking[0])  # before anything is generated
    how, options = _extraction(args), _options(args)
    jury = (config_of(args), sample_of(args)) if any(metric.judged for metric in metrics) else None
    images = _images(args)
    print(f"{images.folder}: {len(images.images):,} images, paired by {images.paired_by}", file=sys.stderr)
    bench = Bench(images, reference, how, options, jury)
    outcome = measure_images(bench, metrics)
    if args.save_stats:
        word = next((metric.extractor for metric in metrics if metric.extractor), "inception")
        made = bench.save_statistics(word, args.save_stats)
        print(f"Statistics of {made.n:,} reference images: {args.save_stats}", file=sys.stderr)
    if args.json:
        print(json.dumps(as_json(outcome)))
    else:
        print(f"Results: {args.out / 'results'}; two sets of images: recap-eval compare A B", file=sys.stderr)
    for name, why in outcome.failed.items():
        print(f"error: {name}: {why.what}\n       {why.hint}", file=sys.stderr)
    return 1 if outcome.failed else 0


def _images(args: argparse.Namespace) -> ImageSet:
    """Return the images to measure, made first if a model is named.

    Raises:
        UserError: Neither images nor a model, or both.
        DataError: The folder is not what it says; images failed.
    """
    from recap_eval.commands.generate import run_generate
    from recap_eval.generate.images import read_images
    from recap_eval.generate.options import prompts_of

    if args.model is not None:
        if args.images is None or args.prompts is None:
            raise UserError("A model needs prompts, and a folder for its images.", "Name them: --prompts P --images DIR")
        named = argparse.Namespace(**vars(args) | {"out": args.images, "json": False})
        with contextlib.redirect_stdout(sys.stderr):  # standard output is the measurement's
            code = run_generate(named)
        if code:
            raise DataError("Not all images could be made.", "Mend what is said above; the same command goes on.")
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
    precision = args.feature_precision
    return Extraction(
        resolve_device(args.device), precision, args.resize, frame, args.inception_weights, args.data or default_root()
    )  # fmt: skip


def _options(args: argparse.Namespace) -> Options:
    from recap_eval.runner import Options

    cache = None if args.no_cache else args.cache or default_cache()
    return Options(
        args.out, args.data or default_root(), args.feature_batch, None, args.skip_bad, args.force, True, cache,
        int(args.cache_limit * 1e9),
    )  # fmt: skip
