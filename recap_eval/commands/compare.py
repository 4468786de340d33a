"""`recap-eval compare`: models against the first of them, on the same items."""

from __future__ import annotations

import argparse
import json
import sys

from recap_eval.errors import UserError, unknown_name


def compare_models(args: argparse.Namespace) -> int:
    """Compare, print, and write markdown if asked to.

    Raises:
        UserError: Fewer than two models, an unknown name.
        DataError: Nothing can be compared, or a record is damaged.
    """
    from recap_eval.compare import compare
    from recap_eval.files import write_text
    from recap_eval.report import comparison
    from recap_eval.subjects import find_subjects

    if len(args.models) < 2:
        raise UserError("One model alone cannot be compared.", "Name two or more, the baseline first: recap-eval compare A B")
    subjects = find_subjects(args.models, args.leaderboards)
    measured = {result.task for subject in subjects for result in subject.results}
    found = compare(subjects, _chosen(args.tasks, measured), args.metrics)
    print(json.dumps(comparison.as_json(found)) if args.json else comparison.terminal(found))
    if args.out:
        write_text(args.out, comparison.markdown(found))
        print(f"Written: {args.out}", file=sys.stderr)
    return 0


def _chosen(words: str | None, measured: set[str]) -> set[str] | None:
    """Return the tasks that a user names, by task or suite; None for all."""
    if words is None:
        return None
    from recap_eval.registry import suites
    from recap_eval.tasks.catalog import load_catalog

    known = {name: set(tasks) for name, tasks in suites(load_catalog()).items()} | {name: {name} for name in measured}
    asked = [word.strip() for word in words.split(",") if word.strip()]
    for word in asked:
        if word not in known:
            raise unknown_name("task", word, known, ", ".join(sorted(measured)))
    return set().union(*(known[word] for word in asked))
