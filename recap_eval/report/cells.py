"""Cells, rows and grids as text: what markdown, terminal and pages share."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby

from recap_eval.board import Board, Column
from recap_eval.published import PUBLISHED, PublishedRow, PublishedTable
from recap_eval.report.forms import Form, forms, named, published_forms
from recap_eval.results import Result
from recap_eval.table import Cell, Course, Group, Row, Table

BEST, TIED, SEPARABLE = "**", "~", "*"
NOT_RUN = "not run"
AFTER = "after"  # heads the samples seen of models on the way
NOT_PUBLISHED = "–"


Link = Callable[[str, Result], str]  # marks a figure up as leading to the record behind it


def plain(shown: str, result: Result) -> str:
    """Return a figure as it is: terminals have no links."""
    return shown


def base_name(board: Board) -> str:
    """Return what the baseline's row is called."""
    return f"p = {board.baseline:g}"


def half_width(cell: Cell, form: Form) -> str:
    """Return "± h", or nothing if the interval is not known."""
    found = cell.estimate
    return "" if found.low is None or found.high is None else f" ± {form.figure((found.high - found.low) / 2)}"


def cell_text(cell: Cell | None, form: Form, link: Link = plain) -> str:
    """Return a figure with its half-width and marks."""
    if cell is None:
        return NOT_RUN
    shown = form.figure(cell.estimate.value)
    value = f"{BEST}{shown}{BEST}" if cell.best else shown
    return f"{link(value, cell.results[0])}{half_width(cell, form)}{' ' + TIED if cell.tied else ''}"


def delta_text(cell: Cell | None, form: Form, link: Link = plain) -> str:
    """Return the difference to the baseline with its interval and mark; a dash for the baseline itself."""
    if cell is None or cell.to_baseline is None:
        return "–"
    found, mark = cell.to_baseline.estimate, SEPARABLE if cell.to_baseline.separable else ""
    shown = link(form.signed(found.value), cell.results[0])
    if found.low is None or found.high is None:
        return shown
    return f"{shown} [{form.signed(found.low)}, {form.signed(found.high)}]{mark}"


def headers(table: Table, rows: Sequence[Row] | None = None) -> list[str]:
    """Return the column headers: label, direction, n, chance; of all rows, or of some."""
    out, shape = [], forms(table)
    for number, column in enumerate(table.board.columns):
        found = [row.cells[number] for row in (all_rows(table) if rows is None else rows) if number in row.cells]
        facts, arrow = [], ""
        if found:
            metric = found[0].results[0].record["metrics"][column.metric]
            facts = [f"n={_n(found) if table.board.by_data else found[0].n}"] + (
                [f"chance {shape[number].figure(metric['chance'])}"] if metric["chance"] is not None else []
            )
            arrow = " ↓" if not metric["higher_is_better"] else "" if table.board.by_data else " ↑"
        name = named(column) if table.board.by_data else column.label
        out.append(f"{name}{arrow}" + (f" ({', '.join(facts)})" if facts else ""))
    return out


def _n(cells: Sequence[Cell]) -> str:
    """Return how many items cells have: a number, or the least and the most."""
    counts = sorted({cell.n for cell in cells})
    return f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,}–{counts[-1]:,}"


def all_rows(table: Table) -> list[Row]:
    """Return every row of the table."""
    return [row for part in table.parts for row in part.shown]


def seeds_text(row: Row) -> str:
    """Return the number of training seeds."""
    return str(len(row.seeds)) if row.seeds else "–"


def grid(table: Table, rows: tuple[Row, ...], first: str, deltas: bool, link: Link = plain) -> list[list[str]]:
    """Return the rows of one table as text, header first."""
    text = delta_text if deltas else cell_text
    lines, shape = [[first, "seeds", *headers(table)]], forms(table)
    for row in rows:
        cells = [text(row.cells.get(number), form, link) for number, form in enumerate(shape)]
        lines.append([row.label, seeds_text(row), *cells])
    return lines


def upright(lines: list[list[str]], void: str) -> list[list[str]]:
    """Return a grid turned about its diagonal, so that models stand side by side; columns without a figure are left out.

    Args:
        lines: The grid, header first.
        void: What stands where there is no figure.
    """
    head, *body = lines
    kept = [number for number in range(1, len(head)) if any(line[number] != void for line in body)]
    return [["", *[line[0] for line in body]], *[[head[number], *[line[number] for line in body]] for number in kept]]


def course_sections(table: Table) -> list[Course]:
    """Return trainings on their way as sections; those that differ in their place on the axis alone share one."""
    found = []
    for _, some in groupby(table.courses, key=lambda course: course.run):
        alike = sorted(some, key=lambda course: course.axis or 0.0)
        if len(alike) == 1 or any(course.axis is None for course in alike):
            found += alike
            continue
        rows = [replace(row, label=f"p = {course.axis:g}, {row.label}") for course in alike for row in course.rows]
        found.append(Course(alike[0].run, None, tuple(rows)))
    return found


