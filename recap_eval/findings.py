"""What a paper concludes, held against the boards: each finding with the tests that would show it, and what they say.

Findings are data (findings.toml). A test's difference is the boards' own: over common training seeds, or over items where there
is one seed. p-values are Holm-corrected over the tests of a finding, which is a question of its own.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap_eval.column_scores import ColumnScores
from recap_eval.errors import DataError
from recap_eval.leaderboard import Tables, difference
from recap_eval.stats import holm, paired_items
from recap_eval.table import Cell, Difference, Row, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recap_eval.results import Result

SHIPPED = Path(__file__).with_name("findings.toml")
MORE, LESS = "more", "less"
HOLDS, OPPOSITE, OPEN, NOT_RUN = "holds", "the opposite holds", "not separable", "not run"
REPRODUCED, PARTLY, MIXED, NOT = "reproduced", "reproduced in part", "mixed", "not reproduced"
UNTESTABLE = "not testable here"


@dataclass(frozen=True)
class Check:
    """A figure that would show a finding; see findings.toml.

    Args:
        board: Name of the board.
        column: Label of its column.
        expect: "more" or "less": the sign of the difference that the paper found.
        places: Two places on the board's axis, or none.
        rows: One row, which is held against chance, or two, for a board without an axis.
    """

    board: str
    column: str
    expect: str
    places: tuple[float, ...] = ()
    rows: tuple[str, ...] = ()

    def what(self) -> str:
        """Say which difference it is."""
        if self.places:
            return f"p = {self.places[0]:g} less p = {self.places[1]:g}"
        return f"{self.rows[0]} less {self.rows[1] if len(self.rows) > 1 else 'chance'}"


@dataclass(frozen=True)
class Finding:
    """A conclusion of the paper.

    Args:
        says: What it says.
        paper: The figures that it rests on.
        tests: What would show it here.
        untestable: Why there is no test; empty if there is one.
    """

    says: str
    paper: str
    tests: tuple[Check, ...]
    untestable: str


@dataclass(frozen=True)
class Checked:
    """What a test says.

    Args:
        test: The test.
        difference: The difference with interval and corrected p-value; None if it was not run.
        column: Number of its column on the board; None likewise.
    """

    test: Check
    difference: Difference | None
    column: int | None = None

    @property
    def verdict(self) -> str:
        """Whether the difference is that of the paper."""
        if self.difference is None:
            return NOT_RUN
        if not self.difference.separable:
            return OPEN
        return HOLDS if (self.difference.estimate.value > 0) == (self.test.expect == MORE) else OPPOSITE


@dataclass(frozen=True)
class Held:
    """A finding, held against the boards."""

    finding: Finding
    tested: tuple[Checked, ...]

    @property
    def verdict(self) -> str:
        """What its tests say together; one that was not run or shows nothing leaves part of the finding open."""
        said = {one.verdict for one in self.tested}
        if not said:
            return UNTESTABLE
        if said <= {NOT_RUN, OPEN}:
            return OPEN if OPEN in said else NOT_RUN
        if OPPOSITE in said:
            return MIXED if HOLDS in said else NOT
        return REPRODUCED if said == {HOLDS} else PARTLY


def load_findings(path: Path = SHIPPED) -> tuple[str, list[Finding]]:
    """Read a file of findings; returns whose they are, and the findings.

    Raises:
        DataError: The file is not one.
    """
    try:
        record = tomllib.loads(path.read_text(encoding="utf-8"))
        return str(record["source"]), [_finding(one) for one in record["findings"]]
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, TypeError, KeyError, ValueError) as error:
        raise DataError(f"{path} holds no findings ({error}).", f"Model it on {SHIPPED}.") from error


def _finding(record: dict[str, Any]) -> Finding:
    tests = tuple(_test(dict(one)) for one in record.get("tests", ()))
    why = str(record.get("untestable", ""))
    if bool(tests) == bool(why):
        raise ValueError(f"{record['says']!r} needs tests, or says why it is untestable")
    return Finding(str(record["says"]), str(record["paper"]), tests, why)


def _test(record: dict[str, Any]) -> Check:
    places = tuple(float(place) for place in record.pop("places", ()))
    rows = tuple(record.pop("sets", ())) or ((str(record.pop("set")),) if "set" in record else ())
    if record["expect"] not in (MORE, LESS) or (len(places), len(rows)) not in ((2, 0), (0, 2), (0, 1)):
        raise ValueError(f"a test of {record['column']!r} needs two places, two sets or a set, and to expect more or less")
    return Check(**record, places=places, rows=rows)


def hold(findings: Sequence[Finding], tables: Tables, boards: Sequence[str]) -> list[Held]:
    """Hold findings against the boards.

    Args:
        findings: The findings.
        tables: The boards' tables.
        boards: Names of the boards that there are.

    Raises:
        UserError, DataError: See `build_table`.
    """
    return [Held(one, _corrected([_tested(test, tables, boards) for test in one.tests])) for one in findings]


def _corrected(tested: list[Checked]) -> tuple[Checked, ...]:
    """Give each difference its Holm-corrected p-value among those of its finding."""
    raw = [None if one.difference is None else one.difference.estimate.p_value for one in tested]
    adjusted = iter(holm([p for p in raw if p is not None]))
    return tuple(
        replace(one, difference=replace(one.difference, p_holm=next(adjusted))) if one.difference and p is not None else one
        for one, p in zip(tested, raw, strict=True)
    )


def _tested(test: Check, tables: Tables, boards: Sequence[str]) -> Checked:
    table = tables.of(test.board) if test.board in boards else None
    labels = [column.label for column in table.board.columns] if table else []
    if table is None or test.column not in labels:
        return Checked(test, None)
    number = labels.index(test.column)
    metric = table.board.columns[number].metric
    cells = _at_places(test, table, number) if test.places else _of_rows(test, table, number)
    if not cells:
        return Checked(test, None)
    found = difference(cells[0], cells[1], ColumnScores(metric)) if test.places else _over_items(cells, metric)
    return Checked(test, found, number)


def _at_places(test: Check, table: Table, number: int) -> list[Cell]:
    """Return a column's cells at both places, of the sweep that has most seeds there."""
    both = []
    for sweep in table.sweeps:
        rows = {row.axis: row for row in sweep.rows if number in row.cells}
        if all(place in rows for place in test.places):
            both.append([rows[place].cells[number] for place in test.places])
    return max(both, key=lambda cells: min(len(cell.results) for cell in cells), default=[])


