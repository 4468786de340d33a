"""`recap-caption status`: how far a run is, what it has made, what it has cost."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from recap_eval.console import add_command, as_path

EXAMPLES = """examples:
  recap-caption status captions                            progress, rate, time left, failures by kind, cost
  recap-caption status captions --watch 30                 again every 30 seconds, until the run is complete
  recap-caption status captions --json | jq .made.statuses

It reads the folder only, from any machine that sees it."""


def add(commands: Any) -> None:
    """Add the command."""
    parser = add_command(commands, "status", "tell how far a run is and what it has cost", EXAMPLES)
    parser.add_argument("folder", type=as_path, metavar="DIR", help="the run's --output")
    parser.add_argument("--watch", type=float, metavar="SECONDS", help="tell it again and again, until the run is complete")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Tell how a run fares."""
    from recap_caption.run.account import state_of
    from recap_caption.run.progress import Survey
    from recap_caption.run.record import read_run

    survey = Survey(found := read_run(args.folder))
    while True:
        state = state_of(found, survey.look())
        print(json.dumps(state) if args.json else "\n".join(lines_of(state)), flush=True)
        if args.watch is None or state["complete"]:
            return 0
        time.sleep(max(1.0, args.watch))


def lines_of(state: dict[str, Any]) -> list[str]:
    """Return all that `status` tells, in words."""
    made, exactly = state["made"], "" if state["rows_expected_exactly"] else "about "
    lines = [
        f"{state['folder']}: run {state['run_id']}, {state['model_id']}, prompt {', '.join(state['prompts'])}"
        + (", partial (--limit)" if state["partial"] else ""),
        f"shards {state['shards_committed']:,} of {state['shards']:,}, "
        f"rows {state['rows_answered']:,} of {exactly}{state['rows_expected']:,}",
    ]
    if state["workers"]:
        eta = "unknown" if state["eta_seconds"] is None else duration(state["eta_seconds"])
        lines.append(
            f"{len(state['workers'])} at work: {state['rate']:,.1f} captions/s, {state['token_rate']:,.0f} tokens/s, "
            f"done in {eta}"
        )
    lines += [f"  {worker['worker']}: {_at(worker)}" for worker in state["workers"]]
    return lines + _made_lines(made)


def _made_lines(made: dict[str, Any]) -> list[str]:
    lines = ["committed: " + (_listed(made["statuses"]) or "nothing yet")]
    lines += [f"failures: {_listed(made['errors'])}"] if made["errors"] else []
    lines += [f"flags: {_listed(made['flags'])}"] if made["flags"] else []
    if torn := made["torn"]["parts"]:
        unknown = made["torn"]["parts_of_unknown_loss"]
        more = f", and an unknown number in {unknown:,} of them" if unknown else ""
        lines.append(f"{len(torn):,} shards end too early: {made['torn']['samples_lost']:,} samples lost{more} ({torn[0]}, …)")
    if made["asked"]:
        lines.append(
            f"cost: {made['engine_hours']:,.2f} hours of engines, {made['gpu_hours']:,.2f} GPU-hours, "
            f"{made['tokens_in']:,} tokens in, {made['tokens_out']:,} out"
            + ("" if made["cost"] is None else f", ${made['cost']['dollars']:,.2f} ({made['cost']['price']})")
        )
    return lines


def _at(worker: dict[str, Any]) -> str:
    hands = ", ".join(f"{name} {done:,}/{total:,}" for name, (done, total) in worker["hands"].items())
    return f"{hands or worker['state']}, {worker['rate']:,.1f} captions/s, {sum(worker['failures'].values()):,} failed"


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def duration(seconds: float) -> str:
    """Return seconds as days, hours and minutes."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute"
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    named = [(days, "d"), (hours, "h"), (minutes, "min")]
    return " ".join(f"{count} {unit}" for count, unit in named if count)
