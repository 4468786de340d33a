"""`recap-eval list`: what can be named, what of its data is here, and how to get the rest."""

from __future__ import annotations

import argparse
import json
import sys

from recap_eval.data.root import default_root
from recap_eval.registry import choose_tasks, how_to_get, suites
from recap_eval.tasks.captioner import TASKS
from recap_eval.tasks.catalog import load_catalog


def list_names(args: argparse.Namespace) -> int:
    """Print models, or tasks with what is missing of their data."""
    return _models(args) if args.what == "models" else _tasks(args)


def _models(args: argparse.Namespace) -> int:
    from recap_eval.models.open_clip import list_names as open_clip_names

    names = open_clip_names()
    print(json.dumps(names) if args.json else "\n".join(names))
    if not args.json:
        also = "a folder, NAME/CHECKPOINT.pt, hf-hub: or transformers: or longclip:ORG/NAME, a LongCLIP file, MODULE:ATTR"
        print(f"also: {also} (docs/models.md)", file=sys.stderr)
    return 0


def _tasks(args: argparse.Namespace) -> int:
    root = args.data or default_root()
    rows = [(task, task.missing(root)) for task in choose_tasks(None, root)]
    asked = [(task, task.missing(root)) for task in TASKS.values()]
    if args.json:
        facts = [
            {"name": task.name, "kind": task.kind, "version": task.version, "present": not absent, "missing": absent}
            | {"suites": task.row.suites, "summary": task.summary, "fetch": task.row.fetch}
            | {"get": how_to_get(task.name, task.row, root)}
            for task, absent in rows
        ]
        facts += [
            {"name": one.name, "kind": one.kind, "version": one.version, "present": not absent, "missing": absent}
            | {"suites": [], "summary": one.summary, "fetch": [], "get": one.how_to_get(root)}
            for one, absent in asked
        ]
        print(json.dumps(facts))
        return 0
    for task, absent in rows:
        print(f"{task.name:<24} {task.kind:<10} {'missing' if absent else 'present':<8} {task.summary}")
    for one, absent in asked:
        print(f"{one.name:<24} {one.kind:<10} {'missing' if absent else 'present':<8} {one.summary}")
    print(*(f"suite {name}: {', '.join(names)}" for name, names in suites(load_catalog(root)).items()), sep="\n")
    lacking = [(task.name, absent, how_to_get(task.name, task.row, root)) for task, absent in rows if absent]
    lacking += [(one.name, absent, one.how_to_get(root)) for one, absent in asked if absent]
    if lacking:
        print(f"\nData root: {root}. What is missing, and how to get it:", file=sys.stderr)
        for name, absent, get in lacking:
            print(f"  {name}: {', '.join(absent)}\n    {get}", file=sys.stderr)
    return 0
