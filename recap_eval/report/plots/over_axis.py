"""Each column's scores over the board's axis: measured ones with bands, printed ones hollow and without."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recap_eval.board import Column
from recap_eval.published import PublishedTable
from recap_eval.report.cells import base_name
from recap_eval.report.forms import is_percent, titled
from recap_eval.report.plots.drawing import Drawing, rounded
from recap_eval.report.plots.panels import (
    MEASURED,
    PUBLISHED,
    Curve,
    crowded,
    cut,
    heads,
    legend,
    looks,
    panel_axes,
    said,
    size_of,
)  # fmt: skip
from recap_eval.report.plots.style import tell
from recap_eval.table import Sweep, Table
from recap_eval.tasks.base import PERCENT
from recap_eval.tasks.generation import FD

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def curves(table: Table) -> tuple[list[Sweep], list[PublishedTable]]:
    """Return what has at least two places on the board's axis: measured sweeps and published tables."""
    sweeps = [sweep for sweep in table.sweeps if len(sweep.rows) > 1]
    printed = [group for group in table.published if len({row.place(table.board.axis) for row in group.rows} - {None}) > 1]
    return sweeps, printed


def scores(table: Table) -> dict[str, Any] | None:
    """Return each column's curves over the axis; None if nothing lies along it."""
    sweeps, printed = curves(table)
    if not sweeps and not printed:
        return None
    panels = [_panel(table, sweeps, printed, number) for number in range(len(table.board.columns))]
    kinds = [kind for kind, found in ((MEASURED, sweeps), (PUBLISHED, printed)) if found]
    told: dict[str, Any] = {"axis": table.board.axis_label, "base": base_name(table.board), "place": table.board.baseline}
    return rounded(told | {"kinds": kinds, "panels": panels}) or None


def _panel(table: Table, sweeps: list[Sweep], printed: list[PublishedTable], number: int) -> dict[str, Any]:
    column = table.board.columns[number]
    found = [_measured(sweep, head, number, column.scale) for sweep, head in zip(sweeps, heads(table, sweeps), strict=True)]
    found += [_printed(group, column, table.board.axis) for group in printed]
    cells = [row.cells[number] for sweep in sweeps for row in sweep.rows if number in row.cells]
    chance = cells[0].results[0].record["metrics"][column.metric]["chance"] if cells else None
    label = f"{titled(column)} (n={cells[0].n})" if cells else titled(column) if printed else f"{column.label}: not run"
    panel = {"label": label, "chance": None if chance is None else column.scale * chance, "curves": found}
    ends = [0.0, PERCENT] if is_percent(column) else [0.0, None] if column.metric == FD[0].name else None
    return panel | ({"ends": ends} if ends else {})


def _measured(sweep: Sweep, head: Curve, number: int, scale: float) -> Curve:
    """Return points [p, score, low, high], and rows at no place as [label, score]; an end of an unknown interval is None."""
    points = []
    for row in sweep.rows:
        if number in row.cells and row.axis is not None:
            one = row.cells[number].estimate
            ends = [None if end is None else scale * end for end in (one.low, one.high)]
            points.append([row.axis, scale * one.value, *ends])
    level = [[row.label, scale * row.cells[number].estimate.value] for row in sweep.beside if number in row.cells]
    return head | {"points": points} | ({"beside": level} if level else {})


def _printed(group: PublishedTable, column: Column, axis: str) -> Curve:
    """Return points [p, score]: no error was published."""
    found = [(row.place(axis), row.figure(column.task, column.metric, column.data_name)) for row in group.rows]
    points = sorted([place, column.scale * value] for place, value in found if place is not None and value is not None)
    return {"kind": PUBLISHED, "title": f"published ({group.place})", "points": points}


def _paint(figure: Figure, found: dict[str, Any]) -> None:
    axes, many = panel_axes(figure, found["panels"]), crowded(found["panels"])
    for axis, panel in zip(axes, found["panels"], strict=True):
        for curve, style in looks(panel["curves"]):
            _paint_curve(axis, curve, style)
            if curve["kind"] == MEASURED and not many:
                _paint_band(axis, curve, style, panel.get("ends"))
                _paint_levels(axis, curve, style, found["place"])
        if panel["chance"] is not None:
            axis.axhline(panel["chance"], color="#666666", linestyle=":", linewidth=0.9)
    told = f"band: 95 % interval; dashed: {found['base']}; dotted: chance{_levels(found['panels'])}"
    told = "intervals are in the table; dotted: chance" if many else told
    if PUBLISHED in found["kinds"]:
        measured = MEASURED in found["kinds"]
        told = f"{told.replace('dashed', 'level dashed')}; hollow: published" if measured else "no interval was published"
    figure.supxlabel(f"{found['axis']}   ({told})", fontsize=9, parse_math=False)
    titles = {curve["title"] for panel in found["panels"] for curve in panel["curves"] if curve["points"]}
    if len(titles) > 1 or PUBLISHED in found["kinds"]:
        legend(figure, axes)


def _levels(panels: list[dict[str, Any]]) -> str:
    """Say what levels of rows at no place on the axis are drawn; nothing if there are none."""
    labels = sorted({label for panel in panels for curve in panel["curves"] for label, _ in curve.get("beside", ())})
    return f"; dash-dotted: {', '.join(labels)}" if labels else ""


def _paint_curve(axis: Axes, curve: Curve, style: dict[str, Any]) -> None:
    points = curve["points"]
    axis.plot([point[0] for point in points], [point[1] for point in points], label=curve["title"], **style)
    tell(axis, points, [said(f"p = {place:g}", rest, curve["title"]) for place, *rest in points])


def _paint_band(axis: Axes, curve: Curve, style: dict[str, Any], ends: list[float] | None) -> None:
    """Draw a curve's intervals, cut where no figure can lie."""
    points = curve["points"]
    low, high = ([point[1] if point[end] is None else point[end] for point in points] for end in (2, 3))
    if ends is not None:
        low, high = cut(low, ends), cut(high, ends)
    axis.fill_between([point[0] for point in points], low, high, color=style["color"], alpha=0.18, linewidth=0)


def _paint_levels(axis: Axes, curve: Curve, style: dict[str, Any], base: float) -> None:
    """Draw the level of a curve's baseline, and those of rows at no place on the axis."""
    for place, value, *_ in curve["points"]:
        if place == base:
            axis.axhline(value, color=style["color"], linestyle="--", linewidth=0.9, alpha=0.8)
    for _, value in curve.get("beside", ()):
        axis.axhline(value, color=style["color"], linestyle="-.", linewidth=1.1)


DRAWINGS = (Drawing("", "Each score over p, with 95 % intervals where measured", scores, _paint, size_of),)
