"""`recap-eval clip`: measure CLIP models, then render the report."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from recap_eval.data.root import default_root, is_chosen
from recap_eval.errors import DataError
from recap_eval.registry import choose_tasks
from recap_eval.tasks.base import Task


def find_data(args: argparse.Namespace) -> tuple[Path, list[Task], dict[str, DataError]]:
    """Return the data root, the tasks to run on it, and the error of each task named by the user whose data is missing.

    With no task named, those whose data is there are run. With no data at all, and no folder named by the user, scenes are
    drawn into the cache.

    Raises:
        DataError: Nothing can be run.
    """
    root = args.data or default_root()
    tasks = choose_tasks(args.tasks, root, args.templates or "")
    nothing = args.data is None and not is_chosen() and all(task.missing(root) for task in tasks)
    if nothing and any("scenes" in task.row.suites for task in tasks):
        _draw_scenes(root)
    lack = {task.name: task.missing(root) for task in tasks}
    absent = {task.name: _absent(task, lack[task.name], root) for task in tasks if lack[task.name]}
    present = [task for task in tasks if not lack[task.name]]
    if not present:
        raise next(iter(absent.values()))
    return root, present, absent if args.tasks else {}


def _absent(task: Task, lack: list[str], root: Path) -> DataError:
    return DataError(f"The data of {task.name} is not under {root}: no {', '.join(lack)}.", f"Get it: {task.row.get}")


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

    root, tasks, absent = find_data(args)
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
        outcomes[spec].failed |= absent
    failed = [(spec, name, why) for spec, found in outcomes.items() for name, why in found.failed.items()]
    if args.json:
        print(json.dumps({spec: as_json(found) for spec, found in outcomes.items()}))
    measured = {result.task for found in outcomes.values() for result in found.results}
    if not args.no_report and measured:
        _report_after(args, measured)
    for spec, name, why in failed:
        print(f"error: {spec}, {name}: {why.what}\n       {why.hint}", file=sys.stderr)
    return 1 if failed else 0


def _report_after(args: argparse.Namespace, tasks: set[str]) -> None:
    """Render every board that has a column for what was measured; say what no board shows."""
    from recap_eval.report.render import EmptyBoard, boards_of, render_board

    boards = boards_of(tasks, args.out)
    for name in boards:
        try:
            rendered = render_board(name, args.out, args.reports)
        except EmptyBoard as error:
            print(f"{name}: not rendered. {error.what}", file=sys.stderr)
            continue
        if not args.json:
            print(rendered.terminal)
            print(f"Report: {args.reports / f'{name}.md'} and {args.reports / f'{name}.html'}")
    if unseen := tasks.difference(*boards.values()):
        print(f"No board shows {', '.join(sorted(unseen))}: see {args.out / 'results'}, or recap-eval compare", file=sys.stderr)