def course_grid(table: Table, course: Course, link: Link = plain) -> list[list[str]]:
    """Return a training on its way as text, header first; columns that were never measured are left out."""
    shape = forms(table)
    head, numbers = headers(table, course.rows), course_columns(table, course)
    lines = [[AFTER, "seeds", *[head[number] for number in numbers]]]
    for row in course.rows:
        told = [cell_text(row.cells.get(number), shape[number], link) for number in numbers]
        lines.append([row.label, seeds_text(row), *told])
    return lines


def course_columns(table: Table, course: Course) -> list[int]:
    """Return the columns of which a training on its way has figures."""
    return [number for number in range(len(table.board.columns)) if any(number in row.cells for row in course.rows)]


def course_title(course: Course) -> str:
    """Return the heading of a training on its way."""
    return f"On the way: {course.title}"


def group_grid(table: Table, group: Group, link: Link = plain) -> list[list[str]]:
    """Return the rows of a group as text, header first; on a board with a section for each data set, models side by side."""
    if not table.board.by_data:
        return grid(table, group.rows, "model", deltas=False, link=link)
    shape = forms(table)
    cells = [
        [row.label, *[cell_text(row.cells.get(number), form, link) for number, form in enumerate(shape)]] for row in group.rows
    ]
    return upright([["", *headers(table, group.rows)], *cells], NOT_RUN)


def not_run(table: Table, group: Group) -> str:
    """Return a sentence on the columns that nothing of a group has, on a board that leaves those out; "" if there are none."""
    measured = {number for row in group.rows for number in row.cells}
    lacking = [column.label for number, column in enumerate(table.board.columns) if number not in measured]
    return f"Not run: {'; '.join(lacking)}." if table.board.by_data and lacking else ""


def axis_name(board: Board) -> str:
    """Return the header of the first column of measured sweeps and published rows."""
    return "p" if board.axis else "model"


def group_title(board: Board, group: Group) -> str:
    """Return the heading of models that have no place on the axis."""
    return group.title or ("Models without a mix" if board.axis else "Models")


def published_label(board: Board, row: PublishedRow) -> str:
    """Return a published row's name: its place on the axis where it has one."""
    place = row.place(board.axis)
    return row.label if place is None else f"{place:g}"


def published_text(row: PublishedRow, column: Column, form: Form, kind: str) -> str:
    """Return a published figure with all its decimals, or one of another program as measured ones are, with its interval."""
    where = (column.task, column.metric, column.data_name)
    value, interval = row.figure(*where), row.interval(*where)
    if value is None:
        return NOT_PUBLISHED
    half = f" ± {form.figure((interval[1] - interval[0]) / 2)}" if interval else ""
    return form.printed(value) if kind == PUBLISHED else f"{form.figure(value)}{half}"


def published_grid(table: Table, group: PublishedTable, around: str = "") -> list[list[str]]:
    """Return published rows as text, header first.

    Args:
        table: The table whose columns count.
        group: The published rows.
        around: Markup around each figure.
    """
    name = named if table.board.by_data else (lambda column: column.label)
    labels = [name(column) + ("" if column.higher_is_better else " ↓") for column in table.board.columns]
    first = axis_name(table.board) if group.kind == PUBLISHED else "model"
    lines, shape = [[first, *labels]], published_forms(table, group)
    for row in group.rows:
        cells = [published_text(row, column, form, group.kind) for column, form in zip(table.board.columns, shape, strict=True)]
        marked = [cell if cell == NOT_PUBLISHED else f"{around}{cell}{around}" for cell in cells]
        lines.append([published_label(table.board, row), *marked])
    return upright(lines, NOT_PUBLISHED) if table.board.by_data else lines


def pipe(lines: list[list[str]], words: tuple[str, ...] = ()) -> str:
    """Return a grid as a markdown table: the first column and those headed by one of `words` flush left, others right."""
    head, *body = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    rule = ["---" if number == 0 or name in words else "---:" for number, name in enumerate(head)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, rule, *body])


def aligned(lines: list[list[str]]) -> str:
    """Return a grid as indented columns: names flush left, figures flush right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    shown = []
    for name, *rest in lines:
        figures = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        shown.append("  ".join(["", name.ljust(widths[0]), *figures]))
    return "\n".join(shown)


def escaped(text: str) -> str:
    """Return other people's text as markdown shows it: no markup, no tags, one line."""
    return re.sub(r"([\\`*_\[\]<>#~])", r"\\\1", " ".join(text.split()))


def coded(text: str) -> str:
    """Return a text as code, within more backticks than it has in a row."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence, space = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{space}{' '.join(text.split())}{space}{fence}"
