"""Published figures: what a paper printed, with its source. They stand beside measured rows and never among them.

One JSON a source, shipped in boards/published/ or put into leaderboards/published/, which comes first by file name:

    {"schema_version": 1, "kind": "published", "title": …, "url": "https://…", "version": "v2", "notes": [sentence, …],
     "tables": {name: {"caption": "Table 3", "notes": [sentence, …], "not_shares": [metric, …],
                       "prose": [{"says": sentence of the text, "best": 0.5, "of": [[task, metric], …]}],
                       "rows": [{"label": …, "meta": {"p_original": 0.8, …}, "values": {task: {metric: value}}}]}}}

Tasks and metrics have our names; of a task that columns ask of several data sets, "task:data". Values are shares in [0, 1] and
cosines likewise, but for the metrics that a table lists as `not_shares`: those stand as printed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recap_eval.errors import DataError, unknown_name
from recap_eval.files import read_json

SHIPPED = Path(__file__).parent / "boards" / "published"
FOLDER = "published"
SCHEMA_VERSION = 1
HINT = "Model it on the shipped boards/published/recap-datacomp-1b.json."


@dataclass(frozen=True)
class PublishedRow:
    """One row as printed.

    Args:
        label: Its name.
        meta: What is known of the model, with the keys of a result's meta where they mean the same.
        values: Figures by (task, metric).
    """

    label: str
    meta: dict[str, Any]
    values: dict[tuple[str, str], float]

    def figure(self, task: str, metric: str, data: str = "") -> float | None:
        """Return a figure, of the data that a column names if it does, or None."""
        return self.values.get((f"{task}:{data}" if data else task, metric))

    def place(self, axis: str) -> float | None:
        """Return the row's place on a board's axis, or None."""
        found = self.meta.get(axis)
        return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else None


@dataclass(frozen=True)
class Prose:
    """What a paper's text says of a table, so that reports can hold it against the table.

    Args:
        says: The statement, as a sentence with its place.
        best: Where on the axis it puts the best.
        of: Of which figures, as (task, metric).
    """

    says: str
    best: float
    of: frozenset[tuple[str, str]]


@dataclass(frozen=True)
class PublishedTable:
    """One table of a source.

    Args:
        title: Title of the source.
        url: Where it is.
        version: Which version of it.
        caption: Name of the table there, such as "Table 3".
        notes: What a reader must know: of the source, then of the table.
        rows: Its rows, in the order printed.
        prose: What the source's text says of it.
    """

    title: str
    url: str
    version: str
    caption: str
    notes: tuple[str, ...]
    rows: tuple[PublishedRow, ...] = field(repr=False)
    prose: tuple[Prose, ...] = ()

    @property
    def place(self) -> str:
        """Version and table, such as "v2 Table 3"."""
        return f"{self.version} {self.caption}".strip()


def published_files(leaderboards: Path) -> dict[str, Path]:
    """Return sources by name: the shipped ones, and those of a leaderboards folder (which come first)."""
    found = {path.stem: path for path in sorted(SHIPPED.glob("*.json"))}
    return found | {path.stem: path for path in sorted((leaderboards / FOLDER).glob("*.json"))}


def load_published(reference: str, leaderboards: Path) -> PublishedTable:
    """Read a published table by "file:table".

    Raises:
        DataError: No such file or table, or it is damaged; the message names what is wrong in it.
    """
    name, _, table = reference.partition(":")
    files = published_files(leaderboards)
    if name not in files:
        raise _unknown("published source", name, files, f"{SHIPPED.name}/*.json and {leaderboards / FOLDER}/*.json")
    tables = read_source(files[name])
    if table not in tables:
        raise _unknown("published table", reference, {f"{name}:{key}" for key in tables}, str(files[name]))
    return tables[table]


def _unknown(kind: str, name: str, known: dict[str, Path] | set[str], see: str) -> DataError:
    wrong = unknown_name(kind, name, sorted(known), see)
    return DataError(wrong.what, wrong.hint)


def read_source(path: Path) -> dict[str, PublishedTable]:
    """Read all tables of a source.

    Raises:
        DataError: It is not a source of published figures; the message says where.
    """
    record = read_json(path)
    if not isinstance(record, dict) or record.get("kind") != "published":
        raise DataError(f"{path} does not hold published figures.", HINT)
    if record.get("schema_version") != SCHEMA_VERSION:
        raise DataError(f"{path} has schema version {record.get('schema_version')}.", f"This version reads {SCHEMA_VERSION}.")
    if not str(record.get("url")).startswith("https://"):
        raise DataError(f"{path}: url is {record.get('url')!r}, not an https address.", HINT)
    try:
        return {name: _table(record, table) for name, table in record["tables"].items()}
    except KeyError as error:
        raise DataError(f"{path}: {error} is missing.", HINT) from error
    except (AttributeError, TypeError, ValueError) as error:
        raise DataError(f"{path}: {error}.", HINT) from error


def _table(record: dict[str, Any], table: dict[str, Any]) -> PublishedTable:
    free = frozenset(table.get("not_shares", ()))
    rows = tuple(_row(row, table["caption"], free) for row in table["rows"])
    notes = (*_sentences(record), *_sentences(table))
    prose = tuple(_prose(said) for said in table.get("prose", ()))
    return PublishedTable(record["title"], record["url"], record.get("version", ""), table["caption"], notes, rows, prose)


def _prose(said: dict[str, Any]) -> Prose:
    return Prose(str(said["says"]), float(said["best"]), frozenset((task, metric) for task, metric in said["of"]))


def _sentences(record: dict[str, Any]) -> list[str]:
    notes = record.get("notes", [])
    if not isinstance(notes, list):
        raise TypeError("notes is a list of sentences")
    return [str(note) for note in notes]


def _row(row: dict[str, Any], caption: str, free: frozenset[str]) -> PublishedRow:
    values = {(task, metric): value for task, figures in row["values"].items() for metric, value in figures.items()}
    for (task, metric), value in values.items():
        where = f"{caption}, {row['label']}, {task}/{metric}"
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            raise ValueError(f"{where} is {value!r}, not a number")
        if metric not in free and not 0 <= value <= 1:
            raise ValueError(f"{where} is {value}: not a share in [0, 1], nor listed in not_shares")
    return PublishedRow(str(row["label"]), dict(row.get("meta", {})), values)
