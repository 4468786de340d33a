"""What stands behind the figures of a board: its result records, told so that a reader can repeat and doubt them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from recap_eval.board import Column
from recap_eval.captions.files import label
from recap_eval.files import digest_file
from recap_eval.report.forms import Form, forms, named
from recap_eval.report.moves import worlds
from recap_eval.report.proxies import as_column, form_of, measured, places
from recap_eval.results import Result, estimate_of
from recap_eval.table import At, ProxyFigures, Row, Table

PAGE = "{board}-records"  # the name of a board's page of records
FIRST = 5  # items shown of each record
NO_ITEMS = "None are kept: a figure of the whole."
LOST = "The file is missing or was changed since."


@dataclass(frozen=True)
class Entry:
    """One record.

    Args:
        name: What it is called among those of its row: its training seed, or its model.
        result: The record.
        figures: Its figures, as (label, text), in the order of the board's columns.
    """

    name: str
    result: Result
    figures: tuple[tuple[str, str], ...]

    @property
    def anchor(self) -> str:
        """Its name in links: folder and file of the record."""
        return anchor(self.result)


@dataclass(frozen=True)
class Fact:
    """Something that records depend on.

    Args:
        name: What.
        texts: What it is, as (whose, text): one of nobody's if all records agree, else one each.
        code: Whether it is to be copied rather than read.
    """

    name: str
    texts: tuple[tuple[str, str], ...]
    code: bool


@dataclass(frozen=True)
class Section:
    """The records of a row of a board that answer one task: one a training seed.

    Args:
        title: Row and task.
        entries: The records.
        facts: What they depend on.
        items: The first items of the first record, as lines of a table, header first; empty if there are none.
        items_note: How many there are, or why none is shown.
    """

    title: str
    entries: tuple[Entry, ...]
    facts: tuple[Fact, ...]
    items: tuple[tuple[str, ...], ...]
    items_note: str


def anchor(result: Result) -> str:
    """Return a record's name in links: its folder and its file, which name one question and one model."""
    return f"{result.path.parent.name}/{result.path.stem}"


def sections(table: Table) -> list[Section]:
    """Return the records behind a table, row by row and task by task, each once."""
    shape = forms(table)
    rows = [(row, "") for group in table.groups for row in group.rows]
    whose = len(table.sweeps) > 1
    rows = [(row, f" ({sweep.title})" if whose else "") for sweep in table.sweeps for row in sweep.shown] + rows
    rows += [(row, f" ({course.title})") for course in table.courses for row in course.rows if not _finished(row)]
    return [one for row, title in rows for one in _of_row(table, row, shape, title)] + _of_captions(table)


def _of_captions(table: Table) -> list[Section]:
    """Return the records that cheap measures of captions are made of, by world and task; one may serve several measures."""
    found: dict[tuple[At, str], dict[str, tuple[Result, ProxyFigures]]] = {}
    known = worlds(table)
    there = set(places(known))  # worlds that were trained, which are told by numbers
    for figures in measured(table, known):
        for at, results in figures.results.items():
            if at in there:
                told = found.setdefault((at, results[0].task), {})
                told |= {anchor(one): (one, figures) for one in results if anchor(one) not in told}
    return [_captions(table, at, task, list(told.values())) for (at, task), told in sorted(found.items())]


def _captions(table: Table, at: At, task: str, told: list[tuple[Result, ProxyFigures]]) -> Section:
    results = [one for one, _ in told]
    entries = tuple(Entry(label(one.meta["column"]), one, _figure(_column(of), form_of(of), one)) for one, of in told)
    where = ", ".join(f"{name} {value:g}" for name, value in zip(table.board.facts, at, strict=True))
    items, note = _items(results[0])
    return Section(f"Captions of {where}: {task}", entries, _facts(results, [entry.name for entry in entries]), items, note)


def _finished(row: Row) -> bool:
    """Return whether a row of a training is its end, which stands among finished models, too."""
    return not any(one.on_the_way for cell in row.cells.values() for one in cell.results)


def _of_row(table: Table, row: Row, shape: list[Form], whose: str) -> list[Section]:
    by_task: dict[str, list[int]] = {}
    for number in sorted(row.cells):
        by_task.setdefault(table.board.columns[number].task, []).append(number)
    name = row.label if row.axis is None else f"p = {row.label}"
    columns = {
        task: [(number, table.board.columns[number], shape[number]) for number in some] for task, some in by_task.items()
    }
    return [_section(row, some, f"{name}{whose}: {task}") for task, some in columns.items()]


Asked = list[tuple[int, Column, Form]]  # columns of one task: number, column, form of its figures


def _section(row: Row, columns: Asked, title: str) -> Section:
    found = list({anchor(one): one for number, _, _ in columns for one in row.cells[number].results}.values())
    entries = tuple(Entry(_name(one, row), one, _figures(row, columns, one)) for one in found)
    items, note = _items(found[0])
    return Section(title, entries, _facts(found, [entry.name for entry in entries]), items, note)


def _name(result: Result, row: Row) -> str:
    return f"seed {result.meta['seed']}" if row.axis is not None and "seed" in result.meta else result.model


def _column(figures: ProxyFigures) -> Column:
    """Return a proxy as a column of what one record measured, which the proxy may hold against another."""
    return replace(as_column(figures), label=figures.proxy.metric)


