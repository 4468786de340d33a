"""Ctrl-C and SIGTERM as a wish that a loop asks for between two steps."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType


class Stopped(Exception):
    """The run was asked to stop and has saved its state.

    Args:
        text: Where it stopped.
        interrupted: True after Ctrl-C; False after SIGTERM, by which a scheduler takes the machine back.
    """

    def __init__(self, text: str, interrupted: bool) -> None:
        super().__init__(text)
        self.interrupted = interrupted

    @property
    def exit_code(self) -> int:
        """130 after Ctrl-C; 0 after SIGTERM: a run that a scheduler starts again has not failed."""
        return 130 if self.interrupted else 0


@dataclass
class Wishes:
    """What was asked for.

    Args:
        term: A SIGTERM came.
        interrupt: A Ctrl-C came.
    """

    term: bool = False
    interrupt: bool = False

    def __bool__(self) -> bool:
        return self.term or self.interrupt


@contextlib.contextmanager
def stop_signals(launched: bool) -> Iterator[Wishes]:
    """Collect SIGINT and SIGTERM for as long as the block lasts.

    A second Ctrl-C interrupts at once, but not where torchrun started the process: torchrun hands a signal on that the
    process has had from the terminal already.

    Args:
        launched: Whether torchrun started this process.
    """
    wishes = Wishes()

    def wish(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and wishes.interrupt and not launched:
            raise KeyboardInterrupt
        wishes.interrupt |= number == signal.SIGINT
        wishes.term |= number == signal.SIGTERM

    before = {number: signal.signal(number, wish) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield wishes
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
