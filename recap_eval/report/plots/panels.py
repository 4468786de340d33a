"""Panels side by side, a column of a board each, with curves that are measured or published: what several plots share."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from recap_eval.report.moves import worlds
from recap_eval.report.plots.style import COLOURS, INK, MARKS, words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from recap_eval.table import Sweep, Table

COLUMNS, WIDTH = 4, 11.6  # panels side by side at most; of a figure, in inches
CROWD = 4  # measured curves: of more, bands and bars hide each other
MEASURED, PUBLISHED = "measured", "published"
LETTERS, LINE = 14.0, 6  # of a legend: letters in an inch, and how many a curve's sample and the gap take
Curve = dict[str, Any]  # kind, title, points; of sweeps, which colour and marker


def wide_and_high(panels: int) -> tuple[int, int]:
    """Return how many panels stand side by side, and in how many rows."""
    high = max(1, -(-panels // COLUMNS))
    return max(1, -(-panels // high)), high


def size_of(found: dict[str, Any]) -> tuple[float, float]:
    """Return the size of a figure of panels, in inches."""
    return WIDTH, 2.6 * wide_and_high(len(found["panels"]))[1] + 0.6


def panel_axes(figure: Figure, panels: Sequence[dict[str, Any]], sharex: bool = False) -> list[Axes]:
    """Return an axes a panel, with its title; what is left over of the grid is not seen."""
    wide, high = wide_and_high(len(panels))
    axes = list(figure.subplots(high, wide, squeeze=False, sharex=sharex).flat)
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    for axis, panel in zip(axes, panels, strict=False):
        axis.set_title(panel["label"], parse_math=False)
    return axes[: len(panels)]


def heads(table: Table, sweeps: Sequence[Sweep]) -> list[Curve]:
    """Return what tells the curves of sweeps apart: their titles without what they share, and their looks."""
    at = {id(world.sweep): world.at for world in worlds(table)}
    every = list(at.values())
    told = [look_of(at[id(one)], every) if id(one) in at else divmod(place, CROWD)[::-1] for place, one in enumerate(sweeps)]
    if len(set(told)) < len(told):  # two recipes in one world
        told = [divmod(place, CROWD)[::-1] for place in range(len(sweeps))]
    names = apart([one.title for one in sweeps])
    return [{"kind": MEASURED, "title": name, "look": list(look)} for name, look in zip(names, told, strict=True)]


def apart(titles: Sequence[str]) -> list[str]:
    """Return titles, lists with commas, without what all of them share, and without what is not needed to tell them apart.

    What stands first is what readers know a curve by, so parts go from the end; of a single title that is all that is left.
    Titles that nothing tells apart, or that one has something more than, stay whole.
    """
    parts = [title.split(", ") for title in titles]
    if len(parts) == 1:
        return [parts[0][0]]
    own = [[part for part in some if any(part not in other for other in parts)] for some in parts]
    if not all(own) or len(set(titles)) < len(titles):
        return list(titles)
    for end in range(max(map(len, own), default=0) - 1, -1, -1):
        fewer = [[*some[:end], *some[end + 1 :]] for some in own]
        if all(fewer) and len(set(map(tuple, fewer))) == len(own):
            own = fewer
    return [", ".join(some) for some in own]


def look_of(at: Sequence[Any], every: Sequence[Sequence[Any]]) -> tuple[int, int]:
    """Return which colour a world has, by the first fact, and which marker, by the others."""
    firsts, others = sorted({one[0] for one in every}), sorted({tuple(one[1:]) for one in every})
    return firsts.index(at[0]), others.index(tuple(at[1:]))


def look(curve: Curve, number: int) -> dict[str, Any]:
    """Return how a curve is drawn: measured ones in colour, published ones hollow and dashed, as in every plot of ours."""
    if curve["kind"] == MEASURED:
        colour, mark = curve.get("look", (number, 0))
        shown = {"color": COLOURS[colour % len(COLOURS)], "marker": MARKS[mark % len(MARKS)]}
        return shown | {"markersize": 4, "linewidth": 1.4}
    dashed: dict[str, Any] = {"color": INK, "linestyle": (0, (4, 2)), "linewidth": 1.0, "markersize": 5}
    return dashed | {"marker": MARKS[number % len(MARKS)], "markerfacecolor": "white"}


def looks(curves: list[Curve]) -> Iterator[tuple[Curve, dict[str, Any]]]:
    """Yield the curves that have points, each with its look, which is the same in all panels."""
    seen = dict.fromkeys((MEASURED, PUBLISHED), 0)
    for curve in curves:
        if curve["points"]:
            yield curve, look(curve, seen[curve["kind"]])
        seen[curve["kind"]] += 1


def cut(values: Sequence[float], ends: Sequence[float | None]) -> list[float]:
    """Return values cut where no figure can lie: below the first end, and above the second if there is one."""
    low, high = ends
    return [min(max(value, -math.inf if low is None else low), math.inf if high is None else high) for value in values]


def crowded(panels: Sequence[dict[str, Any]]) -> bool:
    """Return whether there are too many measured curves for intervals to be seen."""
    return any(sum(curve["kind"] == MEASURED for curve in panel["curves"]) > CROWD for panel in panels)


def said(place: str, figures: Sequence[Any], whose: str) -> str:
    """Return what a point says of itself.

    Args:
        place: Where it is.
        figures: Its value, and the ends of its interval where they are known.
        whose: Its curve.
    """
    value, *ends = figures
    interval = f" [{ends[0]:.4g}, {ends[1]:.4g}]" if len(ends) > 1 and None not in ends[:2] else ""
    return f"{place}: {value:.4g}{interval}, {whose}"


def legend(figure: Figure, axes: list[Axes]) -> None:
    """Put one legend over all panels, of every curve that any has."""
    known: dict[str, Any] = {}
    for axis in axes:
        known |= {str(label): handle for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    legend_of(figure, known)


def legend_of(figure: Figure, known: dict[str, Any]) -> None:
    """Put a legend over all panels, as wide as the figure at most, of what is drawn by its name."""
    longest = max(map(len, known)) + LINE
    columns = max(1, min(COLUMNS, len(known), int(LETTERS * figure.get_figwidth() / longest)))
    words(figure.legend(list(known.values()), list(known), loc="outside upper center", ncols=columns, frameon=False))
