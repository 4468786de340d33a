"""What models and judges make of captions of scenes, over the truth of these captions, which is known there."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from recap_eval.board import VARIANT
from recap_eval.report.cells import all_rows
from recap_eval.report.forms import titled
from recap_eval.report.plots.captions import spelled
from recap_eval.report.plots.drawing import Drawing, rounded
from recap_eval.report.plots.panels import MEASURED, look, panel_axes, size_of
from recap_eval.report.plots.style import words
from recap_eval.results import Result
from recap_eval.stats import estimate
from recap_eval.table import Row, Table
from recap_eval.tasks.base import PERCENT
from recap_eval.tasks.captions import FAMILIES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TRUTH = FAMILIES["truth"]
LOOKING = tuple(FAMILIES[key].name for key in ("clip", "longclip", "judge"))
BINS = (0.0, 0.5, 0.75, 0.9, 1.0, 1.1)  # of the share of a caption's claims that hold; the last holds what is wholly true
ROOM = 0.12  # above the curves, for a line of the legend, as a share of the height
FEWEST = 5  # captions of a bin that has a point


def over_truth(table: Table) -> dict[str, Any] | None:
    """Return each model's or judge's score over the truth of captions, a curve a caption set; None if no set has both."""
    panels = []
    for number, column in enumerate(table.board.columns):
        if column.task.partition(VARIANT)[0] in LOOKING and column.metric == primary(column.task):
            curves = [_curve(table, row, number) for row in all_rows(table) if number in row.cells]
            if shown := [curve for curve in curves if curve["points"]]:
                panels.append({"label": titled(column), "curves": shown})
    return rounded({"panels": panels}) if panels else None


def primary(task: str) -> str:
    """Return the metric that stands for a family of metrics of captions."""
    base = task.partition(VARIANT)[0]
    return next(family.primary.name for family in FAMILIES.values() if family.name == base)


def _curve(table: Table, row: Row, number: int) -> dict[str, Any]:
    """Return points [truth, score, low, high, captions], all but the last × by what they are multiplied in tables."""
    column, known = table.board.columns[number], _truths(table, row)
    result = row.cells[number].results[0]
    points = _binned(result, column.metric, known, column.scale) if known else []
    extra = result.record["extra"]
    told = f", rho {round(extra['truth_spearman'], 2) + 0.0:.2f}" if "truth_spearman" in extra else ""
    n = sum(point[-1] for point in points)
    return {"kind": MEASURED, "title": f"{spelled(row.label)} (n={n}{told})", "points": points}


def _truths(table: Table, row: Row) -> dict[str, float]:
    """Return the share of claims that hold by caption of the row's set, if it was held against the truth."""
    for number, column in enumerate(table.board.columns):
        if (column.task, column.metric) == (TRUTH.name, TRUTH.primary.name) and number in row.cells:
            found = row.cells[number].results[0].items(column.metric)
            return dict(zip(found.items, map(float, found.values), strict=True))
    return {}


def _binned(result: Result, metric: str, known: dict[str, float], scale: float) -> list[list[Any]]:
    import numpy as np

    found = result.items(metric)
    there = [place for place, item in enumerate(found.items) if item in known]
    truth = np.array([known[found.items[place]] for place in there])
    points = []
    for low, high in pairwise(BINS):
        inside = np.flatnonzero((truth >= low) & (truth < high))
        if len(inside) >= FEWEST:
            places = [there[place] for place in inside]
            one = estimate(found.values[places], [found.clusters[place] for place in places])
            ends = [None if end is None else scale * end for end in (one.low, one.high)]
            points.append([PERCENT * float(truth[inside].mean()), scale * one.value, *ends, len(places)])
    return points


def _paint(figure: Figure, found: dict[str, Any]) -> None:
    axes = panel_axes(figure, found["panels"])
    for axis, panel in zip(axes, found["panels"], strict=True):
        for number, curve in enumerate(panel["curves"]):
            style = look(curve, number)
            axis.plot(
                [point[0] for point in curve["points"]], [point[1] for point in curve["points"]], label=curve["title"], **style
            )
            for truth, _, low, high, _ in curve["points"]:
                if low is not None:
                    axis.vlines(truth, low, high, color=style["color"], linewidth=1.2, alpha=0.7)
        low, high = axis.get_ylim()
        axis.set_ylim(low, high + ROOM * len(panel["curves"]) * (high - low))
        words(axis.legend(frameon=False, fontsize=7))
    told = f"mean and 95 % interval of captions binned by truth; bins of fewer than {FEWEST} have no point; rho: Spearman's"
    figure.supxlabel(f"claims of a caption that are true, %   ({told})", fontsize=9)


TITLE = "What models and judges make of captions, over the share of their claims that are true"
DRAWINGS = (Drawing("truth", TITLE, over_truth, _paint, size_of),)
