"""The plots of a board besides its scores over the axis, in the order in which they are shown."""

from __future__ import annotations

from recap_eval.report.plots import captions, mix, progress, truth

DRAWINGS = (*mix.DRAWINGS, *progress.DRAWINGS, *captions.DRAWINGS, *truth.DRAWINGS)
