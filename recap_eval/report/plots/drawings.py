"""The plots of a board, in the order in which they are shown."""

from __future__ import annotations

from typing import Any

from recap_eval.report.plots import captions, mix, over_axis, places, progress, proxies, truth

DRAWINGS = (
    *places.DRAWINGS, *proxies.DRAWINGS, *over_axis.DRAWINGS, *mix.DRAWINGS, *progress.DRAWINGS, *captions.DRAWINGS,
    *truth.DRAWINGS,
)  # fmt: skip
NAMED = {drawing.name: drawing for drawing in DRAWINGS}


def draw(name: str, found: Any) -> dict[str, bytes]:
    """Draw what was found of a table, by the drawing's name: how another process is told."""
    return NAMED[name].draw(found)
