"""Plots of caption sets: how long captions are, and which words are the most frequent; of the results that stand in a table."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from recap_eval.report.cells import all_rows
from recap_eval.report.plots.drawing import Drawing
from recap_eval.report.plots.panels import WIDTH, panel_axes, wide_and_high
from recap_eval.report.plots.style import COLOURS, words
from recap_eval.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WORDS, WIDEST = 25, 160  # words a panel; words of a caption, beyond which a histogram is cut
PANELS = 8  # caption sets whose words are shown
LINES = ("-", "--", ":")  # of more sets than there are colours
PLAIN_END = 0x250  # the plots' font has Latin letters; others are spelled out


def details(task: str, detail: str, table: Table) -> dict[str, Any]:
    """Return the details of a task's results that have one of that name, by name of the caption set."""
    numbers = [number for number, column in enumerate(table.board.columns) if column.task == task]
    cells = {row.label: row.cells[number] for row in all_rows(table) for number in numbers if number in row.cells}
    records = {label: cell.results[0].record for label, cell in cells.items()}
    return {name: record["details"] for name, record in records.items() if detail in record.get("details", {})}


def _lengths(figure: Figure, found: dict[str, Any]) -> None:
    axis = figure.subplots()
    for number, (name, details) in enumerate(found.items()):
        bins = details["histogram"]
        style: dict[str, Any] = {
            "color": COLOURS[number % len(COLOURS)],
            "linestyle": LINES[number // len(COLOURS) % len(LINES)],
        }
        shares = [100 * count / sum(bins) for count in bins]
        longer = sum(shares[WIDEST:])
        told = f"{spelled(name)} (n={sum(bins):,}" + (f"; {longer:.1f} % longer than shown)" if longer else ")")
        edges = [at - 0.5 for at in range(len(shares[:WIDEST]) + 1)]
        axis.stairs(shares[:WIDEST], edges, label=told, linewidth=1.4, **style)
    axis.set_xlabel("words of a caption")
    axis.set_ylabel("captions, %")
    axis.set_ylim(bottom=0)
    words(axis.legend(frameon=False))


def _words(figure: Figure, found: dict[str, Any]) -> None:
    shown = dict(list(found.items())[:PANELS])
    axes = panel_axes(figure, [{"label": spelled(name)} for name in shown], sharex=True)
    for axis, details, colour in zip(axes, shown.values(), COLOURS * len(shown), strict=False):
        top = details["top"][:WORDS][::-1]
        axis.barh(range(len(top)), [100 * count / details["total"] for _, count in top], color=colour)
        axis.set_yticks(range(len(top)), [spelled(word) for word, _ in top], fontsize=7.5, parse_math=False)
        axis.grid(axis="y", visible=False)
    some = f"   (the first {PANELS} of {len(found)} sets)" if len(found) > PANELS else ""
    figure.supxlabel(f"share of all words, %{some}", fontsize=9)


def _words_size(found: dict[str, Any]) -> tuple[float, float]:
    return WIDTH, 4.2 * wide_and_high(min(PANELS, len(found)))[1] + 0.4


def spelled(text: str) -> str:
    """Return a text as the plots' font can write it, in at most 40 characters."""
    plain = "".join(sign if sign.isprintable() and ord(sign) < PLAIN_END else f"\\u{ord(sign):04x}" for sign in text[:40])
    return plain if len(plain) <= 40 else f"{plain[:39]}…"


DRAWINGS = (
    Drawing("lengths", "Length of captions in words", partial(details, "captions-length", "histogram"), _lengths),
    Drawing("words", "The most frequent words", partial(details, "captions-vocabulary", "top"), _words, _words_size),
)
