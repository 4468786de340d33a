"""A plot beside a board's table: what is drawn of a table as plain data, whose digest stands in the file, and how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recap_eval.files import digest_json
from recap_eval.report.plots.over_axis import GAP, PAD, STYLE, as_bytes
from recap_eval.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Drawing:
    """A plot beside a board's table.

    Args:
        name: What is added to the board's name in the file's.
        title: What it shows, read out where it cannot be seen.
        find: Returns what is drawn of a table, as JSON has it; nothing true if there is nothing to draw.
        paint: Draws that.
        size: Width and height for what is drawn, in inches.
    """

    name: str
    title: str
    find: Callable[[Table], Any]
    paint: Callable[[Figure, Any], None]
    size: Callable[[Any], tuple[float, float]] = lambda found: (11.6, 4.6)

    def shows(self, table: Table) -> bool:
        """Return whether a table has anything to draw."""
        return bool(self.find(table))

    def digest(self, table: Table) -> str:
        """Return the digest of what is drawn."""
        return digest_json([self.name, self.find(table)])

    def draw(self, table: Table) -> dict[str, bytes]:
        """Return the plot as "svg" and "png"."""
        import matplotlib as mpl
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine

        found = self.find(table)
        with mpl.rc_context(STYLE):
            figure = Figure(figsize=self.size(found), layout=ConstrainedLayoutEngine(h_pad=PAD, hspace=GAP))
            FigureCanvasAgg(figure)
            self.paint(figure, found)
            return {form: as_bytes(figure, self.title, digest_json([self.name, found]), form) for form in ("svg", "png")}


def rounded(value: Any) -> Any:
    """Return data with six significant digits, so that the last bits of another machine's arithmetic do not show."""
    if isinstance(value, list | tuple):
        return [rounded(one) for one in value]
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    return float(f"{value:.6g}") if isinstance(value, float) else value
