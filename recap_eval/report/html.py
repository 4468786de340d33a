"""Pages, from templates that escape everything: captions and model names are other people's text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from recap_eval.leaderboard import Row, Table
from recap_eval.report import text
from recap_eval.results import Result

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"


def environment() -> Environment:
    """Return the templates, which escape everything put into them."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def _cells(table: Table, row: Row, links: dict[str, str]) -> list[dict[str, object]]:
    out: list[dict[str, object]] = []
    for number in range(len(table.board.columns)):
        cell = row.cells.get(number)
        if cell is None:
            out.append({"text": text.NOT_RUN, "half": "", "delta": "", "best": False, "tied": False, "links": []})
            continue
        out.append(
            {
                "text": text.figure(cell.estimate.value),
                "half": text.half_width(cell),
                "delta": text.delta_text(cell).replace(", ", ",\u00a0") if cell.to_baseline else "",
                "best": cell.best,
                "tied": cell.tied,
                "links": [(_link_name(result), links[str(result.path)]) for result in cell.results],
            }
        )
    return out


def _link_name(result: Result) -> str:
    return f"s{result.meta['seed']}" if "seed" in result.meta else "record"


def board_page(table: Table, plot: str | None, links: dict[str, str]) -> str:
    """Render a board's page: it opens from disk, asks no network, and works without JavaScript.

    Args:
        table: The table.
        plot: Name of the plot's file beside the page, or None.
        links: Relative link by path of a result record.
    """
    groups = [
        {
            "title": sweep.title,
            "first": "p",
            "support": text.support(table, sweep),
            "rows": [(row.label, text.seeds_text(row), _cells(table, row, links)) for row in sweep.rows],
            "has_delta": True,
        }
        for sweep in table.sweeps
    ]
    if table.others:
        rows = [(row.label, text.seeds_text(row), _cells(table, row, links)) for row in table.others]
        groups.append({"title": "Models without a mix", "first": "model", "support": [], "rows": rows, "has_delta": False})
    legend = text.LEGEND.format(base=text.base_name(table.board)).replace("**", "")
    page: str = environment().get_template("board.html").render(
        board=table.board, groups=groups, headers=text.headers(table), plot=plot, legend=legend,
        left_out=table.left_out, sources=text.sources_text(table),
    )  # fmt: skip
    return page + "\n"
