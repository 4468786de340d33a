"""The words of `recap-eval captioner`. Standard library only at import."""

from __future__ import annotations

import argparse
from pathlib import Path

from recap_eval.console import as_path, positive
from recap_eval.judge.options import add_grader

EXAMPLES = """examples:
  recap-eval captioner --model runs/captioner                         every task whose data is there, then the report
  recap-eval captioner --model ORG/NAME --tasks mmmu,mm-vet --data data --judge-model gpt-4-0613
  recap-eval captioner --model openai:NAME --model-url http://localhost:8000/v1 --tasks mmmu --concurrency 32
  recap-eval captioner --model runs/a --model runs/b --tasks scenes-qa,scenes-caption
  recap-eval captioner --model mine.py:Mine --tasks detail-caption:urban1k --reference-tokens words

Tasks: mmmu (val, accuracy), mm-vet (graded by a judge), scenes-qa, scenes-caption (drawn scenes, whose truth is known),
detail-caption (CIDEr and more; DOCCI, or detail-caption:DATA for any images with captions of recap-eval list tasks).
Answers are kept and nothing is asked twice: after Ctrl-C, a crash or a failure the same command goes on. docs/captioners.md"""


def add_captioner(parser: argparse.ArgumentParser) -> None:
    """Add all options of `recap-eval captioner`."""
    parser.add_argument(
        "--model", action="append", required=True, metavar="M", help="folder, ORG/NAME, openai:NAME or MODULE:ATTR; repeatable"
    )
    parser.add_argument("--tasks", metavar="T,…", help="see below (default: every task whose data is there)")
    parser.add_argument("--data", type=as_path, metavar="DIR", help="data root or folder of scenes (default: $RECAP_DATA)")
    parser.add_argument("--out", type=as_path, default=Path("leaderboards"), metavar="DIR", help="where results go")
    parser.add_argument("--reports", type=as_path, default=Path("reports"), metavar="DIR", help="where the report goes")
    parser.add_argument("--no-report", action="store_true", help="do not render the report")
    parser.add_argument("--limit", type=positive, metavar="N", help="first N questions only: a partial result, never ranked")
    parser.add_argument("--skip-bad", action="store_true", help="count and leave out what cannot be read or answered")
    parser.add_argument("--force", action="store_true", help="measure again; answers that are kept are still used")
    parser.add_argument(
        "--answers", type=as_path, metavar="FILE", help="answers, kept for good (captioner.sqlite in the cache)"
    )
    parser.add_argument("--cache", type=as_path, metavar="DIR", help="where digests and answers are kept ($RECAP_CACHE)")
    _add_running(parser)
    _add_tasks(parser)
    add_grader(parser, "mm-vet")
    parser.set_defaults(run=run_captioner)


def run_captioner(args: argparse.Namespace) -> int:
    """Measure captioners."""
    from recap_eval.commands.captioner import evaluate_captioners

    return evaluate_captioners(args)


def _add_running(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("model")
    group.add_argument("--precision", default="auto", metavar="P", help="fp32 (auto on CPU) or bf16 (auto on GPU)")
    group.add_argument("--device", metavar="D", help="cpu, cuda or cuda:N (default: a GPU if there is one)")
    group.add_argument("--batch-size", type=positive, metavar="N", help="prompts a batch (default: 4 on a CPU, 16 on a GPU)")
    group.add_argument("--model-url", metavar="URL,…", help="servers of openai:NAME (default: $OPENAI_BASE_URL, else OpenAI)")
    group.add_argument("--model-key-env", metavar="NAME", help="environment variable with their key (default: OPENAI_API_KEY)")
    group.add_argument("--revision", default="", metavar="R", help="what the weights behind openai:NAME are, for the results")


def _add_tasks(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("tasks")
    group.add_argument(
        "--mmmu-images",
        choices=("first", "all"),
        default="first",
        help="the first (as its authors ask LLaVA), or all, where named",
    )
    group.add_argument("--reference-tokens", choices=("ptb", "words"), default="ptb", help="ptb (default) needs Java")
