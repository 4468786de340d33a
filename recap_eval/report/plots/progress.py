"""Scores over samples seen: runs that differ in nothing else, such as those that a training measures on its way."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from recap_eval.artifact import RUN_FACTS
from recap_eval.files import canonical_json
from recap_eval.leaderboard import Row, Sweep, Table
from recap_eval.report.forms import titled
from recap_eval.report.plots.drawing import Drawing, rounded
from recap_eval.report.plots.panels import panel_axes, size_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SEEN = "samples_seen"
LIGHTEST = 0.9  # of the colours from p = 0 to p = 1: beyond they are too light on white


def over_samples(table: Table) -> dict[str, Any] | None:
    """Return each column's scores over samples seen, a curve a p; None if no runs differ in that alone."""
    groups = _alike(table)
    panels = []
    for number, column in enumerate(table.board.columns):
        curves = [curve for group in groups for curve in _curves(group, number, column.scale)]
        counts = {row.cells[number].n for group in groups for row, _ in group if number in row.cells}
        if curves:
            panels.append({"label": f"{titled(column)} (n={max(counts)})", "curves": curves})
    return rounded({"panels": panels}) if panels else None


Stage = tuple[Row, int]  # a row of a sweep, and how many samples its runs have seen


def _alike(table: Table) -> list[list[Stage]]:
    """Return the rows of sweeps that differ in nothing but samples seen, together."""
    found: dict[str, list[Stage]] = defaultdict(list)
    for sweep in table.sweeps:
        meta = _meta(sweep)
        if isinstance(meta.get(SEEN), int):
            rest = canonical_json([meta.get(fact) for fact in RUN_FACTS if fact != SEEN])
            found[rest] += [(row, meta[SEEN]) for row in sweep.rows]
    return list(found.values())


def _meta(sweep: Sweep) -> dict[str, Any]:
    """Return how the models of a sweep were made; they agree in the facts of the run."""
    return next(iter(sweep.rows[0].cells.values())).results[0].meta


def _curves(group: list[Stage], number: int, scale: float) -> list[dict[str, Any]]:
    """Return a curve for each p that was measured at two numbers of samples or more: points [samples, value, low, high]."""
    places: dict[float, list[list[float | None]]] = defaultdict(list)
    for row, seen in sorted(group, key=lambda stage: stage[1]):
        if number in row.cells and row.axis is not None:
            one = row.cells[number].estimate
            ends = [None if end is None else scale * end for end in (one.low, one.high)]
            places[row.axis].append([seen, scale * one.value, *ends])
    return [{"p": place, "points": points} for place, points in sorted(places.items()) if len(points) > 1]


def _paint(figure: Figure, found: dict[str, Any]) -> None:
    from matplotlib import colormaps

    shades = colormaps["cividis"]
    axes = panel_axes(figure, found["panels"])
    known: dict[str, Any] = {}
    for axis, panel in zip(axes, found["panels"], strict=True):
        for curve in panel["curves"]:
            colour, points = shades(LIGHTEST * curve["p"]), curve["points"]
            x, y = [point[0] for point in points], [point[1] for point in points]
            (line,) = axis.plot(x, y, color=colour, marker="o", markersize=3, linewidth=1.4)
            low = [point[1] if point[2] is None else point[2] for point in points]
            high = [point[1] if point[3] is None else point[3] for point in points]
            axis.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
            known.setdefault(f"p = {curve['p']:g}", line)
    figure.supxlabel("samples seen   (band: 95 % interval)", fontsize=9)
    figure.legend(list(known.values()), list(known), loc="outside upper center", ncols=min(8, len(known)), frameon=False)


TITLE = "Each score over the samples that training has seen, a curve a p"
DRAWINGS = (Drawing("samples", TITLE, over_samples, _paint, size_of),)
