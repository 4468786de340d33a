"""Plots of caption sets: how long captions are, and which words are the most frequent; of the results that stand in a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recap_eval.files import digest_json
from recap_eval.leaderboard import Table
from recap_eval.report.cells import all_rows
from recap_eval.report.plots import COLOURS, STYLE, as_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WORDS, WIDEST = 25, 160  # words a panel; words of a caption, beyond which a histogram is cut
PANELS = 4  # caption sets shown side by side at most
PLAIN_END = 0x250  # the plots' font has Latin letters; others are spelled out


@dataclass(frozen=True)
class Plot:
    """A plot beside a board's table.

    Args:
        name: What is added to the board's name in the file's.
        title: What it shows.
        task: The task whose details are drawn.
        detail: Which of them.
        paint: Draws them, by name of the caption set.
    """

    name: str
    title: str
    task: str
    detail: str
    paint: Callable[[Figure, dict[str, Any]], None]

    def shows(self, table: Table) -> bool:
        """Return whether a table has anything to draw."""
        return bool(self._found(table))

    def digest(self, table: Table) -> str:
        """Return the digest of what is drawn."""
        return digest_json([self.name, self._found(table)])

    def draw(self, table: Table) -> dict[str, bytes]:
        """Return the plot as "svg" and "png"."""
        import matplotlib as mpl
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        with mpl.rc_context(STYLE):
            figure = Figure(figsize=(11.6, 4.6), layout="constrained")
            FigureCanvasAgg(figure)
            self.paint(figure, self._found(table))
            return {form: as_bytes(figure, self.title, self.digest(table), form) for form in ("svg", "png")}

    def _found(self, table: Table) -> dict[str, Any]:
        numbers = [number for number, column in enumerate(table.board.columns) if column.task == self.task]
        cells = {row.label: row.cells[number] for row in all_rows(table) for number in numbers if number in row.cells}
        records = {label: cell.results[0].record for label, cell in cells.items()}
        return {name: record["details"] for name, record in records.items() if self.detail in record.get("details", {})}


def _lengths(figure: Figure, found: dict[str, Any]) -> None:
    axis = figure.subplots()
    for (name, details), colour in zip(found.items(), COLOURS * len(found), strict=False):
        bins = details["histogram"]
        shares = [100 * count / sum(bins) for count in bins]
        longer = sum(shares[WIDEST:])
        told = f"{_spelled(name)} (n={sum(bins):,}" + (f"; {longer:.1f} % longer than shown)" if longer else ")")
        edges = [at - 0.5 for at in range(len(shares[:WIDEST]) + 1)]
        axis.stairs(shares[:WIDEST], edges, color=colour, label=told, linewidth=1.4)
    axis.set_xlabel("words of a caption")
    axis.set_ylabel("captions, %")
    axis.set_ylim(bottom=0)
    for text in axis.legend(frameon=False).get_texts():
        text.set_parse_math(False)


def _words(figure: Figure, found: dict[str, Any]) -> None:
    shown = dict(list(found.items())[:PANELS])
    axes = figure.subplots(1, len(shown), squeeze=False, sharex=True)[0]
    for axis, (name, details), colour in zip(axes, shown.items(), COLOURS * len(shown), strict=False):
        top = details["top"][:WORDS][::-1]
        axis.barh(range(len(top)), [100 * count / details["total"] for _, count in top], color=colour)
        axis.set_yticks(range(len(top)), [_spelled(word) for word, _ in top], fontsize=7.5, parse_math=False)
        axis.set_title(_spelled(name), parse_math=False)
        axis.set_xlabel("share of all words, %")
        axis.grid(axis="y", visible=False)


def _spelled(text: str) -> str:
    """Return a text as the plots' font can write it, in at most 40 characters."""
    plain = "".join(sign if sign.isprintable() and ord(sign) < PLAIN_END else f"\\u{ord(sign):04x}" for sign in text[:40])
    return plain if len(plain) <= 40 else f"{plain[:39]}…"


PLOTS = (
    Plot("lengths", "Length of captions in words", "captions-length", "histogram", _lengths),
    Plot("words", "The most frequent words", "captions-vocabulary", "top", _words),
)
