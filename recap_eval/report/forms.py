"""How figures are written: by what they are multiplied, in which unit, with how many decimals."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from recap_eval.board import Column
from recap_eval.published import PUBLISHED, PublishedTable
from recap_eval.table import Table
from recap_eval.tasks.base import PERCENT, SHARE

DIGITS, MOST = 4, 6  # significant digits of what is no per cent; decimals of what is printed
EXACT = 1e-9  # relative: what binary fractions add to a figure as printed


@dataclass(frozen=True)
class Form:
    """The form of a column's figures.

    Args:
        scale: By what they are multiplied.
        decimals: Digits after the point.
    """

    scale: float = PERCENT
    decimals: int = 1

    def figure(self, value: float) -> str:
        """Return a value."""
        return f"{self.scale * value:.{self.decimals}f}"

    def printed(self, value: float) -> str:
        """Return a published value, with more decimals where it was printed with more."""
        return f"{self.scale * value:.{max(self.decimals, decimals_of(self.scale * value))}f}"

    def signed(self, value: float) -> str:
        """Return a difference, with its sign."""
        return f"{self.scale * value:+.{self.decimals}f}"


def is_percent(column: Column) -> bool:
    """Return whether a column's figures are per cent."""
    return column.unit == SHARE and column.scale == PERCENT


def times(column: Column) -> str:
    """Return by what a column's figures are multiplied, as in "× 100"; nothing if by nothing."""
    return "" if column.scale == 1 else f"× {column.scale:g}"


def unit_of(column: Column) -> str:
    """Return what figures of a column are shown in: %, × 100 of what is no share, nothing for a distance as it is."""
    return "%" if is_percent(column) else "" if times(column) in column.label else times(column)


def named(column: Column) -> str:
    """Return a column's label with its unit."""
    unit = unit_of(column)
    return f"{column.label}, {unit}" if unit else column.label


def titled(column: Column) -> str:
    """Return a column's label with direction and unit, for plots."""
    unit, arrow = unit_of(column), "" if column.higher_is_better else " ↓"
    return f"{column.label}{arrow}" + (f", {unit}" if unit else "")


def form_of(column: Column, values: Iterable[float]) -> Form:
    """Return the form of a column's measured figures."""
    return form(column.scale, column.unit, values)


def form(scale: float, unit: str, values: Iterable[float]) -> Form:
    """Return the form of figures: per cent with one decimal, of all else four digits of the largest.

    Args:
        scale: By what they are multiplied.
        unit: In what they are.
        values: The figures, not multiplied.
    """
    if unit == SHARE and scale == PERCENT:
        return Form()
    largest = max((abs(scale * value) for value in values), default=0.0)
    whole = math.floor(math.log10(largest)) + 1 if largest > 0 else 1
    return Form(scale, min(DIGITS, max(0, DIGITS - whole)))


def forms(table: Table) -> list[Form]:
    """Return the form of each column's measured figures."""
    rows = [row for part in table.parts for row in part.shown]
    cells = [[row.cells[number] for row in rows if number in row.cells] for number in range(len(table.board.columns))]
    return [
        form_of(column, [cell.estimate.value for cell in found])
        for column, found in zip(table.board.columns, cells, strict=True)
    ]


def published_forms(table: Table, group: PublishedTable) -> list[Form]:
    """Return the form of each column's published figures: with as many decimals as most of them need, at least one.

    A number does not keep a zero at its end: that of 1.40 is known by the figures beside it.
    """
    found = []
    for column in table.board.columns:
        values = [row.figure(column.task, column.metric, column.data_name) for row in group.rows]
        if group.kind != PUBLISHED:  # with all the digits of a float
            found.append(form_of(column, [value for value in values if value is not None]))
            continue
        needs = Counter(sorted(decimals_of(column.scale * value) for value in values if value is not None))
        found.append(Form(column.scale, needs.most_common(1)[0][0] if needs else 1))
    return found


def decimals_of(value: float) -> int:
    """Return how many decimals a figure needs, at least one."""
    exact = (number for number in range(1, MOST) if abs(round(value, number) - value) <= EXACT * abs(value))
    return next(exact, MOST)