def _figures(row: Row, columns: Asked, result: Result) -> tuple[tuple[str, str], ...]:
    """Return a record's own figures: of several seeds, those that the board's mean is made of."""
    out: list[tuple[str, str]] = []
    for number, column, form in columns:
        if any(result.path == one.path for one in row.cells[number].results):
            out += _figure(column, form, result)
    return tuple(out)


def _figure(column: Column, form: Form, result: Result) -> tuple[tuple[str, str], ...]:
    one = estimate_of(result.record["metrics"][column.metric])
    half = "" if one.low is None or one.high is None else f" ± {form.figure((one.high - one.low) / 2)}"
    return ((named(column), f"{form.figure(one.value)}{half}"),)


def _flat(record: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Return a record's plain values by name, nested ones by dotted names, in its order; what is empty is left out."""
    told: dict[str, str] = {}
    for key, value in record.items():
        if isinstance(value, dict):
            told |= _flat(value, f"{prefix}{key}.")
        elif value is not None and value != []:
            told[prefix + key] = _plain(value)
    return told


def _listed(record: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in _flat(record).items())


def _plain(value: object) -> str:
    return " ".join(map(_plain, value)) if isinstance(value, list) else f"{value:g}" if isinstance(value, float) else str(value)


def _data(record: dict[str, Any]) -> str:
    data = record["data"]
    return f"{' '.join(filter(None, (data['name'], data['split'])))}: {data['reference']}"


def _n(record: dict[str, Any]) -> str:
    counts = {cell["n"]: cell["n_clusters"] for cell in record["metrics"].values() if cell["n"]}
    return "; ".join(f"{n:,} items of {clusters:,} images or rows" for n, clusters in counts.items())


def _run(record: dict[str, Any]) -> str:
    run = record.get("run", {})
    seconds = f"{run['seconds']:g} s" if "seconds" in run else None
    return ", ".join(str(one) for one in (run.get("date"), run.get("device"), seconds) if one)


def _code(record: dict[str, Any]) -> str:
    git = record.get("run", {}).get("git") or {}
    return f"{git['commit']}{', with changes not committed' if git.get('dirty') else ''}" if git.get("commit") else ""


FACTS: dict[str, Callable[[dict[str, Any]], str]] = {
    "Command": lambda record: str(record.get("run", {}).get("command", "")),
    "Data": _data,
    "Fingerprint": lambda record: str(record["data"]["fingerprint"]),
    "Items": _n,
    "Protocol": lambda record: f"{record['task']['name']}, version {record['task']['version']}; {_listed(record['settings'])}",
    "Fed": lambda record: _listed(record["model"]["protocol"]),
    "Model": lambda record: f"{record['model']['name']}, revision {record['model']['revision']}",
    "Run": _run,
    "Code": _code,
    "Packages": lambda record: _listed(record.get("run", {}).get("packages") or {}),
    "Warnings": lambda record: " ".join(record.get("warnings", [])),
}
CODE = frozenset({"Command", "Fingerprint"})
MADE, APART = "Made", "Made apart"  # how models were made: alike, and not


def _facts(found: Sequence[Result], names: Sequence[str]) -> tuple[Fact, ...]:
    """Return what records depend on: a text if all agree, else one each."""
    known = [(name, [tell(one.record) for one in found]) for name, tell in FACTS.items()]
    known += _made([_flat(one.meta) for one in found])
    return tuple(_fact(name, texts, names) for name, texts in known if any(texts))


def _made(metas: list[dict[str, str]]) -> list[tuple[str, list[str]]]:
    """Return how models were made: what all have in common, and what not."""
    keys = list(dict.fromkeys(key for meta in metas for key in meta))
    common = {key: metas[0][key] for key in keys if all(meta.get(key) == metas[0].get(key) for meta in metas)}
    apart = [{key: value for key, value in meta.items() if key not in common} for meta in metas]
    return [(MADE, [_listed(common)] * len(metas)), (APART, list(map(_listed, apart)))]


def _fact(name: str, texts: list[str], names: Sequence[str]) -> Fact:
    if len(set(texts)) == 1:
        return Fact(name, (("", texts[0]),), name in CODE)
    return Fact(name, tuple(zip(names, texts, strict=True)), name in CODE)


def items_file(result: Result) -> Path:
    """Return where a record's items lie."""
    return result.path.with_name(result.record["items"]["file"])


def _items(result: Result) -> tuple[tuple[tuple[str, ...], ...], str]:
    """Return the first items of a record as a table, and how many there are."""
    import pyarrow.parquet as pq

    path = items_file(result)
    if not path.is_file() or digest_file(path) != result.record["items"]["sha256"]:
        return (), LOST
    with pq.ParquetFile(path, pre_buffer=False) as file:
        total = file.metadata.num_rows
        rows = [row for batch in islice(file.iter_batches(FIRST, use_threads=False), 1) for row in batch.to_pylist()]
    if not rows:
        return (), NO_ITEMS
    shown = [name for name in rows[0] if any(row[name] is not None for row in rows)]
    lines = [tuple(_plain(row[name]) if row[name] is not None else "" for name in shown) for row in rows]
    return (tuple(shown), *lines), f"The first {len(rows)} of {total:,} values:"
