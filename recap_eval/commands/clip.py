"""`recap-eval clip`: measure CLIP models, then render the report."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from recap_eval.artifact import FACTS
from recap_eval.data.root import data_root, default_cache, is_chosen
from recap_eval.errors import DataError, UserError
from recap_eval.memory import keep_freed_memory
from recap_eval.registry import choose_tasks, how_to_get
from recap_eval.tasks.base import Task

if TYPE_CHECKING:
    from recap_eval.parallel import Team
    from recap_eval.results import Result
    from recap_eval.runner import Options, Outcome


def find_data(args: argparse.Namespace) -> tuple[Path, list[Task], dict[str, DataError]]:
    """Return the data root, the tasks to run on it, and the error of each task named by the user whose data is missing.

    With no task named, those whose data is there are run. With no data at all, and no folder named by the user, scenes are
    drawn into the cache.

    Raises:
        DataError: Nothing can be run.
    """
    root = data_root(args.data)
    tasks = choose_tasks(args.tasks, root, args.templates or "")
    nothing = args.data is None and not is_chosen() and all(task.missing(root) for task in tasks)
    if nothing and any("scenes" in task.row.suites for task in tasks):
        draw_scenes(root)
    lack = {task.name: task.missing(root) for task in tasks}
    absent = {task.name: _absent(task, lack[task.name], root) for task in tasks if lack[task.name]}
    present = [task for task in tasks if not lack[task.name]]
    if not present:
        raise next(iter(absent.values()))
    return root, present, absent if args.tasks else {}


def _absent(task: Task, lack: list[str], root: Path) -> DataError:
    return DataError(
        f"The data of {task.name} is not under {root}: no {', '.join(lack)}.",
        f"Get it: {how_to_get(task.name, task.row, root)}",
    )


def draw_scenes(root: Path) -> None:
    """Draw the frozen world of scenes into a data root that holds nothing."""
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
    from recap_eval.parallel import Team
    from recap_eval.runner import Outcome

    keep_freed_memory()
    root, tasks, absent = find_data(args)
    team = Team.of(args.shard)
    options = _options(args, root, team)
    outcomes: dict[str, Outcome] = {}
    for spec in args.model:
        if team.talks:
            print(f"{spec}: {len(tasks)} tasks on {root}", file=sys.stderr)
        try:
            outcomes[spec] = _measure_model(args, spec, tasks, options, team)
        except DataError as error:
            if len(args.model) == 1:
                raise
            outcomes[spec] = Outcome(failed={"(loading)": error})
        outcomes[spec].failed |= absent
    if not team.scores:
        return _end_part(team, failures_of(outcomes))
    return finish(args, outcomes)


def finish(args: argparse.Namespace, outcomes: dict[str, Outcome]) -> int:
    """Print what was measured where machines ask for it, render its boards, tell what failed.

    Args:
        args: The command's words; `json`, `no_report` and those of `report_after`.
        outcomes: By the model's words.

    Returns:
        0, or 1 if anything failed.
    """
    from recap_eval.runner import as_json

    failed = failures_of(outcomes)
    if args.json:
        print(json.dumps({spec: as_json(found) for spec, found in outcomes.items()}))
    measured = [result for found in outcomes.values() for result in found.results]
    if not args.no_report and measured:
        report_after(args, measured)
    tell_failures(failed)
    return 1 if failed else 0


def failures_of(outcomes: dict[str, Outcome]) -> list[tuple[str, str, DataError]]:
    """Return what failed: model, task, why."""
    return [(spec, name, why) for spec, found in outcomes.items() for name, why in found.failed.items()]


def tell_failures(failed: list[tuple[str, str, DataError]]) -> None:
    """Tell what failed, by model and task, in two lines each."""
    for spec, name, why in failed:
        print(f"error: {spec}, {name}: {why.what}\n       {why.hint}", file=sys.stderr)


def _measure_model(args: argparse.Namespace, spec: str, tasks: list[Task], options: Options, team: Team) -> Outcome:
    from recap_eval.models.base import Loading
    from recap_eval.models.loading import load, resolve_device, resolve_precision
    from recap_eval.runner import fill, measure

    device = resolve_device(args.device or team.device)
    how = Loading(resolve_precision(args.precision, device), device, args.fast, args.compile)
    model = load(spec, how)
    if team.shard is None:
        return measure(model, tasks, options)
    part = fill(model, tasks, options, team.shard)
    team.wait()
    return measure(model, tasks, options) if team.scores else part  # what a part could not embed fails, or is counted, again


def _options(args: argparse.Namespace, root: Path, team: Team) -> Options:
    from recap_eval.runner import Options

    if args.no_cache and (team.shard or args.cache):
        raise UserError(
            "--no-cache goes neither with parts of a run nor with --cache.", "Parts meet in the cache: leave one out."
        )
    return Options(
        out=args.out,
        data=root,
        batch_size=args.batch_size,
        limit=args.limit,
        skip_bad=args.skip_bad,
        force=args.force,
        cache=None if args.no_cache else args.cache or default_cache(),
        cache_limit=int(args.cache_limit * 1e9),
        progress=team.talks,
    )


def _end_part(team: Team, failed: list[tuple[str, str, DataError]]) -> int:
    """Return the exit code of a process that does not score: 0 under torchrun, which would kill the one that does."""
    if team.launched:
        return 0
    tell_failures(failed)
    if not failed:
        print("This part is embedded. When all parts are, the same command without --shard gives the figures.", file=sys.stderr)
    return 1 if failed else 0


def report_after(args: argparse.Namespace, measured: list[Result]) -> None:
    """Render every board that shows something of what was measured; say what no board shows."""
    from recap_eval.report.render import EmptyBoard, boards_of, render_board

    tasks = {result.task for result in measured}
    boards = boards_of(((result.task, result.meta) for result in measured), args.out)
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
        said = sorted({name for result in measured for name in result.meta.get(FACTS) or ()})
        asks = f"a board that asks for facts = {json.dumps(said)} would (docs/studies.md). " if said else ""
        where = f"{asks}See {args.out / 'results'}, or recap-eval compare"
        print(f"No board shows {', '.join(sorted(unseen))}: {where}", file=sys.stderr)
