"""Asking again: a generation is a set of statuses whose rows are asked once more, written down before any is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recap_caption.rows import ASKABLE
from recap_caption.run.disk import create
from recap_caption.run.output import read_facts
from recap_caption.run.record import Run
from recap_eval.errors import DataError, UserError, unknown_name
from recap_eval.files import read_json

READERS = 8  # threads that read what outputs say of themselves


@dataclass(frozen=True)
class Generation:
    """What is being made.

    Args:
        number: 0 for the run itself.
        again: Statuses of the rows that are asked again.
    """

    number: int = 0
    again: tuple[str, ...] = ()

    def previous(self, generations: set[int]) -> int | None:
        """Return the newest generation of a part before this one; None if there is none."""
        return max((one for one in generations if one < self.number), default=None)


FIRST = Generation()


def candidates(run: Run, generation: Generation) -> list[int]:
    """Return the parts that have, or will have, an output of a generation, in order."""
    if generation.number == 0:
        return list(range(len(run.parts)))
    facts = newest_facts(run, generation.number)
    return [number for number, found in enumerate(facts) if found and _has(found, generation.again)]


def newest_facts(run: Run, before: int | None = None) -> list[dict[str, Any] | None]:
    """Return what the newest output of each part says of itself; None where there is none.

    Args:
        run: The run.
        before: Generations from this one on do not count.
    """
    outputs = run.folder.outputs()

    def newest(name: str) -> Path | None:
        there = [one for one in outputs.get(name, ()) if before is None or one < before]
        return run.folder.output(name, max(there)) if there else None

    paths = [newest(part.name) for part in run.parts]
    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(lambda path: read_facts(path) if path else None, paths))


def _has(facts: dict[str, Any], statuses: Sequence[str]) -> bool:
    return any(facts["statuses"].get(status) for status in statuses)


def begin_retry(run: Run, statuses: Sequence[str]) -> Generation | None:
    """Return the generation that asks rows of some statuses again, begun unless it has; None if there is no such row.

    Raises:
        UserError: A status is none, or one that asking again does not mend; or another retry is under way.
        DataError: The run, or the retry before, is not complete.
    """
    _check(statuses)
    if lacking := left(run, FIRST):
        raise DataError(f"{len(lacking):,} shards are not captioned yet.", "Let the run end first: give its command again.")
    before = latest(run)
    if before.number and left(run, before):
        if set(before.again) != set(statuses):
            raise UserError(
                f"A retry of {','.join(before.again)} is under way and not complete.",
                f"End it first: recap-caption retry {run.folder.root} --status {','.join(before.again)}",
            )
        return before
    if not any(found and _has(found, statuses) for found in newest_facts(run)):
        return None
    return _begin(run, Generation(before.number + 1, tuple(statuses)))


def _begin(run: Run, generation: Generation) -> Generation:
    path = run.folder.retry(generation.number)
    create(path, json.dumps({"generation": generation.number, "again": list(generation.again)}).encode())
    there = _read(path)
    if set(there.again) != set(generation.again):
        raise UserError(f"A retry of {','.join(there.again)} has begun meanwhile.", "Give its statuses, or wait for its end.")
    return there


def _check(statuses: Sequence[str]) -> None:
    for status in statuses:
        if status not in ASKABLE:
            raise unknown_name("status to ask again", status, ASKABLE, ", ".join(ASKABLE))


def latest(run: Run) -> Generation:
    """Return the newest generation that has begun."""
    number = 0
    while run.folder.retry(number + 1).is_file():
        number += 1
    return _read(run.folder.retry(number)) if number else FIRST


def _read(path: Path) -> Generation:
    record = read_json(path)
    return Generation(int(record["generation"]), tuple(record["again"]))


def left(run: Run, generation: Generation) -> list[str]:
    """Return the parts that lack their output of a generation."""
    outputs = run.folder.outputs()
    names = [run.parts[number].name for number in candidates(run, generation)]
    return [name for name in names if generation.number not in outputs.get(name, ())]
