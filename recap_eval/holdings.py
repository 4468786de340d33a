"""What a leaderboards folder holds: how records come into it and leave it, and what that does to boards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recap_eval.board import board_files
from recap_eval.errors import DataError
from recap_eval.files import read_json, replacing, write_json
from recap_eval.imported import Imported, imported_path, read_imported
from recap_eval.leaderboard import Tables
from recap_eval.published import PUBLISHED
from recap_eval.results import Result, record_path
from recap_eval.table import Table

ADDED, REPLACED, SAME = "added", "replaced", "there already"
TAKE = "Look at both; to put this one in its place: --replace"
FILES = {"items": ".parquet", "answers": ".answers.jsonl"}  # parts of a record that name a file beside it, and how it ends


@dataclass(frozen=True)
class Came:
    """What came of a record.

    Args:
        path: Where it lies now.
        state: ADDED, REPLACED or SAME.
    """

    path: Path
    state: str


@dataclass(frozen=True)
class Loss:
    """What a board loses when records go.

    Args:
        board: The board.
        row: Its row, with the sweep's or group's title.
        column: Its column.
        left: How many results stay behind the figure; 0 if none does.
    """

    board: str
    row: str
    column: str
    left: int

    def __str__(self) -> str:
        stays = f"{self.left} training seed{'s' if self.left > 1 else ''} left" if self.left else "not run"
        return f"{self.board}: {self.row}; {self.column}: {stays}"


def records_in(places: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """Return the files of records among places, and sentences on JSON in folders that is something else.

    Args:
        places: Files, taken as they are, and folders, searched for records.

    Raises:
        DataError: A place is not there, or a folder holds no record.
    """
    found: list[Path] = []
    notes: list[str] = []
    for place in places:
        if not place.exists():
            raise DataError(f"{place} does not exist.", "Check the path.")
        if not place.is_dir():
            found.append(place)
            continue
        files = sorted(place.rglob("*.json"))
        others = {path: why for path in files if (why := _something_else(path))}
        notes += [f"{path} left out: {why}" for path, why in others.items()]
        own = [path for path in files if path not in others]
        if not own:
            raise DataError(f"{place} holds no result record.", "Name the folder that holds results/, or a record's JSON.")
        found += own
    return list(dict.fromkeys(found)), notes


def _something_else(path: Path) -> str:
    """Say what a JSON in a folder is that is meant as no result; what is damaged is told later, when it is read."""
    try:
        record = read_json(path)
    except DataError:
        return ""
    kind = record.get("kind") if isinstance(record, dict) else None
    if kind == PUBLISHED:
        return "published figures go into leaderboards/published/"
    return "" if isinstance(record, dict) and {"task", "metrics"} & record.keys() else "it is no result record"


def add(result: Result, root: Path, replace: bool = False, write: bool = True) -> Came:
    """Put a record that was vetted into a leaderboards folder, its files first, so that it is whole at any moment.

    Args:
        result: The record.
        root: The folder.
        replace: Whether it may take the place of another answer to the same question.
        write: Whether to do it, or only to say what would be done.

    Raises:
        DataError: Another answer to its question is there.
    """
    place = record_path(root, result.record)
    record, payloads = result.record, {}
    for part in [part for part in FILES if part in record]:
        source, name = result.path.with_name(record[part]["file"]), f"{place.stem}{FILES[part]}"
        record = record | {part: record[part] | {"file": name}}
        payloads[name] = source
    state = _state(place, record)
    if state == REPLACED and not replace:
        raise DataError(f"{result.path} gives another answer to the question of {place}.", TAKE)
    if write and state != SAME:
        for name, source in payloads.items():
            _copy(source, place.with_name(name))
        write_json(place, record)
    return Came(place, state)


def _copy(source: Path, place: Path) -> None:
    payload = source.read_bytes()
    with replacing(place) as part:
        part.write_bytes(payload)


def _state(place: Path, record: dict[str, Any]) -> str:
    if not place.is_file():
        return ADDED
    return SAME if read_json(place) == record else REPLACED


def add_imported(record: dict[str, Any], root: Path, source: Path, replace: bool = False, write: bool = True) -> Came:
    """Put a record of another program into a leaderboards folder.

    Args:
        record: The record; see imported.py.
        root: The folder.
        source: The file it comes from, for messages.
        replace: Whether it may take the place of other figures of the same model and task.
        write: Whether to do it, or only to say what would be done.

    Raises:
        DataError: Other figures of the same model and task are there.
    """
    place = imported_path(root, record["model"]["name"], record["from"]["fields"]["dataset"])
    known = read_imported(place).record if place.is_file() else None
    state = ADDED if known is None else SAME if known["metrics"] == record["metrics"] else REPLACED
    if state == REPLACED and not replace:
        raise DataError(f"{source} has other figures of this model and data set than {place}.", TAKE)
    if write and state != SAME:
        write_json(place, record)
    return Came(place, state)


def losses(gone: Sequence[Result | Imported], root: Path) -> list[Loss]:
    """Return what boards lose when records go, figure by figure."""
    tables, paths = Tables(root), {str(one.path) for one in gone}
    names = sorted(board_files(root))
    results = [loss for name in names for loss in _of_results(tables.of(name), paths)]
    others = {(one.tool, one.model, one.task) for one in gone if isinstance(one, Imported)}
    return results + [loss for name in names for loss in _of_imported(tables.of(name), others)]


def _of_results(table: Table, paths: set[str]) -> list[Loss]:
    found = []
    for part in table.parts:
        for row in part.shown:
            for number, cell in sorted(row.cells.items()):
                left = sum(str(one.path) not in paths for one in cell.results)
                if left < len(cell.results):
                    label = row.label if row.axis is None else f"p = {row.label}"
                    title = f"{part.title}, {label}" if part.title else label
                    found.append(Loss(table.board.name, title, table.board.columns[number].label, left))
    return found


def _of_imported(table: Table, gone: set[tuple[str, str, str]]) -> list[Loss]:
    return [
        Loss(table.board.name, f"{group.title}, {row.label}", column.label, 0)
        for group in table.published
        for row in group.rows
        for column in table.board.columns
        if (group.title, row.label, column.task) in gone
        and row.figure(column.task, column.metric, column.data_name) is not None
    ]


def remove(found: Result | Imported) -> list[Path]:
    """Take a record out, its description first, so that no half of it is ever read; returns the files that went."""
    files = [found.path, *(found.path.with_suffix(end) for part, end in FILES.items() if part in found.record)]
    gone = []
    for path in files:
        if path.is_file():
            path.unlink()
            gone.append(path)
    if not any(found.path.parent.iterdir()):
        found.path.parent.rmdir()
    return gone
