"""Pages, from templates that escape everything: captions and model names are other people's text."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from recap_eval.published import PublishedTable
from recap_eval.report import cells, moves, proxies, recipes, text
from recap_eval.report.evidence import PAGE
from recap_eval.report.forms import Form, forms
from recap_eval.report.opening import opening
from recap_eval.report.printed import derived
from recap_eval.report.support import support
from recap_eval.table import Course, Group, Row, Table

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
SCRIPT = "table.js"


def environment() -> Environment:
    """Return the templates, which escape everything put into them.

    Their one script is ours, and pages allow it alone, by its digest: what a caption smuggles in would not run.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    found = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    script = (TEMPLATES / SCRIPT).read_text(encoding="utf-8")
    found.globals |= {"script": Markup(script), "script_hash": b64encode(sha256(script.encode()).digest()).decode()}
    return found


def _cells(shape: list[Form], row: Row, links: dict[str, str]) -> list[dict[str, object]]:
    out: list[dict[str, object]] = []
    for number, form in enumerate(shape):
        cell = row.cells.get(number)
        if cell is None:
            out.append(_bare(cells.NOT_RUN))
            continue
        out.append(
            {
                "text": form.figure(cell.estimate.value),
                "half": cells.half_width(cell, form),
                "delta": cells.delta_text(cell, form).replace(", ", ",\u00a0") if cell.to_baseline else "",
                "best": cell.best,
                "tied": cell.tied,
                "link": links[str(cell.results[0].path)],
            }
        )
    return out


def board_page(table: Table, plots: dict[str, str], links: dict[str, str], looks: text.Looks = ()) -> str:
    """Render a board's page: it opens from disk, asks no network, and works without JavaScript.

    Args:
        table: The table.
        plots: Titles by name of the plot's file beside the page.
        links: Where a result record is told, relative to the page, by the record's path.
        looks: Pages of items with their images, as (title, link).
    """
    shape, head = forms(table), cells.headers(table)
    groups = [
        {
            "title": sweep.title, "support": support(table, sweep), "has_delta": True, "after": "",
            "first": ["p", "seeds"], "headers": head,
            "rows": [(row.label, [cells.seeds_text(row)], _cells(shape, row, links)) for row in sweep.shown],
        }
        for sweep in table.sweeps
    ]  # fmt: skip
    groups = [*_moves(table, links), *_proxies(table, links), *groups]
    groups += [
        {
            "title": recipes.title(gains), "support": recipes.sentences(table, gains), "has_delta": True,
            "after": f"Δ: to {gains.base}.", "first": ["p", "seeds"], "headers": head,
            "rows": [(row.label, [cells.seeds_text(row)], _cells(shape, row, links)) for row in gains.rows],
        }
        for gains in table.gains
    ]  # fmt: skip
    groups += [_group(table, group, links) for group in table.groups]
    groups += [_course(table, course, links) for course in cells.course_sections(table)]
    page: str = environment().get_template("board.html").render(
        opening=opening(table),
        board=table.board, groups=groups, plots=plots, legend=_legend(table), left_out=table.left_out,
        sources=text.sources_text(table), published=[_published(table, group) for group in table.published],
        not_measured="" if table.measured else text.not_measured(table),
        hint=text.measure_command(table.board), records=f"{PAGE.format(board=table.board.name)}.html", looks=looks,
    )  # fmt: skip
    return page + "\n"


def _moves(table: Table, links: dict[str, str]) -> list[dict[str, object]]:
    """Return where the best p lies in each world, of a board that tells worlds apart."""
    found = moves.worlds(table)
    rows = []
    for world in found:
        told = []
        for best in world.best:
            link = links[str(best.cell.results[0].path)] if best else ""
            told.append(_bare(best.text() if best else moves.EMPTY, link))
        first, *others = (f"{value:g}" for value in world.at)
        rows.append((first, others, told))
    facts: dict[str, object] = {"title": moves.title(table), "support": moves.sentences(table, found) if found else []}
    facts |= {"has_delta": False, "after": text.MOVES, "first": list(table.board.facts), "rows": rows}
    return [facts | {"headers": [column.label for column in table.board.columns]}] if found else []


