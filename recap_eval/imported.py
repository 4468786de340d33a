"""Figures that another program measured: kept as records of their own kind, shown beside measured rows and never among them.

    <root>/imported/<model>-<digest>/<data set>.json

    {"schema_version": 1, "kind": "imported",
     "from": {"tool": "clip_benchmark", "file": …, "sha256": …, "fields": {what the tool told of the run}},
     "task": {"name": …, "version": …}, "model": {"name": …},
     "metrics": {name: {"value": …, "n": images or null, "ci95": [low, high] or null}}}

Tasks and metrics have our names; values are shares in [0, 1]. No item and no fingerprint comes with them, so nothing of ours
can be paired with them, and no rank or difference holds them.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recap_eval.board import Board
from recap_eval.errors import DataError
from recap_eval.files import digest_json, read_json
from recap_eval.published import IMPORTED, PublishedRow, PublishedTable
from recap_eval.results import slug

FOLDER = "imported"
SCHEMA_VERSION = 1
AGAIN = "Import it again: recap-eval leaderboard import FILE --replace"


@dataclass(frozen=True)
class Tool:
    """A program whose figures are imported.

    Args:
        name: Its name.
        url: Where it is.
        notes: How its way of measuring differs from ours, or is not known, a sentence each.
    """

    name: str
    url: str
    notes: tuple[str, ...]


TOOLS = {
    "clip_benchmark": Tool(
        "clip_benchmark",
        "https://github.com/LAION-AI/CLIP_benchmark",
        (
            "Its files do not tell precision, weights' digest, split or data: nothing here is known to be of our protocol.",
            "Intervals are Wilson's over the images of the official set, where each image is right or wrong and the figure "
            "is a whole number of them; other figures have none.",
            "Its default precision on a GPU is mixed, and a tie counts by the order in which scores are sorted.",
        ),
    )
}


@dataclass(frozen=True)
class Imported:
    """One record of another program.

    Args:
        path: Its file.
        record: Its content.
    """

    path: Path
    record: dict[str, Any] = field(repr=False)

    @property
    def task(self) -> str:
        """Name of our task that it stands for."""
        return str(self.record["task"]["name"])

    @property
    def model(self) -> str:
        """Name of the model."""
        return str(self.record["model"]["name"])

    @property
    def tool(self) -> str:
        """Name of the program."""
        return str(self.record["from"]["tool"])


def imported_path(root: Path, model: str, dataset: str) -> Path:
    """Return where a record of another program lies: by model, and by what that program calls the data set."""
    return root / FOLDER / f"{slug(model)}-{digest_json(model)[:8]}" / f"{slug(dataset)}.json"


def read_imported(path: Path) -> Imported:
    """Read a record of another program.

    Raises:
        DataError: It is none, or damaged; the message names the field.
    """
    record = read_json(path)
    if not isinstance(record, dict) or record.get("kind") != IMPORTED:
        raise DataError(f"{path} is not an imported record.", AGAIN)
    if record.get("schema_version") != SCHEMA_VERSION:
        raise DataError(f"{path} has schema version {record.get('schema_version')}.", f"This version reads {SCHEMA_VERSION}.")
    try:
        tool, _, _ = record["from"]["tool"], record["model"]["name"], (record["task"]["name"], record["task"]["version"])
        figures = {name: (cell["value"], cell["ci95"]) for name, cell in record["metrics"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is no whole record ({error}).", AGAIN) from error
    if tool not in TOOLS:
        raise DataError(f"{path} is of {tool!r}, which is not known.", f"Known: {', '.join(TOOLS)}.")
    for name, (value, interval) in figures.items():
        known = [value, *(interval or [])]
        if not all(isinstance(one, int | float) and math.isfinite(one) and 0 <= one <= 1 for one in known):
            raise DataError(f"{path}: metrics.{name} is {value}, interval {interval}: not shares between 0 and 1.", AGAIN)
    return Imported(path, record)


def read_all(root: Path) -> list[Imported]:
    """Read all records of other programs under a leaderboards folder, sorted by path."""
    return [read_imported(path) for path in sorted((root / FOLDER).glob("*/*.json"))]


def imported_tables(board: Board, root: Path) -> tuple[list[PublishedTable], list[str]]:
    """Return what a board shows of other programs, a table a program; and sentences on what has another task version."""
    rows: dict[str, dict[str, list[Imported]]] = defaultdict(lambda: defaultdict(list))
    asked = {(column.task, column.metric): column.version for column in board.columns}
    left_out = []
    for found in read_all(root):
        versions = {asked[found.task, name] for name in found.record["metrics"] if (found.task, name) in asked}
        if versions == {found.record["task"]["version"]}:
            rows[found.tool][found.model].append(found)
        elif versions:
            told = found.record["task"]["version"]
            left_out.append(f"{found.model} on {found.task}, from {found.tool}: task version is {told}, not {max(versions)}")
    return [_table(TOOLS[tool], models) for tool, models in sorted(rows.items())], left_out


def _table(tool: Tool, models: dict[str, list[Imported]]) -> PublishedTable:
    rows = tuple(_row(model, found) for model, found in sorted(models.items()))
    return PublishedTable(tool.name, tool.url, "", "", tool.notes, rows, kind=IMPORTED)


def _row(model: str, found: list[Imported]) -> PublishedRow:
    cells = {(one.task, name): cell for one in found for name, cell in one.record["metrics"].items()}
    intervals = {key: tuple(cell["ci95"]) for key, cell in cells.items() if cell["ci95"]}
    return PublishedRow(model, {}, {key: float(cell["value"]) for key, cell in cells.items()}, intervals)
