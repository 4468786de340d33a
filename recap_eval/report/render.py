"""Renders boards into files, and checks that rendered files still follow from their results."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recap_eval.board import belongs, board_files, load_board
from recap_eval.errors import DataError
from recap_eval.files import replacing
from recap_eval.findings import Held, hold, load_findings
from recap_eval.leaderboard import Tables
from recap_eval.report import html, text
from recap_eval.report.evidence import PAGE, sections
from recap_eval.report.evidence_page import evidence_markdown, evidence_page
from recap_eval.report.findings_page import NAME as FINDINGS
from recap_eval.report.findings_page import findings_markdown, findings_page, in_short, summary
from recap_eval.report.index import INDEX, index_page, results_block, with_block
from recap_eval.report.links import file_links, looks, section_links
from recap_eval.report.painting import Painter
from recap_eval.report.plots.drawing import Drawing
from recap_eval.report.plots.drawings import DRAWINGS
from recap_eval.table import Table

README = "README.md"
DIGEST = re.compile(r"data sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Rendered:
    """A rendered board.

    Args:
        files: What was written or found unchanged.
        terminal: The table for a terminal.
    """

    files: list[Path]
    terminal: str


class EmptyBoard(DataError):
    """A board that has neither a result nor a published row."""


def board_names(leaderboards: Path) -> list[str]:
    """Return the names of all boards."""
    return sorted(board_files(leaderboards))


def boards_of(measured: Iterable[tuple[str, dict[str, Any]]], leaderboards: Path) -> dict[str, set[str]]:
    """Return the boards that show something measured, each with the tasks that it shows.

    Args:
        measured: Task and how the model was made, of each result.
        leaderboards: The folder.
    """
    known, shown = list(measured), {}
    for name in board_names(leaderboards):
        board = load_board(name, leaderboards)
        columns = {column.task for column in board.columns}
        if found := {task for task, meta in known if task in columns and belongs(board, meta)}:
            shown[name] = found
    return shown


def _table(name: str, leaderboards: Path, tables: Tables | None) -> Table:
    table = (tables or Tables(leaderboards)).of(name)
    if not table.measured and not table.published:
        why = f" Left out: {table.left_out[0]}" if table.left_out else ""
        hint = f"Measure a model: {text.measure_command(table.board)}"
        raise EmptyBoard(f"{leaderboards} holds no result for board {name!r}.{why}", hint)
    return table


def _texts(table: Table, out: Path, plots: Plots) -> dict[str, str]:
    name, records = table.board.name, PAGE.format(board=table.board.name)
    seen = looks(table, out)
    shown = {f"{plot.stem(name)}.svg": plot.title for plot, _ in plots}
    return {
        f"{name}.md": text.markdown(table, shown, section_links(table, f"{records}.md"), seen),
        f"{name}.csv": text.csv(table),
        f"{name}.html": html.board_page(table, shown, section_links(table, f"{records}.html"), seen),
    } | _evidence(table, out, records)


def _evidence(table: Table, out: Path, name: str) -> dict[str, str]:
    if not table.measured:
        return {}
    found, links = sections(table), file_links(table, out)
    return {f"{name}.md": evidence_markdown(table, found, links), f"{name}.html": evidence_page(table, found, links)}


Plots = list[tuple[Drawing, Any]]  # each with what is drawn


def _plots(table: Table) -> Plots:
    """Return the plots of a table that have anything to draw."""
    return [(plot, found) for plot in DRAWINGS if (found := plot.find(table))]


def _write(path: Path, content: bytes) -> None:
    """Write a file only if its bytes differ."""
    if path.is_file() and path.read_bytes() == content:
        return
    with replacing(path) as part:
        part.write_bytes(content)


def render_board(
    name: str, leaderboards: Path, out: Path, tables: Tables | None = None, painter: Painter | None = None
) -> Rendered:
    """Render a board as markdown, csv, html and plots; the same results give the same bytes.

    Raises:
        UserError: No such board.
        EmptyBoard: No result for it, and no published row.
        DataError: A record is unreadable.
    """
    table = _table(name, leaderboards, tables)
    plots, painter = _plots(table), painter or Painter()
    drawn = [path for plot, found in plots for path in painter.paint(plot, found, out / plot.stem(name))]
    contents = _texts(table, out, plots)
    for file, content in contents.items():
        _write(out / file, content.encode())
    return Rendered([*(out / file for file in contents), *drawn], text.terminal(table))


def check_board(name: str, leaderboards: Path, out: Path, tables: Tables | None = None) -> str | None:
    """Return what differs between a rendered board and its results, or None.

    Texts are compared byte by byte; plots by the digest of their data, since matplotlib's bytes differ between versions.
    """
    table = _table(name, leaderboards, tables)
    plots = _plots(table)
    for file, content in _texts(table, out, plots).items():
        path = out / file
        if not path.is_file():
            return f"{path} is missing. Render it: recap-eval report {name}"
        if (line := _first_difference(path.read_text(encoding="utf-8"), content)) is not None:
            return f"{path}:{line} does not follow from the results. Render it again: recap-eval report {name}"
    for plot, found in plots:
        path = out / f"{plot.stem(name)}.svg"
        if not path.is_file() or DIGEST.findall(path.read_text(encoding="utf-8")) != [plot.digest(found)]:
            return f"{path} is missing or stale. Render it again: recap-eval report {name}"
    return None


def _gathered(leaderboards: Path, out: Path, tables: Tables | None) -> dict[Path, str]:
    """Return the files that follow from all boards together: the index, the paper's findings, and a README's block."""
    known, names = tables or Tables(leaderboards), board_names(leaderboards)
    shown = [table for table in map(known.of, names) if table.measured or table.published]
    files, helds = _findings(known, names, out)
    files[out / INDEX] = index_page(shown, summary(helds) if helds else "")
    readme = Path(os.path.relpath(out.absolute().parent / README))
    if (block := with_block(readme, results_block(shown, out.name, in_short(helds, known) if helds else None))) is not None:
        files[readme] = block
    return files


def _findings(tables: Tables, names: list[str], out: Path) -> tuple[dict[Path, str], list[Held]]:
    """Return the pages of the paper's findings, and the findings; nothing where no test was run."""
    source, findings = load_findings()
    helds = hold(findings, tables, names)
    if all(one.difference is None for held in helds for one in held.tested):
        return {}, []
    pages = {out / f"{FINDINGS}.md": findings_markdown, out / f"{FINDINGS}.html": findings_page}
    return {path: render(source, helds, tables) for path, render in pages.items()}, helds


def render_index(leaderboards: Path, out: Path, tables: Tables | None = None) -> list[Path]:
    """Write the page of all boards, and the block of results of the README beside the reports' folder if it has one.

    Raises:
        DataError: A record is unreadable, or the README has one mark of the block and not the other.
    """
    found = _gathered(leaderboards, out, tables)
    for path, content in found.items():
        _write(path, content.encode())
    return list(found)


def check_index(leaderboards: Path, out: Path, tables: Tables | None = None) -> str | None:
    """Return what differs between those files and the boards, or None."""
    for path, content in _gathered(leaderboards, out, tables).items():
        if not path.is_file():
            return f"{path} is missing. Render it: recap-eval report"
        if (line := _first_difference(path.read_text(encoding="utf-8"), content)) is not None:
            return f"{path}:{line} does not follow from the results. Render it again: recap-eval report"
    return None


def _first_difference(ours: str, theirs: str) -> int | None:
    if ours == theirs:
        return None
    lines = list(zip(ours.splitlines(), theirs.splitlines(), strict=False))
    return next((number for number, (a, b) in enumerate(lines, 1) if a != b), len(lines) + 1)
