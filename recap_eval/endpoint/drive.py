"""Many questions at once, a bounded number under way; Ctrl-C lets those end that are paid for already."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterable
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
    waiting, errors, interrupts = iter(jobs), [], []

    async def worker() -> None:
        for job in waiting:
            if stopping.is_set():
                return
            try:
                await work(job)
            except UserError as error:
                errors.append(error)
                stopping.set()

    tasks = [asyncio.create_task(worker()) for _ in range(concurrency)]

    def interrupt() -> None:
        interrupts.append(True)
        stopping.set()
        if len(interrupts) > 1:
            for task in tasks:
                task.cancel()
        else:
            tell("stopping when the questions under way are answered; Ctrl-C again drops them")

    restore = _on_interrupt(interrupt)
    try:
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        restore()
        for task in tasks:
            task.cancel()
    if interrupts:
        raise KeyboardInterrupt
    for outcome in [*errors, *outcomes]:
        if isinstance(outcome, BaseException):
            raise outcome


def _on_interrupt(act: Callable[[], None]) -> Callable[[], object]:
    """Call `act` at Ctrl-C, where this thread may say so; returns what restores the old way."""
    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(signal.SIGINT, act)
    except (ValueError, RuntimeError, NotImplementedError):
        return lambda: None
    return lambda: loop.remove_signal_handler(signal.SIGINT)
