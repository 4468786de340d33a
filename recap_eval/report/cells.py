"""Cells, rows and grids as text: what markdown, terminal and pages share."""

from __future__ import annotations

from recap_eval.board import Board
from recap_eval.leaderboard import Cell, Row, Table
from recap_eval.published import PublishedRow, PublishedTable
from recap_eval.report.forms import Form, forms, published_forms

BEST, TIED, SEPARABLE = "**", "~", "*"
NOT_RUN = "not run"
NOT_PUBLISHED = "–"


def base_name(board: Board) -> str:
    """Return what the baseline's row is called."""
    return f"p = {board.baseline:g}"


def half_width(cell: Cell, form: Form) -> str:
    """Return "± h", or nothing if the interval is not known."""
    found = cell.estimate
    return "" if found.low is None or found.high is None else f" ± {form.figure((found.high - found.low) / 2)}"


def cell_text(cell: Cell | None, form: Form) -> str:
    """Return a figure with its half-width and marks."""
    if cell is None:
        return NOT_RUN
    shown = form.figure(cell.estimate.value)
    value = f"{BEST}{shown}{BEST}" if cell.best else shown
    return f"{value}{half_width(cell, form)}{' ' + TIED if cell.tied else ''}"


def delta_text(cell: Cell | None, form: Form) -> str:
    """Return the difference to the baseline with its interval and mark; a dash for the baseline itself."""
    if cell is None or cell.to_baseline is None:
        return "–"
    found, mark = cell.to_baseline.estimate, SEPARABLE if cell.to_baseline.separable else ""
    if found.low is None or found.high is None:
        return form.signed(found.value)
    return f"{form.signed(found.value)} [{form.signed(found.low)}, {form.signed(found.high)}]{mark}"


def headers(table: Table) -> list[str]:
    """Return the column headers: label, direction, n, chance."""
    out, shape = [], forms(table)
    for number, column in enumerate(table.board.columns):
        cell = next((row.cells[number] for row in all_rows(table) if number in row.cells), None)
        facts, arrow = [], ""
        if cell is not None:
            metric = cell.results[0].record["metrics"][column.metric]
            facts = [f"n={cell.n}"] + (
                [f"chance {shape[number].figure(metric['chance'])}"] if metric["chance"] is not None else []
            )
            arrow = " ↑" if metric["higher_is_better"] else " ↓"
        out.append(f"{column.label}{arrow}" + (f" ({', '.join(facts)})" if facts else ""))
    return out


def all_rows(table: Table) -> list[Row]:
    """Return every row of the table."""
    return [row for sweep in table.sweeps for row in sweep.rows] + list(table.others)


def seeds_text(row: Row) -> str:
    """Return the number of training seeds."""
    return str(len(row.seeds)) if row.axis is not None else "–"


def grid(table: Table, rows: tuple[Row, ...], first: str, deltas: bool) -> list[list[str]]:
    """Return the rows of one table as text, header first."""
    text = delta_text if deltas else cell_text
    lines = [[first, "seeds", *headers(table)]]
    for row in rows:
        cells = [text(row.cells.get(number), form) for number, form in enumerate(forms(table))]
        lines.append([row.label, seeds_text(row), *cells])
    return lines


def axis_name(board: Board) -> str:
    """Return the header of the first column of measured sweeps and published rows."""
    return "p" if board.axis else "model"


def others_title(board: Board) -> str:
    """Return the heading of models that have no place on the axis."""
    return "Models without a mix" if board.axis else "Models"


def published_label(board: Board, row: PublishedRow) -> str:
    """Return a published row's name: its place on the axis where it has one."""
    place = row.place(board.axis)
    return row.label if place is None else f"{place:g}"


def published_grid(table: Table, group: PublishedTable, around: str = "") -> list[list[str]]:
    """Return published rows as text, header first.

    Args:
        table: The table whose columns count.
        group: The published rows.
        around: Markup around each figure.
    """
    labels = [column.label + ("" if column.higher_is_better else " ↓") for column in table.board.columns]
    lines, shape = [[axis_name(table.board), *labels]], published_forms(table, group)
    for row in group.rows:
        found = [row.figure(column.task, column.metric, column.data_name) for column in table.board.columns]
        told = zip(found, shape, strict=True)
        cells = [NOT_PUBLISHED if value is None else f"{around}{form.printed(value)}{around}" for value, form in told]
        lines.append([published_label(table.board, row), *cells])
    return lines


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
