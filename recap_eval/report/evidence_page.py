"""The records behind a board's figures as markdown and as a page: what was typed, on which data, how, and the first items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from recap_eval.report.cells import coded, escaped, pipe
from recap_eval.report.evidence import Entry, Fact, Section, anchor, items_file
from recap_eval.report.failures_text import visible
from recap_eval.report.html import environment
from recap_eval.results import Result, slug
from recap_eval.table import Table
from recap_eval.tasks.captions import KIND

SHOWN = frozenset({"zero-shot", "retrieval", "pairs", "quads"})  # kinds of tasks that `recap-eval show` can tell failures of
TELLING = "Every figure of the board, by row and task: what was typed, on which data, how, and what came of each item."
REPORTS = "reports"  # the usual folder of reports, in which such pages are looked for
Links = dict[str, str]


def links_of(entry: Entry, links: Links) -> list[tuple[str, str]]:
    """Return the files of a record as (name, link): the record, all of its items, answers and failures where they are there."""
    result = entry.result
    found = [("record", result.path), ("items", items_file(result))]
    if "answers" in result.record:
        found.append(("answers", result.path.with_name(result.record["answers"]["file"])))
    told = [(name, links[str(path)]) for name, path in found if str(path) in links]
    return [*told, *((page.name, links[page.file]) for page in [page_of(result)] if page and page.file in links)]


@dataclass(frozen=True)
class Page:
    """A page of a record's items with their images, that a command of its own writes where the data is.

    Args:
        name: What links to it are called.
        file: Where it lies beside the reports, if it is there.
        command: What to type for it.
        title: What it shows.
    """

    name: str
    file: str
    command: str
    title: str


def page_of(result: Result) -> Page | None:
    """Return the page that shows a record's items: of a model what it got wrong, of a caption set the captions."""
    kind, name = result.record["task"]["kind"], anchor(result)
    if kind in SHOWN:
        file = f"failures/{name}.html"
        title = f"what {result.model} gets wrong in {result.task}"
        return Page("failures", file, f"recap-eval show {name} --reports {REPORTS}", title)
    if kind == KIND and result.meta.get("files"):
        files = str(result.meta["files"])
        file = f"captions/{slug(files)}.html"
        return Page("captions", file, f"recap-eval captions … --page {REPORTS}/{file}", f"captions of {files}")
    return None


def evidence_page(table: Table, found: list[Section], links: Links) -> str:
    """Render the page of a board's records.

    Args:
        table: The table.
        found: Its records.
        links: Relative links by path of records, of what lies beside them, and of those pages of items that are there.
    """
    page: str = environment().get_template("evidence.html").render(
        board=table.board, telling=TELLING, sections=[_section(one, links) for one in found]
    )  # fmt: skip
    return visible(page, keep="\n\t") + "\n"


def _section(section: Section, links: Links) -> dict[str, Any]:
    heads = list(dict.fromkeys(label for entry in section.entries for label, _ in entry.figures))
    rows = []
    for entry in section.entries:
        known = dict(entry.figures)
        told = {"name": entry.name, "anchor": entry.anchor, "figures": [known.get(head, "–") for head in heads]}
        rows.append(told | {"links": links_of(entry, links)})
    facts: dict[str, Any] = {"title": section.title, "heads": heads, "rows": rows, "facts": section.facts}
    facts |= {"first": section.items, "note": section.items_note, "page": page_of(section.entries[0].result)}
    return facts


def evidence_markdown(table: Table, found: list[Section], links: Links) -> str:
    """Render a board's records as markdown; see `evidence_page`."""
    board = table.board
    parts = [f"# {board.title}: the records", f"{TELLING} [The board]({board.name}.md)"]
    for section in found:
        parts += _markdown(section, links)
    return visible("\n\n".join(part for part in parts if part), keep="\n") + "\n"


def _markdown(section: Section, links: Links) -> list[str]:
    heads = list(dict.fromkeys(label for entry in section.entries for label, _ in entry.figures))
    lines = [["", *heads, "files"]]
    for entry in section.entries:
        known = dict(entry.figures)
        files = " ".join(f"[{name}]({link})" for name, link in links_of(entry, links))
        lines.append([escaped(entry.name), *[known.get(head, "–") for head in heads], files])
    facts = [line for fact in section.facts for line in _lines(fact)]
    page = page_of(section.entries[0].result)
    facts += [f"- Its {page.name} with images, linked here once they are there: {coded(page.command)}"] if page else []
    items = pipe([[escaped(cell) for cell in line] for line in section.items]) if section.items else ""
    marks = "".join(f'<a id="{entry.anchor}"></a>' for entry in section.entries)
    return [marks, f"## {escaped(section.title)}", pipe(lines), "\n".join(facts), section.items_note, items]


def _lines(fact: Fact) -> list[str]:
    shown = [(who, coded(text) if fact.code else escaped(text)) for who, text in fact.texts]
    if len(shown) == 1:
        return [f"- {fact.name}: {shown[0][1]}"]
    return [f"- {fact.name}:", *[f"  - {escaped(who)}: {text}" for who, text in shown]]
