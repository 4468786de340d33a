"""The page of what the paper found and whether it is found here: markdown and html from the same rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from recap_eval.findings import NOT_RUN, Checked, Held
from recap_eval.leaderboard import Tables
from recap_eval.report.cells import escaped, pipe
from recap_eval.report.forms import forms
from recap_eval.report.html import environment

NAME = "findings"
LEFT = ("here", "the first of its tests")  # columns of the table of verdicts that hold text
TITLE = "What the paper found, and whether it is found here"
ABOUT = (
    "Measured on drawn scenes, a laboratory: what is reproduced here need not hold for web images, and what is not may. "
    "Each finding is held against figures of the boards: a difference with its 95 % interval, over common training seeds or, "
    "where both share one seed only, over test items, so that other trainings are not covered. A test holds if the difference "
    "has the paper's sign at 5 %, after Holm's correction over the tests of the finding; a finding is reproduced if all hold."
)


@dataclass(frozen=True)
class Line:
    """A test, in words.

    Args:
        board: Its board.
        column: Its column's label.
        what: Which difference.
        found: The difference with interval and what it is over; empty if not run.
        verdict: What it says.
    """

    board: str
    column: str
    what: str
    found: str
    verdict: str


def lines(held: Held, tables: Tables) -> list[Line]:
    """Return a finding's tests in words."""
    return [Line(one.test.board, one.test.column, one.what(), _found(one, tables), one.verdict) for one in held.tested]


def _found(one: Checked, tables: Tables) -> str:
    if one.difference is None or one.column is None:
        return ""
    form, found = forms(tables.of(one.test.board))[one.column], one.difference.estimate
    over = f"{found.n_clusters} seeds" if one.difference.basis == "seeds" else f"{found.n:,} items"
    ends = "" if found.low is None or found.high is None else f" [{form.signed(found.low)}, {form.signed(found.high)}]"
    return f"{form.signed(found.value)}{ends} over {over}"


def summary(helds: Sequence[Held]) -> str:
    """Count the verdicts in a sentence."""
    counts = Counter(held.verdict for held in helds)
    return f"Of {len(helds)} findings: " + ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common()) + "."


def in_short(helds: Sequence[Held], tables: Tables) -> list[list[str]]:
    """Return the verdicts as a table of text, header first, each with what the first of its tests found."""
    grid = [["the paper says", *LEFT]]
    for held in helds:
        first = next(iter(lines(held, tables)), None)
        figure = f"{first.column}, {first.what}: {first.found}" if first and first.found else ""
        grid.append([escaped(held.finding.says), f"**{held.verdict}**", escaped(figure)])
    return grid


def findings_markdown(source: str, helds: Sequence[Held], tables: Tables) -> str:
    """Render the page as markdown."""
    out = [f"# {TITLE}", "", ABOUT, "", f"> {summary(helds)} The paper: {escaped(source)}.", ""]
    out += [pipe(in_short(helds, tables), LEFT), ""]
    for held in helds:
        out += [
            f"## {escaped(held.finding.says)}",
            "",
            f"{held.verdict.capitalize()}. The paper: {escaped(held.finding.paper)}.",
            "",
        ]
        out += [f"- {_line(line)}" for line in lines(held, tables)]
        out += [escaped(held.finding.untestable)] if held.finding.untestable else []
        out += [""]
    return "\n".join(out)


def _line(line: Line) -> str:
    board = line.board if line.verdict == NOT_RUN else f"[{line.board}]({line.board}.md)"
    found = f": {line.found}" if line.found else ""
    return f"{board}, {escaped(line.column)}, {escaped(line.what)}{found}: **{line.verdict}**"


def findings_page(source: str, helds: Sequence[Held], tables: Tables) -> str:
    """Render the page."""
    rows = [{"held": held, "lines": lines(held, tables)} for held in helds]
    facts = {"title": TITLE, "about": ABOUT, "summary": summary(helds), "source": source, "not_run": NOT_RUN}
    page: str = environment().get_template("findings.html").render(rows=rows, **facts)
    return page + "\n"
