"""What the commands of `recap-eval` do, once their words are parsed."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from recap_eval.data.root import default_root, is_chosen
from recap_eval.errors import DataError, UserError
from recap_eval.registry import TASKS, get_task
from recap_eval.tasks.base import Task


def choose_tasks(words: str | None) -> list[Task]:
    """Return the tasks that the user names, or all.

    Raises:
        UserError: An unknown name, or none at all.
    """
    names = list(TASKS) if words is None else [word.strip() for word in words.split(",") if word.strip()]
    if not names:
        raise UserError("--tasks names no task.", "All names: recap-eval list tasks")
    return [get_task(name) for name in dict.fromkeys(names)]


def find_data(args: argparse.Namespace, tasks: list[Task]) -> tuple[Path, list[Task]]:
    """Return the data root and the tasks to run on it.

    Tasks named by the user must have their data; else those that have are run. With no data at all, and no folder named by
    the user, scenes are drawn into the cache.

    Raises:
        DataError: The data of a named task, or of all tasks, is missing.
    """
    root = args.data or default_root()
    present = [task for task in tasks if task.present(root)]
    if len(present) == len(tasks):
        return root, tasks
    if args.data is None and not is_chosen():
        _draw_scenes(root)
        return root, [task for task in tasks if task.present(root)]
    absent = next(task for task in tasks if task not in present)
    if args.tasks is not None or not present:
        raise DataError(
            f"The data of {absent.name} is not under {root}.", "Name its place with --data, or make it: recap-eval scenes DIR"
        )
    return root, present


def _draw_scenes(root: Path) -> None:
    from recap_eval.data.scenes.locate import scenes_folder
    from recap_eval.data.scenes.write import PRESETS, write_world

    folder = scenes_folder(root)
    print(f"No data under {root}: drawing scenes (preset v1) into {folder}", file=sys.stderr)
    write_world(folder, PRESETS["v1"])


def evaluate_clip(args: argparse.Namespace) -> int:
    """Measure every model named on every task; a task or model that fails leaves the others running.

    Returns:
        0, or 1 if anything failed.
    """
    from recap_eval.models.open_clip import best_device, load
    from recap_eval.runner import Options, Outcome, as_json, measure

    tasks = choose_tasks(args.tasks)
    root, tasks = find_data(args, tasks)
    options = Options(args.out, root, args.batch_size, args.limit, args.skip_bad, args.force)
    outcomes: dict[str, Outcome] = {}
    for spec in args.model:
        print(f"{spec}: {len(tasks)} tasks on {root}", file=sys.stderr)
        try:
            outcomes[spec] = measure(load(spec, args.precision, best_device()), tasks, options)
        except DataError as error:
            if len(args.model) == 1:
                raise
            outcomes[spec] = Outcome(failed={"(loading)": error})
    failed = [(spec, name, why) for spec, found in outcomes.items() for name, why in found.failed.items()]
    if args.json:
        print(json.dumps({spec: as_json(found) for spec, found in outcomes.items()}))
    if not args.no_report and any(found.results for found in outcomes.values()):
        _report_after(args)
    for spec, name, why in failed:
        print(f"error: {spec}, {name}: {why.what}\n       {why.hint}", file=sys.stderr)
    return 1 if failed else 0


def _report_after(args: argparse.Namespace) -> None:
    from recap_eval.report.render import render_board

    rendered = render_board("clip", args.out, args.reports)
    if not args.json:
        print(rendered.terminal)
        print(f"Report: {args.reports / 'clip.md'} and {args.reports / 'clip.html'}")


def render_boards(args: argparse.Namespace) -> int:
    """Render one board or all, or check them.

    Returns:
        0, or 1 if `--check` finds a difference.
    """
    from recap_eval.report.render import board_names, check_board, render_board

    names = [args.board] if args.board else board_names(args.leaderboards)
    if args.check:
        drifts = [drift for name in names if (drift := check_board(name, args.leaderboards, args.out))]
        print(
            json.dumps({"checked": names, "drift": drifts})
            if args.json
            else "\n".join(drifts) or f"up to date: {', '.join(names)}"
        )
        return 1 if drifts else 0
    for name in names:
        rendered = render_board(name, args.leaderboards, args.out)
        if args.json:
            print(json.dumps({"board": name, "files": [str(path) for path in rendered.files]}))
        else:
            print(f"{rendered.terminal}\n{', '.join(str(path) for path in rendered.files)}")
    return 0


def list_names(args: argparse.Namespace) -> int:
    """Print tasks with their data's presence, or models."""
    if args.what == "models":
        from recap_eval.models.open_clip import list_names as open_clip_names

        names = open_clip_names()
        print(json.dumps(names) if args.json else "\n".join(names))
        if not args.json:
            print("also: a folder (our artifacts, or open_clip's local form), and hf-hub:ORG/NAME", file=sys.stderr)
        return 0
    root = args.data or default_root()
    rows = [(task, task.present(root)) for task in map(get_task, TASKS)]
    if args.json:
        print(
            json.dumps(
                [{"name": task.name, "kind": task.kind, "version": task.version, "present": there} for task, there in rows]
            )
        )
        return 0
    for task, there in rows:
        print(f"{task.name:<20} {task.kind:<10} {'present' if there else 'missing':<8} {task.summary}")
    if not all(there for _, there in rows):
        print(f"Data root: {root}. Scenes: recap-eval scenes {root / 'scenes'} --preset v1", file=sys.stderr)
    return 0
