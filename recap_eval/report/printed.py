"""What follows from a published table by arithmetic alone: means, where they peak, and whether the paper's text agrees."""

from __future__ import annotations

from recap_eval.board import Board, Mean
from recap_eval.published import Prose, PublishedRow, PublishedTable
from recap_eval.report.cells import base_name
from recap_eval.report.forms import published_forms
from recap_eval.table import Table


def derived(table: Table, group: PublishedTable) -> list[str]:
    """Return sentences on a published table; nothing of them is an estimate, and none has an error."""
    means = [said for mean in table.board.means if (said := _peak(table.board, group, mean))]
    return means + [said for prose in group.prose if (said := _checked(table, group, prose))]


def mean_of(board: Board, row: PublishedRow, mean: Mean) -> float | None:
    """Return a row's mean over the columns of `mean`, scaled as they are; None unless it has all of them."""
    columns = [column for column in board.columns if column.label in mean.over]
    found = [row.figure(column.task, column.metric, column.data_name) for column in columns]
    if not found or any(value is None for value in found):
        return None
    scaled = [value * column.scale for value, column in zip(found, columns, strict=True) if value is not None]
    return sum(scaled) / len(scaled)


def _along(board: Board, group: PublishedTable, mean: Mean) -> dict[float, float]:
    """Return the mean by place on the axis."""
    found = {row.place(board.axis): mean_of(board, row, mean) for row in group.rows} if board.axis else {}
    return {place: value for place, value in found.items() if place is not None and value is not None}


def _peak(board: Board, group: PublishedTable, mean: Mean) -> str:
    found = _along(board, group, mean)
    if len(found) < 2:
        return ""
    best = max(found, key=lambda place: found[place])
    said = f"Derived: the {mean.label} (over {len(mean.over)} columns) is largest at p = {best:g}, {found[best]:.1f}"
    base = found.get(board.baseline)
    return f"{said}{'' if base is None else f', {found[best] - base:+.1f} over {base_name(board)}'}."


def _checked(table: Table, group: PublishedTable, prose: Prose) -> str:
    """Return what the text says beside where the table's columns are best."""
    board, told = table.board, {}
    for column, form in zip(board.columns, published_forms(table, group), strict=True):
        if (column.task, column.metric) not in prose.of:
            continue
        figures = {row.place(board.axis): row.figure(column.task, column.metric, column.data_name) for row in group.rows}
        known = {place: value for place, value in figures.items() if place is not None and value is not None}
        if known:
            top = (max if column.higher_is_better else min)(known.values())
            told[column.label] = ([place for place, value in known.items() if value == top], form.printed(top))
    if not told:
        return ""
    agree = all(prose.best in places for places, _ in told.values())
    where = "; ".join(
        f"{label} at {' and '.join(f'{place:g}' for place in places)} ({top})" for label, (places, top) in told.items()
    )
    return f"{prose.says} The table {'agrees' if agree else 'does not agree'}: best are {where}."
