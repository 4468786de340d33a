"""What a paper concludes, held against the boards: each finding with the tests that would show it, and what they say.

Findings are data (findings.toml). A test's difference is the boards' own: over common training seeds, or over items where there
is one seed. p-values are Holm-corrected over the tests of a finding, which is a question of its own.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap_eval.contrasts import Contrast, of_best_mix, of_places, of_recipes, of_rows
from recap_eval.errors import DataError
from recap_eval.gains import MEAN, SLOPE
from recap_eval.leaderboard import Tables
from recap_eval.stats import holm
from recap_eval.table import Difference, Place, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

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
        places: Two places on the board's axis, or names of rows beside it, or none.
        best_mix_over: A place on the board's axis, which the best mix is held against, or none.
        rows: One row, which is held against chance, or two, for a board without an axis.
        recipes: Two recipes that were trained at the same places, or none.
        of: Of two recipes, what of the gain: its "mean" over places, or its "slope".
    """

    board: str
    column: str
    expect: str
    places: tuple[Place, Place] | None = None
    best_mix_over: float | None = None
    rows: tuple[str, ...] = ()
    recipes: tuple[str, str] | None = None
    of: str = MEAN


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
        places: Places on the board's axis that it is of or over: those of the test, or the nearest that were trained.
    """

    test: Check
    difference: Difference | None
    column: int | None = None
    places: tuple[Place, ...] = ()

    def what(self) -> str:
        """Say which difference it is."""
        test = self.test
        if test.recipes:
            along = [f"{place:g}" for place in self.places]
            ends = f" from {along[0]} to {along[-1]}" if along else ""
            return f"{test.recipes[0]} less {test.recipes[1]}, {test.of} over p{ends}"
        if test.best_mix_over is not None:
            mixes = ", ".join(_named(place) for place in self.places)
            chosen = f" ({mixes}: chosen by the other seeds)" if mixes else ""
            return f"the best mix{chosen} less {_named(test.best_mix_over)}"
        if test.places:
            told = " less ".join(map(_named, self.places or test.places))
            theirs = " and ".join(f"{place:g}" if isinstance(place, float) else place for place in test.places)
            return told if (self.places or test.places) == test.places else f"{told} (the paper's: {theirs})"
        return f"{test.rows[0]} less {test.rows[1] if len(test.rows) > 1 else 'chance'}"

    @property
    def verdict(self) -> str:
        """Whether the difference is that of the paper."""
        if self.difference is None:
            return NOT_RUN
        if not self.difference.separable:
            return OPEN
        return HOLDS if (self.difference.estimate.value > 0) == (self.test.expect == MORE) else OPPOSITE


def _named(place: Place) -> str:
    return f"p = {place:g}" if isinstance(place, float) else place


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
    rows = tuple(record.pop("sets", ())) or ((str(record.pop("set")),) if "set" in record else ())
    places, recipes = (_two(record.pop(name)) if name in record else None for name in ("places", "recipes"))
    kinds = [places, rows, recipes, "best_mix_over" in record]
    if record["expect"] not in (MORE, LESS) or len(rows) > 2 or sum(map(bool, kinds)) != 1:
        raise ValueError(
            f"a test of {record['column']!r} needs two places, sets or recipes, or a set, and to expect more or less"
        )
    if record.get("of", MEAN) not in (MEAN, SLOPE) or ("of" in record and not recipes):
        raise ValueError(f"a test of {record['column']!r} is of the mean or the slope of what a recipe gains over another")
    over = record.pop("best_mix_over", None)
    return Check(**record, places=places, best_mix_over=None if over is None else float(over), rows=rows, recipes=recipes)


def _two(values: list[Any]) -> tuple[Any, Any]:
    one, two = (float(value) if isinstance(value, int) else value for value in values)
    return one, two


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
    found = _contrast(test, table, number)
    return Checked(test, None) if found is None else Checked(test, found.difference, number, found.places)


def _contrast(test: Check, table: Table, number: int) -> Contrast | None:
    if test.recipes:
        return of_recipes(table, number, test.recipes, test.of)
    if test.best_mix_over is not None:
        return of_best_mix(table, number, test.best_mix_over)
    return of_places(table, number, test.places) if test.places else of_rows(table, number, test.rows)