def _proxies(table: Table, links: dict[str, str]) -> list[dict[str, object]]:
    """Return how cheap measures of captions go with gains, and what they are in each world; nothing of other boards."""
    found = moves.worlds(table)
    if not proxies.shown(table, found):
        return []
    trends = _plain(proxies.TITLE, proxies.grid(table, found), 3)
    of_worlds = _plain(proxies.VALUES.rstrip(":"), proxies.values(table, found), len(table.board.facts))
    rows = []
    for at in proxies.places(found):
        first, *others = (f"{value:g}" for value in at)
        told = proxies.figures_at(table, found, at)
        rows.append((first, others, [_bare(shown, links[str(one.path)] if one else "") for shown, one in told]))
    return [trends | {"support": proxies.sentences(table, found)}, of_worlds | {"rows": rows}]


def _bare(shown: str, link: str = "") -> dict[str, object]:
    """Return a cell that has neither interval nor mark."""
    return {"text": shown, "half": "", "delta": "", "best": False, "tied": False, "link": link}


def _plain(title: str, lines: list[list[str]], names: int) -> dict[str, object]:
    """Return a grid of texts, of which the first columns name a row."""
    head, *body = lines
    rows = [(first, rest[: names - 1], [_bare(shown) for shown in rest[names - 1 :]]) for first, *rest in body]
    facts: dict[str, object] = {"title": title, "support": [], "has_delta": False, "after": "", "rows": rows}
    return facts | {"first": head[:names], "headers": head[names:]}


def _group(table: Table, group: Group, links: dict[str, str]) -> dict[str, object]:
    """Return models without an axis: one a row, or on a board with a section for each data set one a column."""
    shape = forms(table)
    found = [_cells(shape, row, links) for row in group.rows]
    facts: dict[str, object] = {"title": cells.group_title(table.board, group), "support": [], "has_delta": False}
    facts |= {"after": cells.not_run(table, group)}
    if not table.board.by_data:
        rows = [(row.label, [cells.seeds_text(row)], one) for row, one in zip(group.rows, found, strict=True)]
        return facts | {"first": ["model", "seeds"], "headers": cells.headers(table), "rows": rows}
    names = cells.headers(table, group.rows)
    there = [number for number in range(len(names)) if any(number in row.cells for row in group.rows)]
    nothing: list[str] = []
    upright = [(names[number], nothing, [one[number] for one in found]) for number in there]
    return facts | {"first": [""], "headers": [row.label for row in group.rows], "rows": upright}


def _course(table: Table, course: Course, links: dict[str, str]) -> dict[str, object]:
    """Return a training on its way, one number of samples a row."""
    head, shape, numbers = cells.headers(table, course.rows), forms(table), cells.course_columns(table, course)
    found = [_cells(shape, row, links) for row in course.rows]
    facts: dict[str, object] = {"title": cells.course_title(course), "support": [], "has_delta": False, "after": ""}
    facts |= {"first": [cells.AFTER, "seeds"], "headers": [head[number] for number in numbers]}
    rows = zip(course.rows, found, strict=True)
    return facts | {"rows": [(row.label, [cells.seeds_text(row)], [one[number] for number in numbers]) for row, one in rows]}


def _legend(table: Table) -> str:
    return text.legend(table.board).replace("**", "") if table.sweeps else text.legend_items(table.board)


def _published(table: Table, group: PublishedTable) -> dict[str, object]:
    head, *rows = cells.published_grid(table, group)
    facts: dict[str, object] = {"title": text.published_title(group), "source": group.title, "url": group.url}
    facts |= {"not_ranked": text.not_ranked(table.board, group.kind)}
    facts |= {"place": group.place, "notes": group.notes, "derived": derived(table, group)}
    return facts | {"head": head, "rows": rows}
