"""Plots of a table, in one style: colour-blind safe, labelled with units and n, reproducible byte by byte."""

from __future__ import annotations

import io
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap_eval.files import digest_file, digest_json
from recap_eval.published import PublishedTable
from recap_eval.report.cells import base_name
from recap_eval.report.forms import titled
from recap_eval.report.text import records
from recap_eval.table import Sweep, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")  # Okabe and Ito 2008
STYLE = {
    "svg.hashsalt": "recap", "svg.fonttype": "path", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "grid.alpha": 0.25, "figure.dpi": 120, "axes.titlesize": 9.5,
}  # fmt: skip
INK, HOLLOW = "#333333", ("o", "s", "D", "^")  # published figures: no colour, no fill, no band
COLUMNS, WIDTH = 4, 11.6
GAP, PAD = 0.1, 0.06  # between rows of panels, as a share of their height; around each, in inches


def data_digest(table: Table) -> str:
    """Return the digest of what is plotted; it stands in the svg, so that a stale plot is found without drawing it."""
    return digest_json([table.board.title, records(table)])


def curves(table: Table) -> tuple[list[Sweep], list[PublishedTable]]:
    """Return what has at least two places on the board's axis: measured sweeps and published tables."""
    sweeps = [sweep for sweep in table.sweeps if len(sweep.rows) > 1]
    printed = [group for group in table.published if len({row.place(table.board.axis) for row in group.rows} - {None}) > 1]
    return sweeps, printed


def score_over_axis(table: Table) -> dict[str, bytes]:
    """Plot each column over the board's axis with bands, one panel a column; published figures hollow, without a band.

    Returns:
        "svg" and "png" bytes; empty if nothing lies along the axis.
    """
    sweeps, printed = curves(table)
    if not sweeps and not printed:
        return {}
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    with mpl.rc_context(STYLE):
        panels = len(table.board.columns)
        high = -(-panels // COLUMNS)
        wide = -(-panels // high)
        figure = Figure(figsize=(WIDTH, 2.6 * high + 0.6), layout=ConstrainedLayoutEngine(h_pad=PAD, hspace=GAP))
        FigureCanvasAgg(figure)
        axes = figure.subplots(high, wide, squeeze=False).flat
        for number, axis in enumerate(axes):
            if number < panels:
                _panel(axis, table, sweeps, number)
                _hollow(axis, table, printed, number)
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
        x, y = [place for place, _ in cells], [column.scale * cell.estimate.value for _, cell in cells]
        low = [column.scale * (cell.estimate.value if cell.estimate.low is None else cell.estimate.low) for _, cell in cells]
        high = [column.scale * (cell.estimate.value if cell.estimate.high is None else cell.estimate.high) for _, cell in cells]
        axis.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
        axis.plot(x, y, color=colour, marker="o", markersize=4, linewidth=1.4, label=sweep.title)
        for place, value in zip(x, y, strict=True):
            if place == baseline:
                axis.axhline(value, color=colour, linestyle="--", linewidth=0.9, alpha=0.8)
    if chance is not None:
        axis.axhline(column.scale * chance, color="#666666", linestyle=":", linewidth=0.9)
    if n or not table.published:
        axis.set_title(f"{titled(column)} (n={n})" if n else f"{column.label}: not run", parse_math=False)


def _hollow(axis: Axes, table: Table, printed: list[PublishedTable], number: int) -> None:
    """Draw a column's published figures: hollow and dashed, with no band, since no error was published."""
    column = table.board.columns[number]
    for group, marker in zip(printed, HOLLOW * len(printed), strict=False):
        found = [row.figure(column.task, column.metric, column.data_name) for row in group.rows]
        placed = [(row.place(table.board.axis), value) for row, value in zip(group.rows, found, strict=True)]
        points = sorted((place, value) for place, value in placed if place is not None and value is not None)
        x, y = [place for place, _ in points], [column.scale * value for _, value in points]
        style: dict[str, Any] = {"color": INK, "linestyle": (0, (4, 2)), "linewidth": 1.0, "marker": marker, "markersize": 5}
        axis.plot(x, y, markerfacecolor="white", label=f"published ({group.place})", **style)
    if printed and not axis.get_title():
        axis.set_title(titled(column), parse_math=False)


def _frame(figure: Figure, table: Table) -> None:
    sweeps, printed = curves(table)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    told = f"band: 95 % interval; dashed: {base_name(table.board)}; dotted: chance"
    if printed:
        told = f"{told.replace('dashed', 'level dashed')}; hollow: published" if sweeps else "no interval was published"
    figure.supxlabel(f"{table.board.axis_label}   ({told})", fontsize=9, parse_math=False)
    if len(labels) > 1 or printed:
        words(figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False))


def words(legend: Legend) -> None:
    """Show a legend's texts as they are: names are other people's, and a $ in them begins no formula."""
    for text in legend.get_texts():
        text.set_parse_math(False)


def _bytes(figure: Figure, table: Table, form: str) -> bytes:
    return as_bytes(figure, table.board.title, data_digest(table), form, beside(table))


def beside(table: Table) -> list[object]:
    """Return what is drawn of a table besides its figures: what the axis is called, and what guessing scores."""
    cells = [cell for part in table.parts for row in part.rows for cell in row.cells.items()]
    chance = {number: cell.results[0].record["metrics"][table.board.columns[number].metric]["chance"] for number, cell in cells}
    return [table.board.axis_label, sorted(chance.items())]


def stamp(digest: str, besides: object = None) -> str:
    """Return what stands in each file of a plot: the digest of its data, and that of how it is drawn."""
    return f"data sha256:{digest}, drawn by sha256:{digest_json([_hand(), besides])}"


@cache
def _hand() -> str:
    """Return the digest of what draws: the modules here, and matplotlib's version."""
    return digest_json([version("matplotlib"), *map(digest_file, sorted(Path(__file__).parent.glob("*.py")))])


def as_bytes(figure: Figure, title: str, digest: str, form: str, besides: object = None) -> bytes:
    """Return a figure as a file that is the same for the same data, the digest of the data in it.

    Args:
        figure: The figure.
        title: Its title.
        digest: Digest of what is plotted.
        form: "svg" or "png".
        besides: What else is drawn, which does not follow from that data.
    """
    buffer = io.BytesIO()
    facts: dict[str, Any] = {"Title": title, "Description": stamp(digest, besides)}
    facts |= {"Date": None, "Creator": None} if form == "svg" else {"Software": None}
    figure.savefig(buffer, format=form, metadata=facts)
    figure.set_layout_engine("none")  # laid out once, which takes as long as drawing: another form stands as this one does
    return buffer.getvalue()
