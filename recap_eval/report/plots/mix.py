"""Plots of a sweep over p: what each p gains over the baseline, and what it trades of one score for another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from recap_eval.board import Board, Column, Mean
from recap_eval.published import PublishedTable
from recap_eval.report.cells import base_name
from recap_eval.report.forms import is_percent, unit_of
from recap_eval.report.plots.drawing import Drawing, rounded
from recap_eval.report.plots.over_axis import curves
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
)
from recap_eval.report.plots.style import tell
from recap_eval.report.printed import mean_of
from recap_eval.stats import Estimate, mean_over_seeds
from recap_eval.table import Cell, Row, Sweep, Table
from recap_eval.tasks.base import PERCENT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


UNITS = {"%": "points"}  # of a difference of per cent
POINTS = 72  # in an inch
ROOM, APART = (9, 7), (15, 9)  # of a place's name, across and up, in points: from points, and from other names
BESIDE = ((11, 7), (-11, -8), (11, -8), (-11, 7), (0, 10), (0, -11))  # where it may stand


def gains(table: Table) -> dict[str, Any] | None:
    """Return each column's differences to the baseline, turned so that more is better; None if there are none."""
    sweeps, printed = curves(table)
    panels, named = [], list(zip(sweeps, heads(table, sweeps), strict=True))
    for number, column in enumerate(table.board.columns):
        found = [head | {"points": _gains(sweep, number, column)} for sweep, head in named]
        found += [_printed_gains(table.board, group, column) for group in printed]
        if any(curve["points"] for curve in found):
            panels.append({"label": _gained(column, sweeps, number), "curves": found})
    panels += [panel for mean in table.board.means if _drawn(panel := _mean_panel(table, named, printed, mean))]
    told = {"axis": table.board.axis_label, "base": base_name(table.board), "place": table.board.baseline}
    return rounded(told | {"panels": panels}) if panels else None


def _gained(column: Column, sweeps: list[Sweep], number: int) -> str:
    unit = UNITS.get(unit_of(column), unit_of(column))
    n = next((row.cells[number].n for sweep in sweeps for row in sweep.rows if number in row.cells), None)
    return column.label + (f", {unit}" if unit else "") + (f" (n={n})" if n else "")


def _gains(sweep: Sweep, number: int, column: Column) -> list[list[Any]]:
    """Return points [p, gain, low, high, separable after Holm's correction], an end of an unknown interval being None."""
    turn = column.scale * (1 if column.higher_is_better else -1)
    points = []
    for row in sweep.rows:
        found = row.cells[number].to_baseline if number in row.cells else None
        if found is not None:
            points.append([row.axis, *_turned(found.estimate, turn), found.separable])
    return points


def _turned(found: Estimate, turn: float) -> list[float | None]:
    """Return value, low and high of a difference, turned so that more is better."""
    value, *ends = _ends(found, turn)
    return [value, *(ends if turn > 0 else reversed(ends))]


def _printed_gains(board: Board, group: PublishedTable, column: Column) -> Curve:
    """Return differences of printed figures: arithmetic, without interval or test."""
    turn = column.scale * (1 if column.higher_is_better else -1)
    placed = {row.place(board.axis): row.figure(column.task, column.metric, column.data_name) for row in group.rows}
    points = [[place, turn * gain, None, None, False] for place, gain in _over_base(placed, board.baseline)]
    return {"kind": PUBLISHED, "title": f"published ({group.place})", "points": points}


def _over_base(placed: dict[float | None, float | None], baseline: float) -> list[tuple[float, float]]:
    """Return what each place has over the baseline; nothing if that has no figure."""
    known = {place: value for place, value in placed.items() if place is not None and value is not None}
    base = known.pop(baseline, None)
    return [] if base is None else [(place, value - base) for place, value in sorted(known.items())]


def _mean_panel(table: Table, named: list[tuple[Sweep, Curve]], printed: list[PublishedTable], mean: Mean) -> dict[str, Any]:
    """Return the gains of a mean over columns: paired by seed, or of printed figures; nothing of them is tested."""
    board = table.board
    found = [head | {"points": _mean_gains(board, sweep, _numbers(board, mean))} for sweep, head in named]
    for group in printed:
        placed = {row.place(board.axis): mean_of(board, row, mean) for row in group.rows}
        points = [[place, gain, None, None, False] for place, gain in _over_base(placed, board.baseline)]
        found.append({"kind": PUBLISHED, "title": f"published ({group.place})", "points": points})
    unit = UNITS.get(unit_of(board.columns[_numbers(board, mean)[0]]), "")
    return {"label": f"{mean.label}, {unit}", "curves": found}


def _drawn(panel: dict[str, Any]) -> bool:
    return any(curve["points"] for curve in panel["curves"])


def _mean_gains(board: Board, sweep: Sweep, numbers: list[int]) -> list[list[Any]]:
    means = {row.axis: _seed_means(board, row, numbers) for row in sweep.rows}
    base, points = means.pop(board.baseline, {}), []
    for place, found in means.items():
        common = sorted(found.keys() & base.keys())
        if common:
            points.append([place, *_ends(mean_over_seeds([found[seed] - base[seed] for seed in common]), 1.0), False])
    return points


