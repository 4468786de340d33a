"""What a recipe gains over another that was trained alike: its heading, its sentences, and its table."""

from __future__ import annotations

from recap_eval.report.cells import Link, grid, plain
from recap_eval.report.forms import forms
from recap_eval.table import Gains, Table

HOW = (
    "Paired by training seed at each p, all but the recipe alike (one common seed: by item); *: different at 5 % after Holm's "
    "correction over the rows of the column."
)


def title(gains: Gains) -> str:
    """Return the heading."""
    return f"What {gains.ours} gains over {gains.base}"


def sentences(table: Table, gains: Gains) -> list[str]:
    """Return the mean of the gains over p, column by column, and how they are paired."""
    shape, lines = forms(table), []
    for number, found in gains.means.items():
        one, form = found.estimate, shape[number]
        ends = "" if one.low is None or one.high is None else f" [{form.signed(one.low)}, {form.signed(one.high)}]"
        over = f"{one.n_clusters} seeds" if found.basis == "seeds" else "items, of one seed"
        lines.append(f"{table.board.columns[number].label}: {form.signed(one.value)}{ends} on average over p, over {over}.")
    return [*lines, HOW]


def gains_grid(table: Table, gains: Gains, link: Link = plain) -> list[list[str]]:
    """Return the gains as text, header first."""
    return grid(table, gains.rows, "p", deltas=True, link=link)
