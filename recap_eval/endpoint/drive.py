"""Many questions at once, a bounded number under way; Ctrl-C lets those end that are paid for already."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TypeVar

from recap_eval.console import warn
from recap_eval.errors import UserError

J = TypeVar("J")


async def drive(
    jobs: Iterable[J],
    work: Callable[[J], Awaitable[None]],
    concurrency: int,
    stopping: asyncio.Event,
    tell: Callable[[str], None] = warn,
) -> None:
    """Do all jobs, so many at once; the first error that ends the run stops new ones and lets those under way end.

    Args:
        jobs: The jobs; the next one is taken when there is room for it.
        work: Does one.
        concurrency: How many at once.
        stopping: Set when no new job is begun.
        tell: Says what the user should know.

    Raises:
        UserError: What ended the run.
        KeyboardInterrupt: Ctrl-C.
    """
    waiting = iter(jobs)
    errors: list[BaseException] = []
    tasks = [asyncio.create_task(_work_off(waiting, work, stopping, errors)) for _ in range(concurrency)]
    interrupts = Interrupts(tasks, stopping, tell)
    restore = [_on_signal(signal.SIGINT, interrupts.come), _on_wish(signal.SIGTERM, stopping)]
    try:
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        for act in restore:
            act()
    if interrupts.count:
        raise KeyboardInterrupt
    for outcome in [*errors, *outcomes]:
        if outcome is not None:
            raise outcome


async def _work_off(
    waiting: Iterator[J], work: Callable[[J], Awaitable[None]], stopping: asyncio.Event, errors: list[BaseException]
) -> None:
    for job in waiting:
        if stopping.is_set():
            return
        try:
            await work(job)
        except UserError as error:
            errors.append(error)
            stopping.set()


class Interrupts:
    """Ctrl-C: the first lets the jobs under way end, the second drops them.

    Args:
        tasks: The jobs' tasks.
        stopping: Set at the first.
        tell: Says what happens.
    """

    def __init__(self, tasks: list[asyncio.Task[None]], stopping: asyncio.Event, tell: Callable[[str], None]) -> None:
        self._tasks, self._stopping, self._tell, self.count = tasks, stopping, tell, 0

    def come(self) -> None:
        """Take one."""
        self.count += 1
        self._stopping.set()
        if self.count == 1:
            self._tell("stopping when the questions under way are answered; Ctrl-C again drops them")
            return
        for task in self._tasks:
            task.cancel()


def _on_wish(number: signal.Signals, stopping: asyncio.Event) -> Callable[[], None]:
    """Stop at a signal that somebody takes as a wish, and let them know it; returns what restores the old way."""
    before = signal.getsignal(number)
    if not callable(before):  # it ends the process, or is ignored: not for us to change
        return lambda: None

    def act() -> None:
        stopping.set()
        before(number, None)

    return _on_signal(number, act)


def _on_signal(number: signal.Signals, act: Callable[[], None]) -> Callable[[], None]:
    """Call `act` at a signal, where this thread may say so; returns what restores the old way."""
    loop, before = asyncio.get_running_loop(), signal.getsignal(number)
    try:
        loop.add_signal_handler(number, act)
    except (ValueError, RuntimeError, NotImplementedError):
        return lambda: None

    def restore() -> None:
        loop.remove_signal_handler(number)
        if before is not None:  # else it was not set by Python
            signal.signal(number, before)

    return restore
