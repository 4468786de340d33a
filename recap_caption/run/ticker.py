"""What has to happen every few seconds while an engine works: syncs, signs of life, figures for others."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event, Thread

from recap_caption.run.job import Job
from recap_caption.run.lease import BEAT
from recap_eval.console import warn
from recap_eval.errors import UserError

TICK, TELL = 1.0, 5.0  # seconds between syncs; between figures


class Ticker:
    """A thread that looks after the parts in a worker's hands.

    Args:
        jobs: Returns them.
        tell: Tells others how the worker fares.
        fail: Is given an error that ends the work.
        show: Shows the user how the run fares.
    """

    def __init__(
        self, jobs: Callable[[], list[Job]], tell: Callable[[], None], fail: Callable[[UserError], None],
        show: Callable[[], None],
    ) -> None:  # fmt: skip
        self._jobs, self._tell, self._fail, self._show = jobs, tell, fail, show
        self._over = Event()
        self._thread = Thread(target=self._run, name="ticker", daemon=True)

    def __enter__(self) -> Ticker:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        beat = told = time.monotonic()
        while not self._over.wait(TICK):
            now = time.monotonic()
            try:
                for job in self._jobs():
                    job.spool.sync()
                self._show()
            except UserError as error:
                self._fail(error)
            if now - beat >= BEAT:
                beat = now
                self._beat()
            if now - told >= TELL:
                told = now
                self._tell()

    def _beat(self) -> None:
        for job in self._jobs():
            if not job.lost and not job.lease.beat():
                job.lost = True
                warn(f"{job.part.name} was taken over by another worker; this one leaves it")
