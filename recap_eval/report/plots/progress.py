"""Scores over samples seen: runs that differ in nothing else, such as those that a training measures on its way."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from recap_eval.artifact import RUN_FACTS, SEEN
from recap_eval.files import canonical_json
from recap_eval.report.forms import titled
from recap_eval.report.plots.drawing import Drawing, rounded
from recap_eval.report.plots.panels import apart, legend_of, panel_axes, said, size_of
from recap_eval.report.plots.style import COLOURS, tell
from recap_eval.table import Row, Sweep, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LIGHTEST = 0.9  # of the colours from p = 0 to p = 1: beyond they are too light on white


def over_samples(table: Table) -> dict[str, Any] | None:
    """Return each column's scores over samples seen, a curve a training; None if nothing was measured at two numbers of them.

    Trainings measured on their way are a curve each, and so are finished ones that differ in nothing but their length.
    """
    groups = [*_courses(table), *_lengths(table)]
    panels = []
    for number, column in enumerate(table.board.columns):
        known = [(p, label, [(row, seen) for row, seen in rows if number in row.cells]) for p, label, rows in groups]
        drawn = [one for one in known if len(one[2]) > 1]
        counts = sorted({row.cells[number].n for _, _, rows in drawn for row, _ in rows})
        curves = [{"p": p, "label": label, "points": _points(rows, number, column.scale)} for p, label, rows in drawn]
        if curves:
            n = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else f"{counts[0]}"
            panels.append({"label": f"{titled(column)} (n={n})", "curves": curves})
    return rounded({"panels": panels}) if panels else None


Stage = tuple[Row, int]  # a row, and how many samples its models have seen
Curved = tuple[float | None, str, list[Stage]]  # place on the axis, name, rows by samples seen


def _courses(table: Table) -> list[Curved]:
    """Return trainings on their way: by their p, where that tells them apart."""
    places = [course.axis for course in table.courses]
    clear = None not in places and len(set(places)) == len(places)
    names = [f"p = {place:g}" for place in places] if clear else apart([course.title for course in table.courses])
    stages = [[(row, row.seen) for row in course.rows if row.seen is not None] for course in table.courses]
    return list(zip(places, names, stages, strict=True))


def _lengths(table: Table) -> list[Curved]:
    """Return rows of sweeps that differ in nothing but samples seen, together."""
    found: dict[str, dict[float, list[Stage]]] = defaultdict(lambda: defaultdict(list))
    for sweep in table.sweeps:
        meta = _meta(sweep)
        if isinstance(meta.get(SEEN), int):
            rest = canonical_json([meta.get(fact) for fact in RUN_FACTS if fact != SEEN])
            for row in sweep.rows:
                if row.axis is not None:
                    found[rest][row.axis].append((row, meta[SEEN]))
    mark = ", trained as long" if table.courses else ""
    return [(p, f"p = {p:g}{mark}", rows) for group in found.values() for p, rows in sorted(group.items())]


def _meta(sweep: Sweep) -> dict[str, Any]:
    """Return how the models of a sweep were made; they agree in the facts of the run."""
    return next(iter(sweep.rows[0].cells.values())).results[0].meta


def _points(rows: list[Stage], number: int, scale: float) -> list[list[float | None]]:
    """Return a curve as points [samples, value, low, high]."""
    points = []
    for row, seen in sorted(rows, key=lambda stage: stage[1]):
        one = row.cells[number].estimate
        ends = [None if end is None else scale * end for end in (one.low, one.high)]
        points.append([seen, scale * one.value, *ends])
    return points


def _paint(figure: Figure, found: dict[str, Any]) -> None:
    from matplotlib import colormaps
    from matplotlib.ticker import EngFormatter, MaxNLocator

    shades = colormaps["cividis"]
    axes = panel_axes(figure, found["panels"])
    known: dict[str, Any] = {}
    for axis, panel in zip(axes, found["panels"], strict=True):
        for number, curve in enumerate(panel["curves"]):
            colour = COLOURS[number % len(COLOURS)] if curve["p"] is None else shades(LIGHTEST * curve["p"])
            points = curve["points"]
            x, y = [point[0] for point in points], [point[1] for point in points]
            (line,) = axis.plot(x, y, color=colour, marker="o", markersize=3, linewidth=1.4)
            low = [point[1] if point[2] is None else point[2] for point in points]
            high = [point[1] if point[3] is None else point[3] for point in points]
            axis.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
            told = [said(f"{seen:,} samples", rest, curve["label"]) for seen, *rest in points]
            tell(axis, points, told)
            known.setdefault(curve["label"], line)
        axis.xaxis.set_major_locator(MaxNLocator(5))
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    figure.supxlabel("samples seen   (band: 95 % interval)", fontsize=9)
    if len(known) > 1 or found["panels"][0]["curves"][0]["p"] is not None:
        legend_of(figure, known)


TITLE = "Each score over the samples that training has seen, a curve a training"
DRAWINGS = (Drawing("samples", TITLE, over_samples, _paint, size_of),)
