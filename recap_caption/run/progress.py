"""How far a run is, by names of files and by what workers write of themselves: no output is opened."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recap_caption.run.generation import FIRST, Generation, candidates
from recap_caption.run.output import read_facts
from recap_caption.run.record import Run
from recap_caption.run.tally import AT_WORK, read_tallies
from recap_caption.run.who import is_dead
from recap_eval.errors import DataError

SILENT = 60.0  # seconds after which a worker that writes nothing is not counted as being at work
SAMPLE = 64  # outputs that tell how many rows a byte of input has, where nobody says it beforehand


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Args:
        parts: Parts to be made.
        committed: Those that are.
        rows: Rows to be made.
        done: Rows that have an answer.
        exact: Whether `rows` is known, not estimated from bytes.
        workers: What workers at work say of themselves.
    """

    parts: int
    committed: int
    rows: int
    done: int
    exact: bool
    workers: list[dict[str, Any]]

    @property
    def rate(self) -> float:
        """Captions a second, of all workers together, over the last minute."""
        return float(sum(worker["rate"] for worker in self.workers))

    @property
    def token_rate(self) -> float:
        """Likewise tokens of captions a second."""
        return float(sum(worker["token_rate"] for worker in self.workers))

    @property
    def eta(self) -> float | None:
        """Seconds until the end at this rate; None if nobody is at work."""
        return max(0, self.rows - self.done) / self.rate if self.rate > 0 else None


class Survey:
    """Looks at a run again and again.

    Args:
        run: The run.
        generation: What is being made.
    """

    def __init__(self, run: Run, generation: Generation = FIRST) -> None:
        self._run, self._generation = run, generation
        self._parts = [run.parts[number] for number in candidates(run, generation)]
        self._questions = len(run.asking.questions)
        self._rows: dict[str, int] = {part.name: part.rows * self._questions for part in self._parts if part.rows is not None}
        self._seen: dict[Path, tuple[float, dict[str, Any]]] = {}
        self._learnt = 0

    def look(self) -> Progress:
        """Return how far it is now."""
        outputs = self._run.folder.outputs()
        committed = {part.name for part in self._parts if self._generation.number in outputs.get(part.name, ())}
        self._learn(committed)
        workers = self._workers()
        hands: dict[str, int] = {}
        for worker in workers:
            for name, (done, total) in worker["hands"].items():
                self._rows[name] = total
                if name not in committed:
                    hands[name] = max(done, hands.get(name, 0))
        ratio = self._rows_a_byte()
        rows = {part.name: self._rows.get(part.name, round(ratio * part.size)) for part in self._parts}
        done = sum(rows[name] for name in committed) + sum(hands.values())
        exact = all(part.name in self._rows for part in self._parts)
        return Progress(len(self._parts), len(committed), sum(rows.values()), done, exact, workers)

    def _learn(self, committed: set[str]) -> None:
        """Read how many rows some outputs have of whose shards nobody said so."""
        unknown = [name for name in committed if name not in self._rows]
        for name in unknown[: max(0, SAMPLE - self._learnt)]:
            try:
                facts = read_facts(self._run.folder.output(name, self._generation.number))
            except DataError:
                continue  # `verify` is who tells of it
            self._rows[name] = int(facts["rows"])
            self._learnt += 1

    def _rows_a_byte(self) -> float:
        known = [part for part in self._parts if part.name in self._rows]
        size = sum(part.size for part in known)
        return sum(self._rows[part.name] for part in known) / size if size else 0.0

    def _workers(self) -> list[dict[str, Any]]:
        """Return the workers that have written something new of late, by this process's own clock."""
        now = time.monotonic()
        for path, record in read_tallies(self._run.folder.workers).items():
            before = self._seen.get(path)
            if before is None:
                self._seen[path] = (now - _age(path), record)
            elif before[1] != record:
                self._seen[path] = (now, record)
        at_work = [record for seen, record in self._seen.values() if record["state"] in AT_WORK and now - seen < SILENT]
        return [record for record in at_work if not is_dead(record["process"])]


def _age(path: Path) -> float:
    """Return about how old a file is, for a first look: by two clocks, where they differ a worker shows a minute later."""
    try:
        return max(0.0, time.time() - path.stat().st_mtime)
    except OSError:
        return SILENT
