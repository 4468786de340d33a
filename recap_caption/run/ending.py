"""The end of a run: leftovers swept, the outcome told, the captions measured by the command that a person would type."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

from recap_caption.rows import PASSING
from recap_caption.run.account import account
from recap_caption.run.generation import FIRST, Generation, left
from recap_caption.run.lease import Leases
from recap_caption.run.output import read_facts
from recap_caption.run.record import Run
from recap_caption.run.spool import drop_spool
from recap_caption.sources.base import NO_ROLE
from recap_eval.captions.generations import split_name
from recap_eval.console import note
from recap_eval.hashrand import text_key

MEASURED = 1_000_000  # rows at most that are measured at the end of a run; whole shards, the same whatever the model


def sweep(run: Run, generation: Generation) -> None:
    """Remove what dead workers left behind of parts that are committed."""
    for part in run.parts:
        drop_spool(run.folder.spool(part.name, generation.number))
    leases = run.folder.leases.glob(f"*.g{generation.number}.[ls]*")  # others may be those of a retry that has begun
    for path in (*run.folder.leftovers(generation.number), *leases, *run.folder.leases.glob(".*")):
        path.unlink(missing_ok=True)


def outcome(run: Run, generation: Generation) -> dict[str, Any]:
    """Return what a command's end tells, as data."""
    lacking = left(run, generation)
    return {
        "folder": str(run.folder.root), "run_id": run.run_id, "generation": generation.number, "complete": not lacking,
        "shards_left": len(lacking), "made": account(run),
    }  # fmt: skip


def tell(run: Run, found: dict[str, Any]) -> None:
    """Tell how a command ended, and what to type next."""
    root, made = run.folder.root, found["made"]
    if not found["complete"]:
        note(f"{root}: {found['shards_left']:,} shards are in other workers' hands; where those end, this command goes on.")
        return
    counts = ", ".join(f"{count:,} {status}" for status, count in made["statuses"].items())
    note(f"{root}: complete, {made['rows']:,} rows ({counts}). Prove it: recap-caption verify {root}")
    passing = [status for status in PASSING if made["statuses"].get(status)]
    if passing:
        note(f"Ask what failed again: recap-caption retry {root} --status {','.join(passing)}")


def evaluate(args: argparse.Namespace, run: Run) -> int:
    """Measure the captions of a complete run; returns the measurement's exit code."""
    if run.config["limit"] is not None:
        note("The run is partial (--limit): its captions are not measured.")
        return 0
    lease = Leases(run.folder.leases, "end").take("evaluation")
    if lease is None:
        return 0
    try:
        return _measure(args, run)
    finally:
        lease.release()


def _measure(args: argparse.Namespace, run: Run) -> int:
    words = evaluation_words(args, run)
    code = subprocess.run([sys.executable, "-m", "recap_eval.cli", *words], check=False).returncode
    if code:
        note(f"The captions are whole in {run.folder.root}; only their measurement failed. Again: recap-eval {' '.join(words)}")
    return code


def evaluation_words(args: argparse.Namespace, run: Run) -> list[str]:
    """Return the words of the command that measures a run's captions."""
    files = sample_outputs(run)
    whole = len(files) == len(run.folder.newest_outputs())
    against = ["--against", "org_caption"] if run.config["reading"]["original"] not in (None, NO_ROLE) else []
    named = args.name or run.folder.root.resolve().name
    places = [str(run.folder.root)] if whole else [str(path) for path in files]
    words = ["captions", "--captions", *places, "--column", "re_caption", *against, "--name", named]
    return [*words, "--out", str(args.leaderboards), *(["--json"] if args.json else [])]


def sample_outputs(run: Run, most: int = MEASURED) -> list[Path]:
    """Return the outputs that are measured: all, or so many as have `most` rows, drawn by the hashes of their names."""
    paths = run.folder.newest_outputs()
    chosen, rows = [], 0
    for path in sorted(paths, key=lambda path: text_key(split_name(path.name)[0])):
        if rows >= most:
            break
        chosen.append(path)
        rows += int(read_facts(path)["rows"])
    return sorted(chosen)


def end(run: Run, generation: Generation | None) -> dict[str, Any]:
    """Sweep and tell; returns the outcome.

    Args:
        run: The run.
        generation: What was made; None for the run itself.
    """
    found = outcome(run, generation or FIRST)
    if found["complete"]:
        sweep(run, generation or FIRST)
    tell(run, found)
    return found
