"""Panels side by side, a column of a board each, with curves that are measured or published: what several plots share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recap_eval.report.plots.over_axis import COLOURS, COLUMNS, HOLLOW, INK, WIDTH

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MEASURED, PUBLISHED = "measured", "published"
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


def legend(figure: Figure, axes: list[Axes]) -> None:
    """Put one legend over all panels, of every curve that any has."""
    known: dict[str, Any] = {}
    for axis in axes:
        known |= {str(label): handle for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    found = figure.legend(
        list(known.values()), list(known), loc="outside upper center", ncols=min(4, len(known)), frameon=False
    )
    for text in found.get_texts():
        text.set_parse_math(False)
