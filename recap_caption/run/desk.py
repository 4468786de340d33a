"""What a worker takes next: a part that is not committed and that no living process has."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

from recap_caption.run.disk import check_room
from recap_caption.run.generation import FIRST, Generation, candidates
from recap_caption.run.job import Job, Row
from recap_caption.run.lease import Lease, Leases
from recap_caption.run.output import check_rows, read_output
from recap_caption.run.record import Run
from recap_caption.run.spool import Spool, read_spool
from recap_caption.sources.base import Opened, Part
from recap_eval.console import warn
from recap_eval.errors import DataError
from recap_eval.hashrand import text_key

ROW, SPARE = 6 << 10, 32 << 20  # bytes that a row may need in spool and output together; bytes beside them
LOOK = 5.0  # seconds between looks at what workers of other machines have in hands


@dataclass
class Desk:
    """What is left of a run, as one worker sees it.

    Args:
        run: The run.
        leases: Its leases.
        generation: What is being made.
    """

    run: Run
    leases: Leases
    generation: Generation = FIRST
    _order: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        parts = candidates(self.run, self.generation)
        start = text_key(self.leases.worker) % max(1, len(parts))  # workers begin apart, so that they seldom meet
        self._order = parts[start:] + parts[:start]

    def left(self) -> list[Part]:
        """Return the parts without an output, those in somebody's hands, too."""
        outputs = self.run.folder.outputs()
        parts = (self.run.parts[number] for number in self._order)
        return [part for part in parts if self.generation.number not in outputs.get(part.name, ())]

    def next_job(self) -> Job | None:
        """Return a part with its lease; None if every part is committed or in somebody's hands.

        Raises:
            DataError: The input is not what it was, or the folder cannot be used.
        """
        left = self.left()
        held = self.leases.names()
        for part in sorted(left, key=lambda part: self._lease_name(part) in held):  # free ones first; then look at the others
            lease = self.leases.take(self._lease_name(part))
            if lease is None:
                continue
            if self.run.folder.output(part.name, self.generation.number).exists():  # committed since we looked
                lease.release()
                continue
            return self._open(part, lease)
        return None

    def _lease_name(self, part: Part) -> str:
        return f"{part.name}.g{self.generation.number}"

    def _open(self, part: Part, lease: Lease) -> Job:
        with ExitStack() as undo:  # whatever goes wrong, Ctrl-C too: nothing stays held, and the error goes its way
            undo.callback(lease.release)
            check_same(self.run, part)
            opened = self.run.source.open(part).first(part.take)
            undo.callback(opened.close)
            rows = len(opened.items) * len(self.run.asking.questions)
            check_room(self.run.folder.root, ROW * rows + SPARE)
            folder = self.run.folder.spool(part.name, self.generation.number)
            kept, base = read_spool(folder), self._base(part, rows)
            if opened.torn is not None:
                warn(_torn(part, opened))
            if kept.damaged:
                warn(f"{part.name}: {kept.damaged:,} answers were cut off while they were written; they are asked again")
            job = Job(part, lease, opened, self.run.asking, Spool(folder, lease.token), kept, base, self.generation.again)
            undo.pop_all()
            return job

    def _base(self, part: Part, rows: int) -> list[Row] | None:
        """Return the rows of the generation before."""
        number = self.generation.previous(self.run.folder.outputs().get(part.name, set()))
        if number is None:
            return None
        path = self.run.folder.output(part.name, number)
        output = read_output(path)
        found: list[Row] = output.table.to_pylist()
        check_rows(path, found, output.facts)
        if len(found) != rows:
            raise DataError(f"{path} has {len(found):,} rows, and its shard {rows:,}.", "See recap-caption verify.")
        return found

    def wait(self, stopped: Callable[[], bool]) -> bool:
        """Wait until a part becomes free, or all that are left are in living hands; returns whether one became free."""
        first: dict[str, int | None] = {}
        while not stopped():
            names = [self._lease_name(part) for part in self.left()]
            if not names:
                return False
            if any(self.leases.is_free(name) for name in names):
                return True
            for name in names:
                first.setdefault(name, self.leases.sign(name))
            if all(self.leases.is_near(name) or self.leases.sign(name) != first[name] for name in names):
                return False
            time.sleep(LOOK)
        return False


def check_same(run: Run, part: Part) -> None:
    """Check that a part of the input is what it was when the run began.

    Raises:
        DataError: It is not.
    """
    if (now := run.identity(part)) != part.identity:
        raise DataError(
            f"{part.name} of the input is not what it was when the run began ({part.identity} then, {now} now).",
            "Restore it, or begin another run: --output DIR; if it was only copied, begin runs with --hash-input.",
        )


def _torn(part: Part, opened: Opened) -> str:
    lost = "an unknown number of" if opened.lost < 0 else f"{opened.lost:,}"
    return f"{part.name} ends too early ({opened.torn}): {lost} samples lost, the rest is captioned"
