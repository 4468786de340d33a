"""A map of where the best p lies, over two things that were said of the data."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from recap_eval.report.moves import worlds
from recap_eval.report.plots.drawing import Drawing, rounded
from recap_eval.report.plots.panels import WIDTH, panel_axes, wide_and_high
from recap_eval.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WHITE_ABOVE = 0.55  # of p: words on the dark shades


def best_places(table: Table) -> dict[str, Any] | None:
    """Return the best p of each column and world; None for a board that does not ask for two facts, or has one world."""
    found = worlds(table) if len(table.board.facts) == 2 else []
    if not found:
        return None
    panels = []
    for number, column in enumerate(table.board.columns):
        cells = [[*world.at, best.p, best.text()] for world in found if (best := world.best[number]) is not None]
        if cells:
            panels.append({"label": column.label, "cells": cells})
    return rounded({"facts": list(table.board.facts), "panels": panels}) if panels else None


def _paint(figure: Figure, found: dict[str, Any]) -> None:
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.patches import Rectangle

    shades, axes = colormaps["cividis_r"], panel_axes(figure, found["panels"])
    across, up = (sorted({cell[end] for panel in found["panels"] for cell in panel["cells"]}) for end in (1, 0))
    for axis, panel in zip(axes, found["panels"], strict=True):
        axis.grid(visible=False)
        for above, beside, p, words in panel["cells"]:
            x, y = across.index(beside), up.index(above)
            axis.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=shades(p), edgecolor="white", linewidth=1))
            colour = "white" if p > WHITE_ABOVE else "black"
            put: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 6.5, "parse_math": False}
            axis.annotate(re.sub("; | (?=[{[])", "\n", words), (x, y), color=colour, **put)
        axis.set_xticks(range(len(across)), [f"{value:g}" for value in across])
        axis.set_yticks(range(len(up)), [f"{value:g}" for value in up])
        axis.set_xlim(-0.5, len(across) - 0.5)
        axis.set_ylim(-0.5, len(up) - 0.5)
    figure.supxlabel(f"{found['facts'][1]}   (best p, where resampled seeds put it, gain over the baseline)", fontsize=9)
    figure.supylabel(found["facts"][0], fontsize=9)
    figure.colorbar(ScalarMappable(Normalize(0, 1), shades), ax=axes, shrink=0.8, pad=0.01).set_label("best p")


def _size(found: dict[str, Any]) -> tuple[float, float]:
    """Return a size in which four short lines stand in each cell."""
    rows = len({above for panel in found["panels"] for above, *_ in panel["cells"]})
    return WIDTH, wide_and_high(len(found["panels"]))[1] * (0.6 * rows + 0.8) + 0.6


DRAWINGS = (Drawing("map", "Where the best p lies, by what was said of the data", best_places, _paint, _size),)
