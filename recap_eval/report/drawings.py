"""The plots of a board besides its scores over the axis, in the order in which they are shown."""

from __future__ import annotations

from recap_eval.report import caption_plots, mix_plots, progress_plots, truth_plots

DRAWINGS = (*mix_plots.DRAWINGS, *progress_plots.DRAWINGS, *caption_plots.DRAWINGS, *truth_plots.DRAWINGS)
