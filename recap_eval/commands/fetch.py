"""`recap-eval fetch`: get data sets into the data root, verified; say which tasks can run then."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from recap_eval.data.fetch import get_source, is_there
from recap_eval.data.root import default_root
from recap_eval.data.sources import Source, read_sources
from recap_eval.data.unpack import readable
from recap_eval.errors import DataError, unknown_name
from recap_eval.registry import suites
from recap_eval.tasks.catalog import Row, build_task, load_catalog

SEE = "recap-eval fetch"


def fetch_data(args: argparse.Namespace) -> int:
    """Fetch what is named; with no name, list what can be.

    Returns:
        0, or 1 if something could not be had or has to be got by hand.
    """
    root = args.data or default_root()
    table, rows = read_sources(), load_catalog(root)
    if not args.names:
        return _list(table, root, args.json)
    names, tasks = _wanted(args.names, table, rows, root)
    outcome = _fetch_all([table[name] for name in names], root, args.keep)
    return _tell(outcome, tasks, rows, root, args.json)


def _wanted(words: list[str], table: dict[str, Source], rows: dict[str, Row], root: Path) -> tuple[list[str], list[str]]:
    """Return the sources and the tasks that words stand for: sources, tasks and suites; none for a task that lacks nothing.

    Raises:
        UserError: No such name.
        DataError: A task's row names a source that is not in the table.
    """
    known, names, tasks = suites(rows), list[str](), list[str]()
    for word in words:
        if word not in {*rows, *known, *table}:
            raise unknown_name("data set", word, [*table, *rows, *known], SEE)
        names += [word] if word in table else []
        tasks += [word] if word in rows else known.get(word, [])
    names += [source for task in tasks if _lack(task, rows, root) for source in rows[task].fetch]
    if strange := [name for name in names if name not in table]:
        raise DataError(f"A task names {strange[0]!r}, which nobody says how to fetch.", f"All names: {SEE}")
    return list(dict.fromkeys(names)), list(dict.fromkeys(tasks))


def _lack(task: str, rows: dict[str, Row], root: Path) -> list[str]:
    return build_task(task, rows[task]).missing(root)


def _fetch_all(sources: list[Source], root: Path, keep: bool) -> dict[str, Any]:
    """Fetch sources one by one; one that fails leaves the others to go on."""
    outcome: dict[str, Any] = {"fetched": {}, "there": [], "failed": {}}
    todo = [source for source in sources if not is_there(source, root)]
    for source in sources:
        if source not in todo:
            outcome["there"].append(source.name)
            verified = "" if source.record(root).exists() else ", not by this command: not verified"
            print(f"{source.name}: there already{verified}", file=sys.stderr)
    for source in todo:
        size = readable(source.size) if source.size else "size asked of the hub"
        print(f"{source.name}: {size}, to {root / source.place}; licence: {source.licence}; {source.page}", file=sys.stderr)
        try:
            outcome["fetched"][source.name] = get_source(source, root, keep)
        except DataError as error:
            outcome["failed"][source.name] = {"what": error.what, "hint": error.hint}
        except KeyboardInterrupt:
            print("\nWhat has come in is kept: the same command goes on from there.", file=sys.stderr)
            raise
    return outcome


def _tell(outcome: dict[str, Any], tasks: list[str], rows: dict[str, Row], root: Path, as_json: bool) -> int:
    concerned = {name for name, row in rows.items() if {*row.fetch} & {*outcome["fetched"], *outcome["there"]}}
    lack = {name: _lack(name, rows, root) for name in rows if name in concerned | {*tasks}}
    ready = [name for name, absent in lack.items() if not absent]
    by_hand = {name: {"missing": lack[name], "get": rows[name].get} for name in tasks if lack[name]}
    outcome |= {"ready": ready, "by_hand": by_hand}
    if as_json:
        print(json.dumps({"data": str(root)} | outcome))
    else:
        _print(outcome)
    for name, error in outcome["failed"].items():
        print(f"error: {name}: {error['what']}\n       {error['hint']}", file=sys.stderr)
    return 1 if outcome["failed"] or by_hand else 0


def _print(outcome: dict[str, Any]) -> None:
    for name, done in outcome["fetched"].items():
        size, revision = sum(file["size"] for file in done["files"]), done.get("revision")
        print(f"{name}: {readable(size)} fetched and verified" + (f", revision {revision[:12]}" if revision else ""))
    if outcome["ready"]:
        print(f"These tasks can run: {', '.join(outcome['ready'])}")
    for name, task in outcome["by_hand"].items():
        print(f"{name} still lacks {', '.join(task['missing'])}\n    {task['get']}")


def _list(table: dict[str, Source], root: Path, as_json: bool) -> int:
    here = {name: is_there(source, root) for name, source in table.items()}
    if as_json:
        facts = [
            {"name": n, "size": s.size, "present": here[n], "licence": s.licence, "page": s.page} for n, s in table.items()
        ]
        print(json.dumps(facts))
        return 0
    for name, source in table.items():
        size = readable(source.size) if source.size else "?"
        print(f"{name:<22} {size:>9}  {'present' if here[name] else 'missing':<8} {source.licence}")
    print(f"\nData root: {root}. Names of tasks and suites are understood too: recap-eval list tasks", file=sys.stderr)
    return 0
