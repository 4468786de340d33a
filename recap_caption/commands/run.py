"""`recap-caption run`: captions a data set, each row once."""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from recap_caption.options import add_run, wanted_of
from recap_eval.console import add_command, note
from recap_eval.errors import UserError

if TYPE_CHECKING:
    from recap_caption.run.generation import Generation
    from recap_caption.run.record import Run
    from recap_caption.run.worker import Worker

EXAMPLES = """examples:
  recap-caption run --input shards --output captions --model llava-hf/llava-1.5-7b-hf --caption-preset datacomp
  recap-caption run --input shards --output try --limit 200 --model M --caption-preset datacomp    a try, in a folder of its own
  recap-caption run --input 'shards/{00000..00099}.tar' --output captions --engine openai --model M \\
      --base-url http://a:8000/v1,http://b:8000/v1 --original-key json:org_caption --prompt conditioned
  recap-caption run --input recap-coco --caption-preset recap-coco-30k --output coco --model M --workers 8
  recap-caption run --input photos --output captions --engine mine:make       a folder of images, an engine of one's own
  recap-caption run --input shards --output captions --model M --caption-preset datacomp --ray auto      on a Ray cluster

Ctrl-C, SIGTERM, a crash, a lost machine: the same command goes on, and no answer is paid twice. Processes on any machines
share a run by its folder alone: give the same command there, as an array of a scheduler does. A failure is a row: see
recap-caption status DIR, recap-caption retry DIR; recap-caption verify DIR proves that every sample is there once. The captions
are measured at the end, unless --no-eval. See docs/recaptioning.md."""

SHOWN, WIDE = 3, 100  # samples shown; characters of their texts


def add(commands: Any) -> None:
    """Add the command."""
    parser = add_command(commands, "run", "caption shards, parquet files or folders of images, each image once", EXAMPLES)
    add_run(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Caption, alone or with processes beside this one."""
    return work(args, list(args.words))


def work(args: argparse.Namespace, command: list[str], statuses: tuple[str, ...] = ()) -> int:
    """Caption; measure what came of it.

    Args:
        args: The options of a run.
        command: The words of the command, for processes that are started and for the record.
        statuses: Of the rows that are asked again; none for the run itself.
    """
    from recap_caption.run.processes import is_child

    if args.ray is not None and args.workers > 1:
        raise UserError("--workers starts processes here, --ray on a cluster.", "Leave one out; on a cluster: --ray-workers N")
    many = args.workers > 1 and not is_child()
    caption = _on_ray if args.ray is not None else _with_processes if many else _alone
    code = caption(args, command, statuses)
    return _end(args, statuses) if code is None and not is_child() else code or 0


def _with_processes(args: argparse.Namespace, command: list[str], statuses: tuple[str, ...]) -> int | None:
    from recap_caption.engine_options import engine_of
    from recap_caption.engines.table import ENGINES
    from recap_caption.run.folder import Folder
    from recap_caption.run.processes import Team, run_processes

    wanted_of(args, command), engine_of(args)  # what is wrong with the command is told before anything starts
    generation = _generation(args, statuses)
    if generation is None:
        return 0
    return run_processes(Team(command, args.workers, Folder(args.output), args.engine in ENGINES), generation)


def _on_ray(args: argparse.Namespace, command: list[str], statuses: tuple[str, ...]) -> int | None:
    from recap_caption.run.on_ray import run_on_ray

    generation = _generation(args, statuses)
    return 0 if generation is None else run_on_ray(args, command, generation, _show_samples)


def _generation(args: argparse.Namespace, statuses: tuple[str, ...]) -> Generation | None:
    from recap_caption.run.generation import FIRST, begin_retry
    from recap_caption.run.record import read_run

    if not statuses:
        return FIRST
    found = begin_retry(read_run(args.output), statuses)
    if found is None:
        note(f"{args.output}: no row has status {' or '.join(statuses)}; nothing to ask again.")
    return found


def _alone(args: argparse.Namespace, command: list[str], statuses: tuple[str, ...]) -> int | None:
    """Caption in this process; returns an exit code if it was stopped, or if there was nothing to do."""
    from recap_caption.run.calling import caption_shards
    from recap_caption.run.processes import is_child

    generation = _generation(args, statuses)
    if generation is None:
        return 0
    with ExitStack() as stack:
        wishes = caption_shards(args, command, generation, began=partial(_begin, stack)).wishes
    if not wishes:
        return None
    if not is_child():
        note(f"{args.output}: stopped; what was answered is kept, and the same command goes on.")
    return 130 if wishes.interrupt else 0


def _begin(stack: ExitStack, worker: Worker) -> None:
    """Take signals as wishes from now on, show samples, then the bar; processes that others started are quiet."""
    from recap_caption.run.bar import Bar
    from recap_caption.run.processes import end_with_parent, is_child, is_first
    from recap_eval.signals import stop_signals

    worker.wishes = stack.enter_context(stop_signals(launched=False))
    end_with_parent(worker.wishes)
    if is_first() and not worker.run.folder.outputs():
        _show_samples(worker.run)
    if not is_child():
        bar = Bar(worker.run, worker.generation)
        worker.show = bar.show
        stack.callback(bar.close)


def _show_samples(found: Run) -> None:
    """Show samples with their texts, so that a wrong one is seen before much is spent."""
    opened = found.source.open(found.parts[0])
    opened.close()
    for item in opened.items[:SHOWN]:
        texts = "".join(f"  {name}: {(getattr(item, name) or '')[:WIDE]!r}" for name in found.reading.roles)
        note(f"  {item.key}{texts}")


def _end(args: argparse.Namespace, statuses: tuple[str, ...]) -> int:
    """Tell the outcome, and measure the captions of a run that is complete."""
    from recap_caption.run.ending import end, evaluate
    from recap_caption.run.generation import latest
    from recap_caption.run.record import read_run

    found = read_run(args.output)
    outcome = end(found, latest(found) if statuses else None)
    if args.json:
        print(json.dumps(outcome))
    return 0 if args.no_eval or not outcome["complete"] else evaluate(args, found)
