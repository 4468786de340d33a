"""How plots look, in one style: colour-blind safe, labelled with units and n, the same bytes for the same data."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from functools import cache
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from recap_eval.files import digest_file

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")  # Okabe and Ito 2008
STYLE = {
    "svg.hashsalt": "recap", "svg.fonttype": "path", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "grid.alpha": 0.25, "figure.dpi": 120, "axes.titlesize": 9.5,
}  # fmt: skip
MARKS = ("o", "s", "D", "^")
INK = "#333333"  # published figures: no colour, no fill, no band
REACH = 11  # points across that a point is felt
POINT = re.compile(r"(<use [^>]*[^/>])\s*/>")
_TOLD: WeakKeyDictionary[Artist, list[str]] = WeakKeyDictionary()
GAP, PAD = 0.1, 0.06  # between rows of panels, as a share of their height; around each, in inches


def new_figure(size: tuple[float, float]) -> Figure:
    """Return an empty figure of a size in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size)
    FigureCanvasAgg(figure)
    return figure


def as_files(figure: Figure, title: str, told: str) -> dict[str, bytes]:
    """Lay a painted figure out and return it as "svg" and "png".

    Args:
        figure: The figure.
        title: Its title.
        told: What else stands in the files.
    """
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    # by hand and once: a figure that has an engine is laid out for each file, and drawn once more for that
    ConstrainedLayoutEngine(h_pad=PAD, w_pad=PAD, hspace=GAP).execute(figure)
    told_of = [(line, texts) for line in figure.findobj() if (texts := _TOLD.get(line))]
    for number, (line, _) in enumerate(told_of):
        line.set_gid(f"told-{number}")
    found = {}
    for form, names in (("svg", {"Date": None, "Creator": None}), ("png", {"Software": None})):
        buffer = io.BytesIO()
        metadata: dict[str, Any] = {"Title": title, "Description": told} | names
        figure.savefig(buffer, format=form, metadata=metadata)
        found[form] = buffer.getvalue()
    found["svg"] = _titled(found["svg"].decode(), [texts for _, texts in told_of]).encode()
    return found


def tell(axis: Axes, points: Sequence[Sequence[float]], texts: Sequence[str]) -> None:
    """Have each point say its figures where the mouse rests on it, in the svg: as its title, which needs no script.

    Args:
        axis: Where the points are.
        points: Each x and y, and whatever else.
        texts: What each says.
    """
    x, y = [point[0] for point in points], [point[1] for point in points]
    (line,) = axis.plot(x, y, linestyle="none", marker="o", markersize=REACH, markeredgewidth=0, alpha=0)
    _TOLD[line] = list(texts)


def _titled(svg: str, told: list[list[str]]) -> str:
    """Put titles into the points of the groups told-0, told-1, …, which stand in this order."""
    parts, rest = [], svg
    for number, texts in enumerate(told):
        before, begin, rest = rest.partition(f'<g id="told-{number}">')
        parts += [before, begin]
        for text in texts:
            point = POINT.search(rest)
            assert point is not None, f"a point of told-{number} was not drawn"
            parts += [rest[: point.start()], f"{point[1]}><title>{escape(text)}</title></use>"]
            rest = rest[point.end() :]
    return "".join([*parts, rest])


def words(legend: Legend) -> None:
    """Show a legend's texts as they are: names are other people's, and a $ in them begins no formula."""
    for text in legend.get_texts():
        text.set_parse_math(False)


@cache
def hand() -> str:
    """Return what draws: the modules here, by their digests, and matplotlib's version."""
    return " ".join([version("matplotlib"), *map(digest_file, sorted(Path(__file__).parent.glob("*.py")))])
