"""`recap-eval leaderboard`: results of others among one's own, results out again, figures of other programs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap_eval.commands.leaderboard_verify import verify_records
from recap_eval.commands.show import find_result
from recap_eval.console import note, progress_bar
from recap_eval.errors import DataError, UserError
from recap_eval.holdings import SAME, Came, add, add_imported, losses, records_in, remove
from recap_eval.imported import FOLDER as IMPORTED_FOLDER
from recap_eval.imported import Imported, read_imported
from recap_eval.results import FOLDER, Result

if TYPE_CHECKING:
    from recap_eval.foreign import Run


@dataclass(frozen=True)
class Done:
    """One record that was put among the results.

    Args:
        came: Where it lies, and what came of it.
        task: Its task.
        meta: How its model was made.
        notes: What a user should know of it, a sentence each.
    """

    came: Came
    task: str
    meta: dict[str, Any]
    notes: list[str]


LISTED = 10  # records that were there already; of more only their number is told
Jobs = list[tuple[str, Callable[[], Done]]]  # what a record is called, and what puts it there


def run_leaderboard(args: argparse.Namespace) -> int:
    """Do what the action says; returns its exit code."""
    return ACTIONS[args.action](args)


def add_records(args: argparse.Namespace) -> int:
    """Check records and put those that are right among the results.

    Returns:
        0, or 1 if one was refused; the others are added all the same.
    """
    files, notes = records_in(args.places)
    for line in notes:
        note(line)
    return _put(args, [(str(path), partial(_add, args, path)) for path in files], {})


def _add(args: argparse.Namespace, path: Path) -> Done:
    from recap_eval.vetting import vet

    result = vet(path, args.data)
    told = ["it is partial: no board ranks it"] if result.partial else []
    return Done(add(result, args.leaderboards, args.replace, not args.dry_run), result.task, result.meta, told)


def import_figures(args: argparse.Namespace) -> int:
    """Take over figures of clip_benchmark.

    Returns:
        0, or 1 if a run was refused; the others are imported all the same.
    """
    from recap_eval.foreign import named, read_runs

    own, failed = named(args.own, args.data), {}
    jobs: Jobs = []
    for path in args.files:
        try:
            jobs += [(run.where, partial(_import, args, run, own)) for run in read_runs(path)]
        except DataError as error:
            failed[str(path)] = error
    return _put(args, jobs, failed)


def _import(args: argparse.Namespace, run: Run, own: dict[str, str]) -> Done:
    from recap_eval.foreign import as_record

    record, left = as_record(run, args.data, own)
    came = add_imported(record, args.leaderboards, run.path, args.replace, not args.dry_run)
    return Done(came, record["task"]["name"], {}, left)


def _put(args: argparse.Namespace, jobs: Jobs, failed: dict[str, DataError]) -> int:
    """Put records among the results, tell what came of each, and what failed: before, or now."""
    from recap_eval.report.render import boards_of

    done: dict[str, Done] = {}
    with progress_bar(len(jobs), "check", "record") as bar:
        for name, job in jobs:
            try:
                done[name] = job()
            except DataError as error:
                failed[name] = error
            bar.update()
    boards = sorted(boards_of(((one.task, one.meta) for one in done.values()), args.leaderboards))
    if args.json:
        print(json.dumps(_told(done, failed) | {"boards": boards, "dry_run": args.dry_run}))
    else:
        _print(done, boards, args)
    for why in failed.values():
        print(f"error: {why.what}\n       {why.hint}", file=sys.stderr)
    return 1 if failed else 0


def _told(done: dict[str, Done], failed: dict[str, DataError]) -> dict[str, Any]:
    found = [
        {"from": name, "path": str(one.came.path), "state": one.came.state, "notes": one.notes} for name, one in done.items()
    ]
    return {
        "records": found,
        "failed": [{"from": name, "what": error.what, "hint": error.hint} for name, error in failed.items()],
    }


def _print(done: dict[str, Done], boards: list[str], args: argparse.Namespace) -> None:
    known = [name for name, one in done.items() if one.came.state == SAME]
    if len(known) > LISTED:
        print(f"{len(known):,} of {len(done):,} were {SAME}.")
    for name, one in done.items():
        if one.came.state == SAME and len(known) > LISTED:
            continue
        would = "would be " if args.dry_run and one.came.state != SAME else ""
        print(f"{would}{one.came.state}: {one.came.path} (from {name})")
        for line in one.notes:
            note(f"  note: {line}")
    if boards and not args.dry_run:
        print(f"Boards that show them: {', '.join(boards)}. {_render(args.leaderboards)}")
    elif done and not boards:
        note("No board shows them.")


def _render(leaderboards: Path) -> str:
    given = "" if leaderboards == Path("leaderboards") else f" --leaderboards {leaderboards}"
    return f"Render: recap-eval report{given}"


def remove_records(args: argparse.Namespace) -> int:
    """Say what boards lose, ask, and take records out.

    Raises:
        UserError: A record is not of this leaderboards folder, or nobody can be asked.
    """
    found = list(_distinct(_held(word, args.leaderboards) for word in args.records))
    lost = losses(found, args.leaderboards)
    if not args.json:
        for one in found:
            print(one.path)
        print("Boards lose:" if lost else "No board shows them.", *(f"  {loss}" for loss in lost), sep="\n")
    gone = [path for one in found for path in remove(one)] if not args.dry_run and _sure(args, len(found)) else []
    if args.json:
        told = {"records": [str(one.path) for one in found], "removed": [str(path) for path in gone], "dry_run": args.dry_run}
        print(json.dumps(told | {"boards_lose": [vars(loss) for loss in lost]}))
    elif gone:
        print(f"Removed {len(gone)} files. {_render(args.leaderboards)}")
    else:
        print("Nothing was removed.")
    return 0


def _held(word: str, root: Path) -> Result | Imported:
    """Return a record that a user names, which lies in the leaderboards folder."""
    path = Path(word).expanduser()
    if path.is_file() and IMPORTED_FOLDER in path.parts:
        found: Result | Imported = read_imported(path)
    else:
        found = find_result(word, root)
    if found.path.resolve().parent.parent not in ((root / name).resolve() for name in (FOLDER, IMPORTED_FOLDER)):
        raise UserError(f"{found.path} does not lie in {root}.", f"Name the folder it is in: --leaderboards DIR, not {root}")
    return found


def _distinct(found: Iterable[Result | Imported]) -> Iterable[Result | Imported]:
    return {one.path.resolve(): one for one in found}.values()


def _sure(args: argparse.Namespace, count: int) -> bool:
    if args.yes:
        return True
    if not sys.stdin.isatty():
        raise UserError("Nobody can be asked whether to remove them.", "Say so: --yes; or look first: --dry-run")
    return input(f"Remove {count} record{'s' if count > 1 else ''} for good? [y/N] ").strip().lower() in ("y", "yes")


ACTIONS: dict[str, Callable[[argparse.Namespace], int]] = {
    "add": add_records,
    "remove": remove_records,
    "import": import_figures,
    "verify": verify_records,
}
