"""Options of commands that measure, group by group. Standard library only at import."""

from __future__ import annotations

import argparse
from pathlib import Path

from recap_eval.console import as_path, positive
from recap_eval.generate.options import add_prompts, add_running, add_sampling
from recap_eval.judge.options import add_judge


def add_cache(parser: argparse.ArgumentParser) -> None:
    """Add where what a model saw in images and texts is kept."""
    group = parser.add_argument_group("cache")
    group.add_argument("--cache", type=as_path, metavar="DIR", help="where features are kept (default: $RECAP_CACHE)")
    group.add_argument("--no-cache", action="store_true", help="keep no features, use none")
    group.add_argument("--cache-limit", type=float, default=20, metavar="GB", help="size of the cache (default 20)")


def add_t2i(parser: argparse.ArgumentParser) -> None:
    """Add all options of `recap-eval t2i`."""
    _add_what(parser)
    _add_scoring(parser)
    add_cache(parser)
    add_prompts(parser, required=False)
    add_sampling(parser)
    add_running(parser)
    add_judge(parser)


def _add_what(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=as_path, metavar="DIR", help="folder of images; with --model, where they are made")
    parser.add_argument("--list", type=as_path, metavar="FILE", help="CSV or JSONL with file, prompt, id, for others' folders")
    parser.add_argument("--model", metavar="M", help="generate first: a pipeline's folder, ORG/NAME, or MODULE:ATTR")
    parser.add_argument("--out", type=as_path, default=Path("leaderboards"), metavar="DIR", help="where results go")
    parser.add_argument("--skip-bad", action="store_true", help="count and leave out missing, changed or unreadable images")
    parser.add_argument("--force", action="store_true", help="measure again and replace what is there")
    group = parser.add_argument_group("suite", "A whole protocol in one command: prompts, sampling, metrics, reference.")
    group.add_argument("--suite", metavar="S", help="paper, scenes, or a file (.toml); images go into DIR/SET")
    group.add_argument("--scorer", metavar="M", help="CLIP model that a suite leaves to you (scenes: one that knows them)")
    group.add_argument("--dry-run", action="store_true", help="print the protocol with sources, commands and disk; do nothing")


def _add_scoring(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("scoring")
    group.add_argument("--reference", metavar="R", help="folder of real images, statistics (.npz), or a data set by name")
    group.add_argument("--metrics", metavar="M,…", help="see below (default: clip)")
    group.add_argument("--resize", metavar="R", help="to the Inception: clean (default), tf1, legacy_pytorch, tm18")
    group.add_argument(
        "--frame", metavar="F", help="what of each image is taken first: crop:256, squash:256 (default: all, as it is)"
    )
    group.add_argument(
        "--inception-weights", type=as_path, metavar="FILE", help="the FID Inception's (default: in the data root)"
    )
    group.add_argument("--feature-precision", default="fp32", choices=("fp32", "bf16"), help="of extractors and scorers")
    group.add_argument("--feature-batch", type=positive, metavar="N", help="images a forward pass of extractors and scorers")
    group.add_argument("--save-stats", type=as_path, metavar="FILE", help="keep the reference's mean and covariance (.npz)")
