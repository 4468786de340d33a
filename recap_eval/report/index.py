"""The page of all boards, and the README's block of results: both follow from the boards alone."""

from __future__ import annotations

from pathlib import Path

from recap_eval.errors import DataError
from recap_eval.report.cells import pipe
from recap_eval.report.findings_page import LEFT, TITLE
from recap_eval.report.findings_page import NAME as FINDINGS
from recap_eval.report.html import environment
from recap_eval.report.opening import opening
from recap_eval.report.plots.over_axis import curves
from recap_eval.table import Table

INDEX = "index.html"
BEGIN, END = "<!-- results: written by `recap-eval report` -->", "<!-- end of results -->"


def index_page(tables: list[Table], findings: str = "") -> str:
    """Render the page of all boards, measured ones first.

    Args:
        tables: The boards' tables.
        findings: What the page of findings says in a sentence; empty if there is no such page.
    """
    facts = [
        {
            "name": table.board.name, "title": table.board.title, "opening": opening(table), "measured": table.measured,
            "plot": f"{table.board.name}.svg" if any(curves(table)) else "",
        }
        for table in tables
    ]  # fmt: skip
    groups = [
        ("Measured here", [fact for fact in facts if fact["measured"]]),
        ("Printed figures only, so far", [fact for fact in facts if not fact["measured"]]),
    ]
    page: str = environment().get_template("index.html").render(groups=groups, findings=findings, about=TITLE)
    return page + "\n"


def results_block(tables: list[Table], folder: str, verdicts: list[list[str]] | None = None) -> str:
    """Return the README's block: the paper's findings, what each measured board supports, and links to the rest.

    Args:
        tables: The boards' tables.
        folder: Where reports lie, as the README links there.
        verdicts: The findings held against the boards, as a table of text; none if no test of them was run.
    """
    lines = [BEGIN]
    if verdicts:
        behind = f"All tests behind it: [{FINDINGS}]({folder}/{FINDINGS}.md). What each board supports:"
        lines += [pipe(verdicts, LEFT), "", behind, ""]
    for table in tables:
        if table.measured:
            what, supported, _ = opening(table)
            told = supported if table.sweeps else what  # of figures that are listed, what there is says more
            lines.append(f"- **[{table.board.title}]({folder}/{table.board.name}.md)**. {told}")
    printed = [f"[{table.board.name}]({folder}/{table.board.name}.md)" for table in tables if not table.measured]
    lines += [f"- Printed figures only, so far: {', '.join(printed)}."] if printed else []
    return "\n".join([*lines, END])


def with_block(path: Path, block: str) -> str | None:
    """Return a file's text with its block of results replaced; None if it has no such block.

    Raises:
        DataError: It has only one of the two marks.
    """
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if BEGIN not in text and END not in text:
        return None
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(END) < text.index(BEGIN):
        raise DataError(f"{path} has not one block of results.", f"It begins with {BEGIN} and ends with {END}.")
    before, rest = text.split(BEGIN)
    return before + block + rest.split(END)[1]