def _paint_gains(figure: Figure, found: dict[str, Any]) -> None:
    axes, many = panel_axes(figure, found["panels"]), crowded(found["panels"])
    for axis, panel in zip(axes, found["panels"], strict=True):
        axis.axhline(0, color="#666666", linewidth=0.9)
        for curve, style in looks(panel["curves"]):
            _paint_gain(axis, curve, style, found["place"])
            (_fill_apart if many else _paint_intervals)(axis, curve, style)
        axis.margins(y=0.16)
    figure.supylabel(f"gain over {found['base']} (up is better)", fontsize=9, parse_math=False)
    bars = "bar: 95 % interval of the paired difference; *: after Holm's correction; of means nothing is tested"
    kinds = {curve["kind"] for panel in found["panels"] for curve in panel["curves"] if curve["points"]}
    bars = "filled: different after Holm's correction; intervals are in the table" if many else bars
    told = bars if MEASURED in kinds else "differences of printed figures, without interval"
    figure.supxlabel(f"{found['axis']}   ({told})", fontsize=9, parse_math=False)
    legend(figure, axes)


def _paint_gain(axis: Axes, curve: Curve, style: dict[str, Any], base: float) -> None:
    line = sorted([(point[0], point[1]) for point in curve["points"]] + [(base, 0.0)])
    axis.plot(*zip(*line, strict=True), label=curve["title"], **style)
    tell(axis, curve["points"], [said(f"p = {place:g}", rest[:3], curve["title"]) for place, *rest in curve["points"]])


def _fill_apart(axis: Axes, curve: Curve, style: dict[str, Any]) -> None:
    """Empty the points of a measured curve that are not different from the baseline."""
    void = [(place, value) for place, value, *_, separable in curve["points"] if not separable]
    if curve["kind"] == MEASURED and void:
        axis.plot(*zip(*void, strict=True), **style | {"linestyle": "none", "markerfacecolor": "white"})


def _paint_intervals(axis: Axes, curve: Curve, style: dict[str, Any]) -> None:
    """Draw the intervals of a curve, and stars above those of points that are different from the baseline."""
    from matplotlib.transforms import ScaledTranslation

    known = [point for point in curve["points"] if point[2] is not None]
    if known:  # one artist for all: a report of dozens of sweeps has thousands of bars
        places, _, lows, highs, _ = zip(*known, strict=True)
        axis.vlines(places, lows, highs, color=style["color"], linewidth=1.4, alpha=0.7)
    apart = [(place, value if high is None else high) for place, value, _, high, separable in curve["points"] if separable]
    if apart:
        above = ScaledTranslation(0, 5 / 72, axis.figure.dpi_scale_trans)
        mark: dict[str, Any] = {"marker": "$*$", "linestyle": "none", "markersize": 5, "color": style["color"]}
        axis.plot(*zip(*apart, strict=True), transform=axis.transData + above, **mark)


def trade_off(table: Table) -> dict[str, Any] | None:
    """Return one column against a mean of others along p, as the board asks; None if nothing has both."""
    board = table.board
    if not board.trade_off:
        return None
    number, column = next((n, one) for n, one in enumerate(board.columns) if one.label == board.trade_off[0])
    mean = next(one for one in board.means if one.label == board.trade_off[1])
    sweeps, printed = curves(table)
    named = zip(sweeps, heads(table, sweeps), strict=True)
    found = [head | {"points": _trade(board, sweep, number, mean)} for sweep, head in named]
    found += [_printed_trade(board, group, column, mean) for group in printed]
    shown = [curve for curve in found if len(curve["points"]) > 1]
    labels = {"x": _axis(table, [number], column.label), "y": _axis(table, _numbers(board, mean), mean.label)}
    shares = all(is_percent(board.columns[one]) for one in (number, *_numbers(board, mean)))
    told: dict[str, Any] = {"over": list(mean.over), "curves": shown} | ({"ends": [0.0, PERCENT]} if shares else {})
    return rounded(labels | told) if shown else None


def _numbers(board: Board, mean: Mean) -> list[int]:
    return [number for number, column in enumerate(board.columns) if column.label in mean.over]


def _axis(table: Table, numbers: list[int], label: str) -> str:
    """Return an axis' label with unit and n."""
    unit = unit_of(table.board.columns[numbers[0]])
    rows = [row for sweep in table.sweeps for row in sweep.rows]
    counts = sorted({row.cells[number].n for row in rows for number in numbers if number in row.cells})
    n = "" if not counts else f" (n={counts[0]})" if len(counts) == 1 else f" (n={counts[0]} to {counts[-1]})"
    return f"{label}{f', {unit}' if unit else ''}{n}"


