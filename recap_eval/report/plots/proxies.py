"""What training on recaptions gains, over cheap measures of the captions: a point a world."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recap_eval.report.cells import base_name
from recap_eval.report.forms import named, unit_of
from recap_eval.report.moves import World, figure, worlds
from recap_eval.report.plots.drawing import Drawing, rounded
from recap_eval.report.plots.mix import UNITS
from recap_eval.report.plots.panels import WIDTH, legend, look_of, said
from recap_eval.report.plots.style import COLOURS, MARKS, tell
from recap_eval.report.proxies import RECAPTIONS, Gain, as_column, gain, proxy_trend, shown
from recap_eval.stats import mean_over_seeds
from recap_eval.table import ProxyFigures, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def against_proxies(table: Table) -> dict[str, Any] | None:
    """Return each column's gain by recaptions alone over each proxy, world by world; None if nothing has both."""
    found = worlds(table)
    rows = [_row(table, found, one) for one in shown(table, found) if one.values]
    kept = [row for row in rows if any(panel["points"] for panel in row["panels"])]
    told = {"facts": list(table.board.facts), "worlds": [list(at) for at in dict.fromkeys(world.at for world in found)]}
    units = [UNITS.get(unit_of(column), unit_of(column)) for column in table.board.columns]
    labels = [
        f"{column.label}, {unit}" if unit else column.label for column, unit in zip(table.board.columns, units, strict=True)
    ]
    return rounded(told | {"base": base_name(table.board), "columns": labels, "rows": kept}) if kept else None


def _row(table: Table, found: list[World], figures: ProxyFigures) -> dict[str, Any]:
    panels = []
    for number in range(len(table.board.columns)):
        one, n = proxy_trend(table, found, figures, number, best=False)
        panels.append({"rho": figure(one), "n": n, "points": _points(table, found, figures, number)})
    return {"label": named(as_column(figures)), "panels": panels}


def _points(table: Table, found: list[World], figures: ProxyFigures, number: int) -> list[list[Any]]:
    """Return points [proxy, gain, low, high, facts], × by what they are multiplied in tables; one seed has no interval."""
    scale, points = table.board.columns[number].scale, []
    for world in found:
        one = gain(table, world, number)
        if one is not None and world.at in figures.values:
            points.append([figures.scale * figures.values[world.at], *_ends(one, scale), list(world.at)])
    return points


def _ends(one: Gain, scale: float) -> list[float | None]:
    import numpy as np

    by_seed = [one.of(np.ones(1), [seed]) for seed in one.scores.seeds]
    mean = mean_over_seeds(by_seed)
    return [scale * mean.value, *(None if end is None else scale * end for end in (mean.low, mean.high))]


def _paint(figure: Figure, found: dict[str, Any]) -> None:
    axes = figure.subplots(len(found["rows"]), len(found["columns"]), squeeze=False, sharex="row", sharey="col")
    for line, row in zip(axes, found["rows"], strict=True):
        for axis, panel in zip(line, row["panels"], strict=True):
            axis.axhline(0, color="#666666", linewidth=0.9)
            _paint_panel(axis, panel, found)
            axis.set_title(f"rho {panel['rho']}", fontsize=7.5, parse_math=False)
            axis.margins(0.12)
        line[len(line) // 2].set_xlabel(row["label"], fontsize=8, parse_math=False)
    for axis, label in zip(axes[0], found["columns"], strict=True):
        axis.set_title(f"{label}\n{axis.get_title()}", fontsize=8, parse_math=False)
    figure.supylabel(f"gain at p = {RECAPTIONS:g} over {found['base']} (up is better)", fontsize=9, parse_math=False)
    told = "a point a world; bar: 95 % interval over seeds; rho: Spearman's, in brackets what holds 95 % of resampled seeds"
    figure.supxlabel(told, fontsize=7.5, color="#555555", parse_math=False)
    legend(figure, list(axes.flat))


def _paint_panel(axis: Axes, panel: dict[str, Any], found: dict[str, Any]) -> None:
    for x, y, low, high, at in panel["points"]:
        colour, mark = look_of(at, found["worlds"])
        style: dict[str, Any] = {"color": COLOURS[colour % len(COLOURS)], "marker": MARKS[mark % len(MARKS)], "markersize": 4.5}
        if low is not None:
            axis.vlines(x, low, high, color=style["color"], linewidth=1.1, alpha=0.6)
        axis.plot([x], [y], linestyle="none", label=_name(at, found["facts"]), **style)
    if panel["points"]:
        tell(axis, panel["points"], [said(f"{x:.4g}", rest, _name(at, found["facts"])) for x, *rest, at in panel["points"]])


def _name(at: list[Any], facts: list[str]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in zip(facts, at, strict=True))


def _size(found: dict[str, Any]) -> tuple[float, float]:
    return WIDTH, 2.0 * len(found["rows"]) + 1.1


TITLE = "What training on recaptions gains over originals, over cheap measures of the captions, a point a world"
DRAWINGS = (Drawing("proxies", TITLE, against_proxies, _paint, _size),)
