"""`recap-caption verify`: proves that every sample of the input is in the output once and in order."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from recap_eval.console import add_command, as_path, note
from recap_eval.errors import DataError

if TYPE_CHECKING:
    from recap_caption.run.proving import Proof

EXAMPLES = """examples:
  recap-caption verify captions                            reads all outputs and the input's texts again; exit 0 or 1
  recap-caption verify captions --no-input                 the outputs alone, where the input is gone

Every output is read whole and held against the digest of its bytes, the digest of its rows, the schema, the counts in its
metadata, and the input: keys, texts, order, nothing missing, nothing twice. What was found goes to DIR/run_report.json."""
SHOWN = 20  # problems told


def add(commands: Any) -> None:
    """Add the command."""
    parser = add_command(commands, "verify", "prove that every sample is in the output once and in order", EXAMPLES)
    parser.add_argument("folder", type=as_path, metavar="DIR", help="the run's --output")
    parser.add_argument("--no-input", action="store_true", help="do not read the input again")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Verify a run."""
    from recap_caption.run.proving import Proof
    from recap_caption.run.record import read_run
    from recap_eval.console import progress_bar
    from recap_eval.files import write_json

    found = read_run(args.folder)
    proof = Proof(found, not args.no_input)
    with progress_bar(len(found.parts), "verifying", "shard") as bar:
        for _ in proof.check_parts():
            bar.update()
    report = _report(proof)
    try:
        write_json(found.folder.report, report)
    except DataError as error:
        note(f"{error.what} The report is not kept.")
    print(json.dumps(report) if args.json else "\n".join(_lines(report)))
    return 0 if report["ok"] else 1


def _report(proof: Proof) -> dict[str, Any]:
    """Return what was found, as data."""
    from recap_caption.run.account import add_up, spent
    from recap_eval.captions.generations import newest

    found = proof.run
    folder = found.folder.captions
    last = [proof.facts[path.name] for path in newest(sorted(folder / name for name in proof.facts))]
    return {
        "ok": not proof.problems and not proof.missing, "run_id": found.run_id, "model_id": found.config["model_id"],
        "partial": found.config["limit"] is not None, "held_against_input": proof.with_input, "shards": len(found.parts),
        "missing": proof.missing, "problems": proof.problems, "keys_that_came_before": proof.shared_keys(),
        **add_up(last), **spent(found, proof.facts.values()), "rows": proof.rows,
    }  # fmt: skip


def _lines(report: dict[str, Any]) -> list[str]:
    lines = [f"wrong: {line}" for line in report["problems"][:SHOWN]]
    lines += [f"… and {len(report['problems']) - SHOWN:,} more"] if len(report["problems"]) > SHOWN else []
    if missing := report["missing"]:
        lines.append(f"not captioned yet: {len(missing):,} of {report['shards']:,} shards ({', '.join(missing[:3])}, …)")
    if report["keys_that_came_before"]:
        lines.append(
            f"{report['keys_that_came_before']:,} samples have a key that came before: joins by key cannot tell them apart"
        )
    if torn := report["torn"]["parts"]:
        lines.append(f"{len(torn):,} shards end too early: {report['torn']['samples_lost']:,} samples or more are lost")
    counts = ", ".join(f"{count:,} {status}" for status, count in report["statuses"].items())
    rows = f"{report['rows']:,} rows" + (f" ({counts})" if counts else "")
    against = "every sample of the input once and in order" if report["held_against_input"] else "not held against the input"
    lines.append(f"verified: {rows}, {against}" if report["ok"] else f"NOT verified: {rows} could be read")
    return lines