def _trade(board: Board, sweep: Sweep, number: int, mean: Mean) -> list[list[Any]]:
    """Return points [p, [x, low, high], [y, low, high]]; an end of an unknown interval is None."""
    points = []
    for row in sweep.rows:
        averaged = _mean(board, row, _numbers(board, mean))
        if number in row.cells and averaged is not None:
            points.append([row.axis, _ends(row.cells[number].estimate, board.columns[number].scale), _ends(averaged, 1.0)])
    return points


def _mean(board: Board, row: Row, numbers: list[int]) -> Estimate | None:
    """Return the mean over columns, over seeds."""
    found = _seed_means(board, row, numbers)
    return mean_over_seeds([found[seed] for seed in sorted(found)]) if found else None


def _seed_means(board: Board, row: Row, numbers: list[int]) -> dict[int, float]:
    """Return the mean over columns of each seed that has all of them."""
    if any(number not in row.cells for number in numbers):
        return {}
    found = [_by_seed(row.cells[number], board.columns[number]) for number in numbers]
    common = set.intersection(*(set(one) for one in found))
    return {seed: sum(one[seed] for one in found) / len(found) for seed in common}


def _by_seed(cell: Cell, column: Column) -> dict[int, float]:
    values = [(int(one.meta.get("seed", 0)), float(one.record["metrics"][column.metric]["value"])) for one in cell.results]
    return {seed: column.scale * value for seed, value in values}


def _ends(found: Estimate, scale: float) -> list[float | None]:
    ends = [None if end is None else scale * end for end in (found.low, found.high)]
    return [scale * found.value, *ends]


def _printed_trade(board: Board, group: PublishedTable, column: Column, mean: Mean) -> Curve:
    points = []
    for row in group.rows:
        place, x = row.place(board.axis), row.figure(column.task, column.metric, column.data_name)
        y = mean_of(board, row, mean)
        if place is not None and x is not None and y is not None:
            points.append([place, [column.scale * x, None, None], [y, None, None]])
    return {"kind": PUBLISHED, "title": f"published ({group.place})", "points": sorted(points, key=lambda point: point[0])}


def _paint_trade(figure: Figure, found: dict[str, Any]) -> None:
    axis, limits = figure.subplots(), found.get("ends", [None, None])
    for curve, style in looks(found["curves"]):
        points = [(x[0], y[0]) for _, x, y in curve["points"]]
        axis.plot(*zip(*points, strict=True), label=curve["title"], **style)
        texts = [f"p = {place:g}: {x[0]:.4g} and {y[0]:.4g}, {curve['title']}" for place, x, y in curve["points"]]
        tell(axis, points, texts)
        for _, (x, *across), (y, *up) in curve["points"]:
            if None not in across:
                axis.hlines(y, *cut(across, limits), color=style["color"], alpha=0.45, linewidth=1)
            if None not in up:
                axis.vlines(x, *cut(up, limits), color=style["color"], alpha=0.45, linewidth=1)
    axis.margins(0.08)
    _name_places(axis, found["curves"])
    axis.set_xlabel(found["x"], parse_math=False)
    axis.set_ylabel(found["y"], parse_math=False)
    bars = "; bars: 95 % intervals" if any(curve["kind"] == MEASURED for curve in found["curves"]) else ""
    told = f"beside points: p{bars}; the mean is over {', '.join(found['over'])}"
    figure.supxlabel(told, fontsize=7.5, color="#555555", parse_math=False)
    legend(figure, [axis])


def _name_places(axis: Axes, curves: list[Curve]) -> None:
    """Write its p beside each point, where it hides neither another nor a point; the mouse tells of those that find no room."""
    from matplotlib.patheffects import withStroke

    put: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "va": "center", "fontsize": 8, "zorder": 5}
    put |= {"path_effects": [withStroke(linewidth=2.5, foreground="white")]}
    known = [(place, (x[0], y[0]), style["color"]) for curve, style in looks(curves) for place, x, y in curve["points"]]
    axis.autoscale_view()  # or the limits are settled later, and nothing lies where it seems to
    spots = [tuple(POINTS / axis.figure.dpi * axis.transData.transform(at)) for _, at, _ in known]
    names: list[tuple[float, float]] = []
    for (place, at, colour), own in zip(known, spots, strict=True):
        for beside in BESIDE:
            name = (own[0] + beside[0], own[1] + beside[1])
            points = [spot for spot in spots if spot != own]
            if _clear(name, points, *ROOM) and _clear(name, names, *APART):
                names.append(name)
                axis.annotate(f"{place:g}", at, beside, color=colour, **put)
                break


def _clear(name: tuple[float, float], others: Sequence[tuple[float, ...]], wide: float, high: float) -> bool:
    return all(abs(name[0] - x) > wide or abs(name[1] - y) > high for x, y in others)


DRAWINGS = (
    Drawing(
        "gain",
        "What each p gains over the baseline, column by column, with 95 % intervals where measured; *: after Holm's correction",
        gains,
        _paint_gains,
        size_of,
    ),
    Drawing(
        "trade-off", "One score against the mean of others along p: what each mix trades", trade_off, _paint_trade,
        lambda found: (7.4, 4.8),
    ),
)  # fmt: skip
