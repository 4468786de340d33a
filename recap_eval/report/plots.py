"""Plots of a table, in one style: colour-blind safe, labelled with units and n, reproducible byte by byte."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from recap_eval.files import digest_json
from recap_eval.leaderboard import Sweep, Table
from recap_eval.report.text import base_name, records

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")  # Okabe and Ito 2008
STYLE = {
    "svg.hashsalt": "recap", "svg.fonttype": "path", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "grid.alpha": 0.25, "figure.dpi": 120, "axes.titlesize": 9.5,
}  # fmt: skip
COLUMNS = 4


def data_digest(table: Table) -> str:
    """Return the digest of what is plotted; it stands in the svg, so that a stale plot is found without drawing it."""
    return digest_json([table.board.title, records(table)])


def score_over_axis(table: Table) -> dict[str, bytes]:
    """Plot each column over the board's axis with bands, one panel a column.

    Returns:
        "svg" and "png" bytes; empty if there is no sweep to plot.
    """
    sweeps = [sweep for sweep in table.sweeps if len(sweep.rows) > 1]
    if not sweeps:
        return {}
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        panels = len(table.board.columns)
        high = -(-panels // COLUMNS)
        figure = Figure(figsize=(2.9 * COLUMNS, 2.5 * high + 0.7), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(high, COLUMNS, squeeze=False).flat
        for number, axis in enumerate(axes):
            if number < panels:
                _panel(axis, table, sweeps, number)
            else:
                axis.set_visible(False)
        _frame(figure, table)
        return {"svg": _bytes(figure, table, "svg"), "png": _bytes(figure, table, "png")}


def _panel(axis: Axes, table: Table, sweeps: list[Sweep], number: int) -> None:
    column, baseline = table.board.columns[number], table.board.baseline
    n = chance = None
    for sweep, colour in zip(sweeps, COLOURS * len(sweeps), strict=False):
        cells = [(row.axis, row.cells[number]) for row in sweep.rows if number in row.cells and row.axis is not None]
        if not cells:
            continue
        n, chance = cells[0][1].n, cells[0][1].results[0].record["metrics"][column.metric]["chance"]
        x, y = [place for place, _ in cells], [100 * cell.estimate.value for _, cell in cells]
        low = [100 * (cell.estimate.value if cell.estimate.low is None else cell.estimate.low) for _, cell in cells]
        high = [100 * (cell.estimate.value if cell.estimate.high is None else cell.estimate.high) for _, cell in cells]
        axis.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
        axis.plot(x, y, color=colour, marker="o", markersize=4, linewidth=1.4, label=sweep.title)
        for place, value in zip(x, y, strict=True):
            if place == baseline:
                axis.axhline(value, color=colour, linestyle="--", linewidth=0.9, alpha=0.8)
    if chance is not None:
        axis.axhline(100 * chance, color="#666666", linestyle=":", linewidth=0.9)
    axis.set_title(f"{column.label}, % (n={n})" if n else f"{column.label}: not run")


def _frame(figure: Figure, table: Table) -> None:
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.supxlabel(
        f"{table.board.axis_label}   (band: 95 % interval; dashed: {base_name(table.board)}; dotted: chance)", fontsize=9
    )
    if len(labels) > 1:
        figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False)


def _bytes(figure: Figure, table: Table, form: str) -> bytes:
    buffer = io.BytesIO()
    facts: dict[str, Any] = {"Title": table.board.title, "Description": f"data sha256:{data_digest(table)}"}
    facts |= {"Date": None, "Creator": None} if form == "svg" else {"Software": None}
    figure.savefig(buffer, format=form, metadata=facts)
    return buffer.getvalue()
