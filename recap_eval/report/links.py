"""Where a board's files lead: to the section of each record, its files, pages of its items; all relative to the reports."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from recap_eval.report.cells import all_rows
from recap_eval.report.evidence import anchor, items_file
from recap_eval.report.evidence_page import page_of
from recap_eval.results import Result
from recap_eval.table import Table


def records_of(table: Table) -> list[Result]:
    """Return every record of a table, each once."""
    found = {str(one.path): one for row in all_rows(table) for cell in row.cells.values() for one in cell.results}
    found |= {str(one.path): one for figures in table.proxies for some in figures.results.values() for one in some}
    return [found[path] for path in sorted(found)]


def section_links(table: Table, page: str) -> dict[str, str]:
    """Return where each record is told on a page of records, by the record's path."""
    return {str(result.path): f"{page}#{quote(anchor(result))}" for result in records_of(table)}


def file_links(table: Table, out: Path) -> dict[str, str]:
    """Return links by path to the records and what lies beside them, and by file to those pages of items that are there.

    Args:
        table: The table.
        out: The folder of the reports.
    """
    links = {}
    for result in records_of(table):
        beside = [result.record["answers"]["file"]] if "answers" in result.record else []
        for path in (result.path, items_file(result), *(result.path.with_name(name) for name in beside)):
            links[str(path)] = quote(Path(os.path.relpath(path, out)).as_posix())
        if (page := page_of(result)) is not None and (out / page.file).is_file():
            links[page.file] = quote(page.file)
    return links


def looks(table: Table, out: Path) -> list[tuple[str, str]]:
    """Return the pages of items that lie beside the reports, as (title, link).

    Args:
        table: The table.
        out: The folder of the reports.
    """
    pages = [page for result in records_of(table) if (page := page_of(result)) is not None and (out / page.file).is_file()]
    return list({page.file: (page.title, quote(page.file)) for page in pages}.values())
