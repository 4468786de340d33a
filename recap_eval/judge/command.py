"""The words of `recap-eval judge`. Standard library only at import."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recap_eval.console import add_command, as_path
from recap_eval.judge.options import add_judge, add_server

EXAMPLES = """examples:
  recap-eval judge estimate --images images/a                                      what rating them will cost
  recap-eval t2i --images images/a --metrics judge --max-cost 5                    the ratings themselves, as a result
  recap-eval judge check --images photos --list captions.csv --judge-repeats 3 --truth human.csv
  recap-eval judge check --images photos --list pairs.csv --judge-template pairwise --other-column caption2
  recap-eval judge submit --images images/a --state judge-a                        OpenAI's Batch API, at half the price
  recap-eval judge status --state judge-a
  recap-eval judge collect --state judge-a                                         then t2i --metrics judge asks nothing

Any OpenAI-compatible server: --base-url http://localhost:8000/v1 --judge-model NAME. The key comes from $OPENAI_API_KEY.
Answers are kept and never paid twice; after Ctrl-C or a failure the same command goes on. See docs/judge.md."""

ACTIONS = {
    "estimate": "what a rating will cost, before anything is asked",
    "check": "how good the judge is: agreement of repeats, bias for a place, correlation with the truth",
    "submit": "hand questions to OpenAI's Batch API; again for those that failed or expired",
    "status": "how batches stand",
    "collect": "take the answers of finished batches into the cache",
}


def add_commands(commands: Any, run: Callable[[argparse.Namespace], int]) -> None:
    """Add `recap-eval judge` with its actions."""
    judge = add_command(commands, "judge", "a vision LLM as a judge: cost, quality, batches", EXAMPLES)
    actions = judge.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, help_text in ACTIONS.items():
        action = actions.add_parser(
            name, help=help_text, description=help_text, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        action.add_argument("--json", action="store_true", help="print the outcome as JSON, for machines")
        OPTIONS[name](action)
        action.set_defaults(run=run)


def _add_items(action: argparse.ArgumentParser) -> None:
    action.add_argument("--images", type=as_path, required=True, metavar="DIR", help="folder of images, as for recap-eval t2i")
    action.add_argument(
        "--list", type=as_path, metavar="FILE", help="CSV or JSONL with file, prompt, id, for a folder of others"
    )
    action.add_argument("--skip-bad", action="store_true", help="count and leave out missing, changed or unreadable images")
    _add_cache(action)
    add_judge(action)


def _add_check(action: argparse.ArgumentParser) -> None:
    action.add_argument(
        "--truth", type=as_path, metavar="FILE", help="CSV or JSONL with id and rating: people's, or the scenes'"
    )
    action.add_argument("--truth-column", default="rating", metavar="C", help="its column of figures (default: rating)")
    action.add_argument("--other-column", metavar="C", help="column of --list with the second caption, for a pairwise template")
    action.add_argument("--out", type=as_path, default=Path("leaderboards"), metavar="DIR", help="where the result goes")
    _add_items(action)


def _add_submit(action: argparse.ArgumentParser) -> None:
    _add_folder(action)
    _add_items(action)


def _add_state(action: argparse.ArgumentParser) -> None:
    _add_folder(action)
    _add_cache(action)
    add_server(action)


def _add_folder(action: argparse.ArgumentParser) -> None:
    action.add_argument("--state", type=as_path, required=True, metavar="DIR", help="folder that remembers the batches")


def _add_cache(action: argparse.ArgumentParser) -> None:
    action.add_argument(
        "--cache", type=as_path, metavar="DIR", help="where answers and digests are kept (default: $RECAP_CACHE)"
    )


OPTIONS = {
    "estimate": _add_items,
    "check": _add_check,
    "submit": _add_submit,
    "status": _add_state,
    "collect": _add_state,
}
