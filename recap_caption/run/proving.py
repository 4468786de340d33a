"""The proof of a run: every sample of the input has its rows, once and in order, and every output is what was written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from recap_caption.rows import DUPLICATE_KEY
from recap_caption.run.asking import Asking
from recap_caption.run.desk import check_same
from recap_caption.run.job import Row
from recap_caption.run.output import DAMAGED, check_rows, read_output
from recap_caption.run.record import Run
from recap_caption.sources.base import Item, Part, mark_repeated
from recap_eval.captions.generations import join_name
from recap_eval.errors import DataError

MARKED = ("flags", "re_caption_trimmed")  # made anew for all rows of a part whenever some are asked again
CARRIED = ("url", "org_caption")  # from the input into the row, as they are


@dataclass
class Proof:
    """What is found about a run.

    Args:
        run: The run.
        with_input: Whether rows are held against the input, or against each other only.
        problems: What is wrong, a line each.
        missing: Parts without an output.
        rows: Rows of the newest outputs.
        facts: What each output says of itself, by file name.
    """

    run: Run
    with_input: bool = True
    problems: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    rows: int = 0
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._hashes: list[Any] = []

    def check_parts(self) -> Iterator[Part]:
        """Check part after part; yields each when it is checked.

        Raises:
            DataError: There is no input to hold rows against.
        """
        if self.with_input and not self.run.source.names:
            raise DataError("The input is empty.", "Restore it, or leave it out: --no-input")
        outputs = self.run.folder.outputs()
        for part in self.run.parts:
            generations = sorted(outputs.pop(part.name, ()))
            try:
                self._check(part, generations)
            except DataError as error:
                self.problems.append(error.what)
            yield part
        strangers = [join_name(name, number) for name, numbers in outputs.items() for number in sorted(numbers)]
        self.problems += [f"{self.run.folder.captions / name} is an output of no part of the input." for name in strangers]

    def _check(self, part: Part, generations: Sequence[int]) -> None:
        if 0 not in generations:
            self.missing.append(part.name)
        items = self._items(part) if generations and self.with_input else None
        before: list[Row] | None = None
        for generation in generations:
            rows, facts = self._read(part, generation)
            name = join_name(part.name, generation)
            check_items(name, self.run.asking, items if items is not None else own_items(self.run.asking, rows), rows)
            if before is not None:
                check_copied(name, before, rows, facts["again"])
            before = rows
        self._note(before or [])

    def _items(self, part: Part) -> list[Item]:
        check_same(self.run, part)
        opened = self.run.source.open(part).first(part.take)
        opened.close()
        return opened.items

    def _read(self, part: Part, generation: int) -> tuple[list[Row], dict[str, Any]]:
        path = self.run.folder.output(part.name, generation)
        output = read_output(path)
        rows: list[Row] = output.table.to_pylist()
        check_rows(path, rows, output.facts)
        expected = {"run_id": self.run.run_id, "part": part.name, "generation": generation, "identity": part.identity}
        if any(output.facts[name] != value for name, value in expected.items()):
            raise DataError(f"{path} is of another run or of another part.", DAMAGED)
        self.facts[path.name] = output.facts
        return rows, output.facts

    def _note(self, rows: list[Row]) -> None:
        from recap_eval.hashrand import text_hashes

        self.rows += len(rows)
        self._hashes.append(text_hashes([row["key"] for row in rows[:: len(self.run.asking.questions)]]))

    def shared_keys(self) -> int:
        """Return how many samples have a key that came before, in whatever part: joins by key will not tell them apart."""
        import numpy as np

        hashes = np.concatenate(self._hashes) if self._hashes else np.empty(0, dtype=np.uint64)
        return len(hashes) - len(np.unique(hashes))


def own_items(asking: Asking, rows: Sequence[Row]) -> list[Item]:
    """Return the samples that rows are of, by these rows themselves."""
    first = rows[:: len(asking.questions)]
    return mark_repeated([Item(row["key"], "", row["url"], org_caption=row["org_caption"]) for row in first])


def check_items(name: str, asking: Asking, items: Sequence[Item], rows: Sequence[Row]) -> None:
    """Check that rows are those of samples: each once, in order, with its own texts.

    Raises:
        DataError: They are not; the message names the first that is wrong.
    """
    expected = len(items) * len(asking.questions)
    if len(rows) != expected:
        raise DataError(f"{name} has {len(rows):,} rows where its input asks for {expected:,}.", DAMAGED)
    for place, row in enumerate(rows):
        number, prompt, sample = asking.split(place)
        item = items[number]
        if (row["key"], row["prompt_id"], row["sample_index"]) != (item.key, prompt.id, sample):
            raise DataError(
                f"{name}: row {place:,} is of {row['key']} ({row['prompt_id']}, {row['sample_index']}) where the input has "
                f"{item.key} ({prompt.id}, {sample}).", DAMAGED,
            )  # fmt: skip
        if any(row[column] != getattr(item, column) for column in CARRIED):
            raise DataError(f"{name}: row {place:,} ({row['key']}) has other texts than the input.", DAMAGED)
        if (item.fault is not None and item.fault.status == DUPLICATE_KEY) != (row["status"] == DUPLICATE_KEY):
            raise DataError(f"{name}: {row['key']} is there twice, or was taken to be.", DAMAGED)


def check_copied(name: str, before: Sequence[Row], rows: Sequence[Row], again: Sequence[str]) -> None:
    """Check that rows that were not asked again are those of the generation before.

    Raises:
        DataError: One is not.
    """
    for place, (old, new) in enumerate(zip(before, rows, strict=True)):
        if old["status"] not in again and any(old[column] != new[column] for column in old if column not in MARKED):
            raise DataError(f"{name}: row {place:,} ({new['key']}) changed without being asked again.", DAMAGED)
