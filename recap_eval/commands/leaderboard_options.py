"""The words of `recap-eval leaderboard`. Standard library only at import."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recap_eval.console import add_command, add_common, as_path, positive

EXAMPLES = """examples:
  recap-eval leaderboard add theirs/results/ViT-B-32-1b2c3d4e             checked first: form, digests, task version, figures
  recap-eval leaderboard add theirs --dry-run                             check only
  recap-eval leaderboard verify runs-p0.5/scenes-zeroshot --model runs/p0.5 --data scenes
  recap-eval leaderboard verify leaderboards/results/A-1b2c3d4e/*.json --sample 1000 --tolerance 1e-6 --allow 0.002
  recap-eval leaderboard verify images-a/t2i-clip --again build/again     for what it cannot measure again by itself
  recap-eval leaderboard remove runs-p0.5/scenes-zeroshot --dry-run       what boards would lose
  recap-eval leaderboard import ViT-B-32.json benchmark.csv               of clip_benchmark; never ranked with ours

RECORD is a result's JSON, or MODEL/TASK; beginnings that are clear are enough. See docs/leaderboards.md."""

ACTIONS = {
    "add": "check results of others and put them among yours",
    "verify": "measure a sample of a result's items again, and compare item by item",
    "remove": "take results out, after saying what boards lose",
    "import": "take figures of clip_benchmark over, marked as such",
}
SAMPLE, TOLERANCE = 256, 1e-6


def add_commands(commands: Any, run: Callable[[argparse.Namespace], int]) -> None:
    """Add `recap-eval leaderboard` with its actions."""
    board = add_command(commands, "leaderboard", "put results in and out, measure them again, import others'", EXAMPLES)
    actions = board.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, help_text in ACTIONS.items():
        action = actions.add_parser(
            name, help=help_text, description=help_text, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        add_common(action)
        OPTIONS[name](action)
        action.add_argument("--leaderboards", type=as_path, default=Path("leaderboards"), metavar="DIR", help="results")
        action.set_defaults(run=run)


def _add_add(action: argparse.ArgumentParser) -> None:
    action.add_argument("places", nargs="+", type=as_path, metavar="FILE|DIR", help="records (JSON), or folders of them")
    _add_writing(action)


def _add_import(action: argparse.ArgumentParser) -> None:
    action.add_argument("files", nargs="+", type=as_path, metavar="FILE", help="a JSON of clip_benchmark, or its build's CSV")
    action.add_argument(
        "--as", dest="own", action="append", default=[], metavar="DATASET=TASK", help="which task a data set is; repeatable"
    )
    _add_writing(action)


def _add_writing(action: argparse.ArgumentParser) -> None:
    action.add_argument("--replace", action="store_true", help="take the place of another answer to the same question")
    action.add_argument("--dry-run", action="store_true", help="check, say what would be done, and write nothing")
    action.add_argument("--data", type=as_path, metavar="DIR", help="data root whose own tasks.toml counts too")


def _add_remove(action: argparse.ArgumentParser) -> None:
    action.add_argument("records", nargs="+", metavar="RECORD", help="a record's JSON, or MODEL/TASK")
    action.add_argument("--dry-run", action="store_true", help="say what boards would lose, and remove nothing")
    action.add_argument("--yes", action="store_true", help="do not ask")


def _add_verify(action: argparse.ArgumentParser) -> None:
    action.add_argument("records", nargs="+", metavar="RECORD", help="a record's JSON, or MODEL/TASK")
    action.add_argument("--model", metavar="M", help="where the model is now (default: as when it was measured)")
    action.add_argument("--data", type=as_path, metavar="DIR", help="data root or folder of scenes, likewise")
    action.add_argument(
        "--sample", type=positive, default=SAMPLE, metavar="N", help=f"images measured again, drawn by their ids ({SAMPLE})"
    )
    action.add_argument(
        "--tolerance", type=float, default=TOLERANCE, metavar="T", help=f"scores of an item this near are equal ({TOLERANCE:g})"
    )
    action.add_argument(
        "--allow", type=float, default=0.0, metavar="SHARE", help="share of items that may differ, as near ties do (0)"
    )
    action.add_argument(
        "--again",
        type=as_path,
        metavar="DIR",
        help="compare with what was measured again into this folder, of any kind of task",
    )
    action.add_argument("--device", metavar="D", help="cpu, cuda or cuda:N (default: a GPU if there is one)")
    action.add_argument("--batch-size", type=positive, metavar="N", help="images a forward pass (64 on a CPU, 256 on a GPU)")


OPTIONS: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "add": _add_add,
    "verify": _add_verify,
    "remove": _add_remove,
    "import": _add_import,
}
