"""Batches for the training step: between steps, from a thread beside a GPU, or from processes of their own.

A batch is a function of its position, so any number of workers gives the same batches in the same order, each exactly once.
"""

from __future__ import annotations

import contextlib
import queue
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from recap_eval.errors import DataError
from recap_train.loader import Batch, Batches
from recap_train.plan import WINDOW

AHEAD = 4  # batches that a thread prepares ahead of the step
MOST_WORKERS = 8  # by default, beside a GPU
LAST_SECONDS = 30  # that a worker has after it was told to end
WORKER_FAILED = "DataLoader worker"  # how torch's messages about a dead worker begin


@dataclass(frozen=True)
class Loading:
    """How the data is read.

    Args:
        workers: Processes that prepare batches; 0 for none: between the steps, or in a thread beside a GPU.
        prefetch: Batches that each of them prepares ahead.
        window: Samples that are shuffled together, see `Plan`.
        max_bad: Largest share of samples that may be left out with --skip-bad.
    """

    workers: int = 0
    prefetch: int = 2
    window: int = WINDOW
    max_bad: float = 0.01


@dataclass(frozen=True)
class Part:
    """The part of each global batch that one process trains on.

    Args:
        rank: The process's number.
        world: Processes in all; together they see what one would.
    """

    rank: int = 0
    world: int = 1

    def of(self, start: int, size: int) -> tuple[int, int]:
        """Return the first and last position, exclusive, of this process in the batch of `size` from `start`."""
        return start + size * self.rank // self.world, start + size * (self.rank + 1) // self.world

    def batch(self, feed: Batches, start: int, size: int) -> Any:
        """Make this process's part of the batch of `size` from `start`; it may be empty where others have theirs.

        Raises:
            DataError: None of its samples can be read, and nobody else has any.
        """
        made = feed.batch(*self.of(start, size))
        if self.world == 1 and not len(made.keys):
            raise DataError(f"No image of samples {start}-{start + size} can be read.", "Check the shards.")
        return made


def default_workers(device: str) -> int:
    """Return how many workers a device is fed by: none beside a CPU, which has no core to spare; else up to eight."""
    import os

    return 0 if device == "cpu" else min(MOST_WORKERS, os.cpu_count() or 1)


ALL = Part()


def batches(
    feed: Batches, starts: range, part: Part = ALL, workers: int = 0, prefetch: int = 2, pin: bool = False
) -> Iterator[Batch]:
    """Yield the batches that begin at `starts`, or one process's part of them, prepared ahead of their use if anything is idle.

    Args:
        feed: What makes the batches.
        starts: First position of each global batch; its step is the global batch size.
        part: Which part of them is wanted.
        workers: Processes that prepare them; 0 for none.
        prefetch: Batches that each of the processes prepares ahead.
        pin: Put them into pinned memory, for a GPU.

    Raises:
        DataError: What went wrong in a worker, or a worker was killed.
    """
    if workers:
        return _from_processes(_Steps(feed.for_worker(workers), starts, part), workers, prefetch, pin)
    if pin:
        return (batch.pin_memory() for batch in _from_thread(feed, starts, part))
    # On a CPU there is no core to spare: a thread beside the step holds up all of its threads at every barrier.
    return (part.batch(feed, start, starts.step) for start in starts)


def _from_thread(feed: Batches, starts: range, part: Part) -> Iterator[Batch]:
    ready: queue.Queue[Batch | BaseException | None] = queue.Queue(maxsize=AHEAD)
    stopped = threading.Event()

    def hand_over(thing: Batch | BaseException | None) -> None:
        while not stopped.is_set():
            try:
                return ready.put(thing, timeout=0.2)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for start in starts:
                if stopped.is_set():
                    return
                hand_over(part.batch(feed, start, starts.step))
            hand_over(None)
        except BaseException as error:  # noqa: BLE001 - handed to the consumer, which raises it
            hand_over(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while (thing := ready.get()) is not None:
            if isinstance(thing, BaseException):
                raise thing
            yield thing
    finally:
        stopped.set()
        thread.join()


@dataclass(frozen=True)
class _Failure:
    """An error on its way out of a worker: torch would rebuild a DataError from its message alone, and fail."""

    what: str
    hint: str


@dataclass(frozen=True)
class _Steps:
    """Batches by their number, as torch's loader takes a data set."""

    feed: Batches
    starts: range
    part: Part

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, number: int) -> Any:
        try:
            return self.part.batch(self.feed, self.starts[number], self.starts.step)
        except DataError as error:
            return _Failure(error.what, error.hint)


def _from_processes(steps: _Steps, workers: int, prefetch: int, pin: bool) -> Iterator[Batch]:
    import torch
    from torch.utils.data import DataLoader

    loader: Any = DataLoader(
        steps,  # type: ignore[arg-type]
        batch_size=None,
        sampler=range(len(steps)),
        num_workers=workers,
        prefetch_factor=prefetch,
        pin_memory=pin,
        worker_init_fn=_leave_stopping_to_the_loop,
        generator=torch.Generator(),  # else torch's own generator would be advanced
        multiprocessing_context="fork" if sys.platform == "linux" else None,  # what fork inherits need not be pickled
    )
    with worker_errors():
        with _signals_blocked():
            made = iter(loader)
        try:
            for thing in made:
                if isinstance(thing, _Failure):
                    raise DataError(thing.what, thing.hint)
                yield thing
        finally:
            del made  # its end ends the workers, now and not when Python gets to it


STOPPING = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """Keep signals back while workers start, so that none reaches a worker before it knows what to do with it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _leave_stopping_to_the_loop(_: int) -> None:
    """Let a worker outlive Ctrl-C and SIGTERM, which reach the whole group: the loop finishes its step and ends the workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(LAST_SECONDS))  # SIGALRM ends a worker that hangs
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)


@contextlib.contextmanager
def worker_errors() -> Iterator[None]:
    """Tell in our words that a worker died; torch raises that wherever the main thread happens to be.

    Raises:
        DataError: A worker was killed.
    """
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith(WORKER_FAILED):
            raise
        raise DataError(
            f"A loader worker died ({str(error).splitlines()[0].rstrip('.')}).",
            "Often memory is short, or /dev/shm: try fewer --workers. The same command goes on from the last checkpoint.",
        ) from error
