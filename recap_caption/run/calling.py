"""One worker's whole life: what the command does, and what any other process may do that can reach the run's folder."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from recap_caption.run.generation import FIRST, Generation
from recap_caption.run.worker import Worker
from recap_eval.signals import Wishes


def caption_shards(
    args: argparse.Namespace, command: Sequence[str], generation: Generation = FIRST, wishes: Wishes | None = None,
    began: Callable[[Worker], None] = lambda worker: None,
) -> Worker:  # fmt: skip
    """Load the engine, begin the run or join it, and caption until nothing is left to take; returns the worker, at its end.

    Args:
        args: The options of `recap-caption run`; like command and generation it can be pickled.
        command: The words that they were given as.
        generation: What is being made.
        wishes: Set from outside when the work is to stop.
        began: Called when the run has begun and before anything is asked.

    Raises:
        UserError, DataError: What ended the work; what was answered is kept.
    """
    from recap_caption.engine_options import engine_of
    from recap_caption.engines.table import make
    from recap_caption.options import wanted_of
    from recap_caption.run.opening import open_run
    from recap_caption.run.worker import worker_name

    wanted = wanted_of(args, list(command))
    engine = make(engine_of(args))
    try:
        worker = Worker(open_run(args.output, wanted, engine, worker_name()), engine, worker_name(), generation, wishes)
        began(worker)
        worker.work()
    finally:
        engine.close()
    return worker
