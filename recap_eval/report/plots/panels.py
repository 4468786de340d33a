"""Panels side by side, a column of a board each, with curves that are measured or published: what several plots share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from recap_eval.report.plots.style import COLOURS, HOLLOW, INK, words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS, WIDTH = 4, 11.6  # panels side by side at most; of a figure, in inches
MEASURED, PUBLISHED = "measured", "published"
LONG = 40  # letters of a curve's name, of which four do not stand in a line
Curve = dict[str, Any]  # kind, title, points


def wide_and_high(panels: int) -> tuple[int, int]:
    """Return how many panels stand side by side, and in how many rows."""
    high = max(1, -(-panels // COLUMNS))
    return max(1, -(-panels // high)), high


def size_of(found: dict[str, Any]) -> tuple[float, float]:
    """Return the size of a figure of panels, in inches."""
    return WIDTH, 2.6 * wide_and_high(len(found["panels"]))[1] + 0.6


def panel_axes(figure: Figure, panels: list[dict[str, Any]]) -> list[Axes]:
    """Return an axes a panel, with its title; what is left over of the grid is not seen."""
    wide, high = wide_and_high(len(panels))
    axes = list(figure.subplots(high, wide, squeeze=False).flat)
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    for axis, panel in zip(axes, panels, strict=False):
        axis.set_title(panel["label"], parse_math=False)
    return axes[: len(panels)]


def look(curve: Curve, number: int) -> dict[str, Any]:
    """Return how a curve is drawn: measured ones in colour, published ones hollow and dashed, as in every plot of ours."""
    if curve["kind"] == MEASURED:
        return {"color": COLOURS[number % len(COLOURS)], "marker": "o", "markersize": 4, "linewidth": 1.4}
    dashed: dict[str, Any] = {"color": INK, "linestyle": (0, (4, 2)), "linewidth": 1.0, "markersize": 5}
    return dashed | {"marker": HOLLOW[number % len(HOLLOW)], "markerfacecolor": "white"}


def looks(curves: list[Curve]) -> Iterator[tuple[Curve, dict[str, Any]]]:
    """Yield the curves that have points, each with its look, which follows its place: one curve looks alike in all panels."""
    seen = dict.fromkeys((MEASURED, PUBLISHED), 0)
    for curve in curves:
        if curve["points"]:
            yield curve, look(curve, seen[curve["kind"]])
        seen[curve["kind"]] += 1


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
    columns = min(4, len(known)) if max(map(len, known)) < LONG else 2
    words(figure.legend(list(known.values()), list(known), loc="outside upper center", ncols=columns, frameon=False))
