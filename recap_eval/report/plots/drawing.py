"""A plot beside a board's table: what is drawn of a table as plain data, whose digest stands in the file, and how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recap_eval.files import digest_json
from recap_eval.report.plots.style import STYLE, as_files, hand, new_figure
from recap_eval.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Drawing:
    """A plot beside a board's table.

    Args:
        name: What is added to the board's name in the file's; "" for the board's first.
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

    def stem(self, board: str) -> str:
        """Return the name of a board's files without their ends."""
        return f"{board}-{self.name}" if self.name else board

    def digest(self, found: Any) -> str:
        """Return the digest of what is drawn, by which a stale plot is found without drawing it."""
        return digest_json([self.name, found])

    def stamp(self, found: Any) -> str:
        """Return what stands in each file: the digest of what is drawn, and that of how."""
        return f"data sha256:{self.digest(found)}, drawn by sha256:{digest_json(hand())}"

    def draw(self, found: Any) -> dict[str, bytes]:
        """Return the plot as "svg" and "png"."""
        import matplotlib as mpl

        with mpl.rc_context(STYLE):
            figure = new_figure(self.size(found))
            self.paint(figure, found)
            return as_files(figure, self.title, self.stamp(found))


def rounded(value: Any) -> Any:
    """Return data with six significant digits, so that the last bits of another machine's arithmetic do not show."""
    if isinstance(value, list | tuple):
        return [rounded(one) for one in value]
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    return float(f"{value:.6g}") if isinstance(value, float) else value
