"""A part whose rows are all there becomes an output, in a thread of its own, while the next one is captioned."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from recap_caption.rows import VERSION
from recap_caption.run.asking import Made
from recap_caption.run.disk import publish, write_part, writing
from recap_caption.run.generation import Generation
from recap_caption.run.job import Job
from recap_caption.run.marking import mark
from recap_caption.run.output import pack
from recap_caption.run.record import Run
from recap_caption.run.spool import drop_spool

MOST = 4  # parts that wait for it; then the engine waits, too


class Committer:
    """Writes outputs.

    Args:
        run: The run.
        generation: What is being made.
        made: What all rows share.
        devices: How many devices the engine has.
    """

    def __init__(self, run: Run, generation: Generation, made: Made, devices: int) -> None:
        from recap_eval.captions.words import Lexicon

        self._run, self._generation, self._made, self._devices = run, generation, made, devices
        self._lexicon = Lexicon()
        self._pool = ThreadPoolExecutor(1, "commit")
        self._pending: list[Future[None]] = []

    def submit(self, job: Job) -> None:
        """Commit a part soon.

        Raises:
            DataError: An earlier one could not be written.
        """
        for one in self._pending:
            if one.done() or len(self._pending) >= MOST:
                one.result()
        self._pending = [one for one in self._pending if not one.done()]
        self._pending.append(self._pool.submit(self._commit, job))

    def end(self) -> None:
        """Wait for all of them.

        Raises:
            DataError: One could not be written.
        """
        self._pool.shutdown(wait=True)
        for one in self._pending:
            one.result()

    def _commit(self, job: Job) -> None:
        """Write an output, give it its name, and only then let go of what it was made of."""
        try:
            payload = self.payload(job)
            path = self._run.folder.output(job.part.name, self._generation.number)
            with writing(path):
                path.parent.mkdir(parents=True, exist_ok=True)
            publish(write_part(path, payload), path)
            job.spool.close()
            drop_spool(self._run.folder.spool(job.part.name, self._generation.number))
        finally:
            job.close()

    def payload(self, job: Job) -> bytes:
        """Return the bytes of a part's output."""
        rows = job.rows(self._made)
        mark(rows, self._lexicon)
        return pack(rows, self._facts(job))

    def _facts(self, job: Job) -> dict[str, Any]:
        return {
            "version": VERSION, "run_id": self._run.run_id, "part": job.part.name, "generation": self._generation.number,
            "again": list(self._generation.again), "identity": job.part.identity, **job.facts(self._devices),
        }  # fmt: skip
