"""One worker: takes parts, lets its engine caption them in one unbroken stream, and commits each when its last row is there."""

from __future__ import annotations

import itertools
import os
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock

from recap_caption.engines.base import Engine, Reply, Request
from recap_caption.rows import PASSING
from recap_caption.run.committing import Committer
from recap_caption.run.desk import Desk
from recap_caption.run.generation import FIRST, Generation
from recap_caption.run.job import Job
from recap_caption.run.lease import Leases
from recap_caption.run.record import Run
from recap_caption.run.tally import CAPTIONING, DONE, FAILED, STOPPED, WAITING, Tally
from recap_caption.run.ticker import Ticker
from recap_eval.errors import DataError, UserError
from recap_eval.signals import Wishes

AHEAD, SHARE = 256, 0.1  # rows of a part, or share of them, left to ask when the next is opened: no sooner, others want it
MOST_IN_A_ROW = 200  # failures that may pass by themselves, one after the other: then something is wrong with the engine


def worker_name() -> str:
    """Return this process's name among all workers of a run."""
    return f"{socket.gethostname()}-{os.getpid()}"


class Worker:
    """Captions parts of a run until none is left, it is asked to stop, or something is wrong.

    Args:
        run: The run.
        engine: What makes captions.
        name: The worker's name.
        generation: What is being made.
        wishes: Set from outside when it is to stop.

    Attributes:
        show: Called every second while it works.
    """

    def __init__(
        self, run: Run, engine: Engine, name: str, generation: Generation = FIRST, wishes: Wishes | None = None
    ) -> None:  # fmt: skip
        self.show: Callable[[], None] = lambda: None
        self.run, self.engine, self.generation = run, engine, generation
        self.wishes = Wishes() if wishes is None else wishes
        self.devices = int(engine.about.get("devices", 1))
        self.tally = Tally(name, self.devices)
        self._desk = Desk(run, Leases(run.folder.leases, name), generation)
        self._open: list[Job] = []
        self._asked: dict[int, tuple[Job, int]] = {}
        self._numbers = itertools.count()
        self._error: UserError | None = None
        self._lock = Lock()
        self._last, self._in_a_row = time.monotonic(), 0

    def work(self) -> Tally:
        """Caption until nothing is left to take; returns what was done.

        Raises:
            UserError, DataError: What ended the work before; what was answered is kept.
            KeyboardInterrupt: A second Ctrl-C.
        """
        self._tell()
        with Ticker(lambda: list(self._open), self._tell, self._fail, lambda: self.show()):
            try:
                while self._round() and self._wait():
                    pass
            except UserError as error:
                self._fail(error)
            except KeyboardInterrupt:  # the engine took it itself; what was under way is kept
                self.wishes.interrupt = True
        self.tally.state = FAILED if self._error else STOPPED if self.wishes else DONE
        self.tally.hands = {}
        self._tell()
        if self._error is not None:
            raise self._error
        return self.tally

    def is_stopping(self) -> bool:
        """Return whether nothing new is begun."""
        return bool(self.wishes) or self._error is not None

    def _round(self) -> bool:
        """Caption what can be taken now; returns whether to look for more."""
        self._committer = Committer(self.run, self.generation, self.run.made(self.engine.name), self.devices)
        self._pool = ThreadPoolExecutor(1, "open")
        self._coming: Future[Job | None] | None = None
        self.tally.state = CAPTIONING
        try:
            self._last = time.monotonic()
            self.engine.caption(self._requests(), self._keep)
            self._check_answered()
        finally:
            self._end_round()
        return not self.is_stopping()

    def _check_answered(self) -> None:
        if self._asked and not self.is_stopping():
            raise DataError(
                f"The engine {self.engine.name} left {len(self._asked):,} questions without an answer.",
                "The same command asks them again; if it happens again, the engine is at fault.",
            )

    def _end_round(self) -> None:
        """Let commits end, and give back the parts that are not complete, with what was answered of them."""
        self._pool.shutdown(wait=True)
        try:
            if self._coming is not None and self._coming.exception() is None and (job := self._coming.result()):
                job.close()
            self._committer.end()
        except UserError as error:
            self._fail(error)
        for job in list(self._open):
            self._drop(job)
            job.close()
        self._asked.clear()

    def _wait(self) -> bool:
        self.tally.state = WAITING
        return self._desk.wait(self.is_stopping)

    def _requests(self) -> Iterator[Request]:
        """Yield questions, part after part; the next part is opened while the last questions of one are asked."""
        try:
            while not self.is_stopping() and (job := self._take()) is not None:
                near = min(AHEAD, int(SHARE * len(job)))
                for place, request in job.requests(self._numbers):
                    if self.is_stopping():
                        return
                    self._asked[request.place] = (job, place)
                    if job.to_ask <= near:
                        self._open_next()
                    yield request
                self._commit_if_whole(job)
        except UserError as error:  # never thrown through an engine: it would drop what is under way
            self._fail(error)

    def _open_next(self) -> None:
        if self._coming is None:
            self._coming = self._pool.submit(self._desk.next_job)

    def _take(self) -> Job | None:
        self._open_next()
        coming, self._coming = self._coming, None
        job = coming.result() if coming is not None else None
        if job is not None:
            self._open.append(job)
        return job

    def _keep(self, request: Request, reply: Reply) -> None:
        """Keep an answer."""
        now = time.monotonic()
        seconds, self._last = now - self._last, now
        try:
            if request.place not in self._asked:
                raise DataError(f"The engine {self.engine.name} answered a question twice.", "The engine is at fault.")
            job, place = self._asked.pop(request.place)
            answer = job.keep(place, reply, seconds)
            self.tally.add(answer)
            self._watch(answer["status"], answer["error"])
            self._commit_if_whole(job)
        except UserError as error:
            self._fail(error)

    def _watch(self, status: str, error: str | None) -> None:
        """Stop where nothing succeeds any more: failures that would pass are not to be taken for results.

        Raises:
            DataError: So many in a row failed.
        """
        self._in_a_row = self._in_a_row + 1 if status in PASSING else 0
        if self._in_a_row >= MOST_IN_A_ROW:
            raise DataError(
                f"{self._in_a_row} questions in a row failed; the last: {error}",
                "Mend the engine or its server; the same command asks these again.",
            )

    def _commit_if_whole(self, job: Job) -> None:
        with self._lock:  # the last answer and the last question may come in two threads
            if job.left or job.lost or job not in self._open:
                return
            self._drop(job)
        self._committer.submit(job)

    def _drop(self, job: Job) -> None:
        self._open = [one for one in self._open if one is not job]

    def _fail(self, error: UserError) -> None:
        self._error = self._error or error

    def _tell(self) -> None:
        self.tally.measure()
        self.tally.hands = {job.part.name: (job.done, len(job)) for job in self._open}
        self.tally.write(self.run.folder.workers)
