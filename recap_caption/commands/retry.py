"""`recap-caption retry`: asks rows of a complete run again whose failure may have passed."""

from __future__ import annotations

import argparse
from typing import Any

from recap_caption.commands.run import work
from recap_caption.engine_options import add_engine
from recap_caption.options import add_eval, add_run, add_workers
from recap_caption.rows import ASKABLE, PASSING
from recap_eval.console import add_command, add_common, as_path

EXAMPLES = f"""examples:
  recap-caption retry captions                             rows that failed with {" or ".join(PASSING)}
  recap-caption retry captions --status refused,timeout --base-url http://c:8000/v1
  recap-caption retry captions --workers 4

Model, prompts and input are those of the run; any option of recap-caption run may be given again, as far as it does not change
what is captioned. Statuses that can be asked again: {", ".join(ASKABLE)}.

Nothing is overwritten: 00012.g1.parquet lies beside 00012.parquet and has all its rows, those asked again with their new
outcome. Readers take the newest."""

INSTEAD = {"workers": ("ray", None), "ray": ("workers", 1)}  # what one option, given again, takes the place of


def add(commands: Any) -> None:
    """Add the command."""
    parser = add_command(commands, "retry", "ask rows again that failed", EXAMPLES)
    parser.add_argument("folder", type=as_path, metavar="DIR", help="the run's --output")
    parser.add_argument(
        "--status", default=",".join(PASSING), metavar="S,…", help=f"statuses to ask again (default {','.join(PASSING)})"
    )
    mine = len(parser._actions)
    for add_group in (add_engine, add_workers, add_eval):
        add_group(parser)
    for action in parser._actions[mine:]:
        action.default = argparse.SUPPRESS  # what is not given again is as it was
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Ask again."""
    from recap_caption.run.record import read_run

    record = read_run(args.folder).record
    parser = argparse.ArgumentParser("recap-caption retry")
    add_common(parser)
    add_run(parser)
    again = parser.parse_args(record["command"][1:])
    for given, (other, nothing) in INSTEAD.items():
        if given in vars(args):
            setattr(again, other, nothing)
    vars(again).update(vars(args) | {"input": record["input"]["words"], "output": args.folder})
    return work(again, list(args.words), tuple(word.strip() for word in args.status.split(",") if word.strip()))