def _of_rows(test: Check, table: Table, number: int) -> list[Cell]:
    """Return a column's cells of the rows named; nothing unless all are there."""
    rows: dict[str, Row] = {row.label: row for group in table.groups for row in group.rows if number in row.cells}
    found = [rows[label].cells[number] for label in test.rows if label in rows]
    return found if len(found) == len(test.rows) else []


def _over_items(cells: Sequence[Cell], metric: str) -> Difference | None:
    """Return the difference of two rows over the items that both have, or of one to chance; None if nothing can be said."""
    import numpy as np

    ours = _items(cells[0].results[0], metric)
    chance = cells[0].results[0].record["metrics"][metric]["chance"]
    if len(cells) > 1:
        base = {item: value for item, (value, _) in _items(cells[1].results[0], metric).items()}
    else:
        base = {} if chance is None else dict.fromkeys(ours, float(chance))
    common = [item for item in ours if item in base]
    clusters = [ours[item][1] for item in common]
    if len(set(clusters)) < 2:
        return None
    values, less = (np.array(column) for column in zip(*((ours[item][0], base[item]) for item in common), strict=True))
    return Difference(paired_items(values, less, clusters), "items")


def _items(result: Result, metric: str) -> dict[str, tuple[float, str]]:
    """Return value and cluster by item."""
    rows = result.rows(metric, ("item", "cluster"))
    item, value, cluster = (rows[name].to_pylist() for name in ("item", "value", "cluster"))
    return dict(zip(item, zip(value, cluster, strict=True), strict=True))
