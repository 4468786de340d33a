"""A board as LaTeX, for papers: booktabs, intervals beside figures, printed rows apart and marked as such."""

from __future__ import annotations

from recap_eval.published import PUBLISHED, PublishedTable
from recap_eval.report import cells, text
from recap_eval.report.forms import Form, forms
from recap_eval.report.opening import opening
from recap_eval.table import Cell, Row, Table

SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "→": r"$\rightarrow$", "↑": r"$\uparrow$", "↓": r"$\downarrow$",
    "±": r"$\pm$", "×": r"$\times$", "Δ": r"$\Delta$", "<": r"\textless{}", ">": r"\textgreater{}", "–": "--", "−": "$-$",
    "\n": " ", "“": "``", "”": "''",
}  # fmt: skip


def escape(words: str) -> str:
    """Return a text as LaTeX shows it; what LaTeX cannot print at all is left out."""
    return "".join(SPECIAL.get(letter, letter) for letter in words if letter in SPECIAL or letter.isprintable())


def latex(table: Table) -> str:
    """Render a table as LaTeX tabulars, one for each sweep, one for models, one for each printed table.

    Args:
        table: The table.
    """
    board, parts = table.board, [f"% {line}" for line in ["needs \\usepackage{booktabs}", *map(escape, opening(table))]]
    for sweep in table.sweeps:
        note = [text.legend(board).replace("**Bold**", "Bold"), *_data(table)]
        parts += _tabular(f"{board.title}: {sweep.title}", _measured(table, sweep.shown, "p"), note)
    for group in table.groups:
        lines = [[escape(word) for word in line] for line in cells.group_grid(table, group)]
        notes = [text.legend_items(board), cells.not_run(table, group)]
        parts += _tabular(f"{board.title}: {cells.group_title(board, group)}", lines, notes)
    for course in cells.course_sections(table):
        lines = [[escape(word) for word in line] for line in cells.course_grid(table, course)]
        parts += _tabular(f"{board.title}. {cells.course_title(course)}", lines, [text.legend_items(board)])
    for source in table.published:
        printed = source.kind == PUBLISHED
        title = f"{board.title}, {source.place} of {source.title}" if printed else f"{board.title}, by {source.title}"
        notes = [text.not_ranked(board, source.kind), *([] if printed else source.notes)]
        parts += _tabular(title, _printed(table, source), notes)
    return "\n".join(parts) + "\n"


def _data(table: Table) -> list[str]:
    return [f"Data: {'; '.join(text.sources_text(table))}."]


def _measured(table: Table, rows: tuple[Row, ...], first: str) -> list[list[str]]:
    lines, shape = [[escape(word) for word in [first, "seeds", *cells.headers(table)]]], forms(table)
    for row in rows:
        told = [_cell(row.cells.get(number), form) for number, form in enumerate(shape)]
        lines.append([escape(row.label), escape(cells.seeds_text(row)), *told])
    return lines


def _cell(cell: Cell | None, form: Form) -> str:
    if cell is None:
        return escape(cells.NOT_RUN)
    shown = escape(form.figure(cell.estimate.value))
    tie = r"\,\textsuperscript{$\sim$}" if cell.tied else ""
    mark = r"\textsuperscript{*}" if cell.to_baseline is not None and cell.to_baseline.separable else ""
    return f"{_bold(shown) if cell.best else shown}{escape(cells.half_width(cell, form))}{tie}{mark}"


def _bold(shown: str) -> str:
    return rf"\textbf{{{shown}}}"


def _printed(table: Table, group: PublishedTable) -> list[list[str]]:
    head, *rows = cells.published_grid(table, group)
    lines = [[escape(word) for word in head]]
    return lines + [[escape(row[0]), *(rf"\textit{{{escape(figure)}}}" for figure in row[1:])] for row in rows]


def _tabular(title: str, lines: list[list[str]], notes: list[str]) -> list[str]:
    head, *rows = [" & ".join(line) + r" \\" for line in lines]
    columns = "l" + "r" * (len(lines[0]) - 1)
    return [
        "", r"\begin{table}", r"\centering", rf"\caption{{{escape(title)}.}}", rf"\begin{{tabular}}{{{columns}}}", r"\toprule",
        head, r"\midrule", *rows, r"\bottomrule", r"\end{tabular}", rf"\par\footnotesize {escape(' '.join(notes))}",
        r"\end{table}",
    ]  # fmt: skip
