"""What a board asks: its columns, its axis, the published tables beside it; and which results answer a column alike."""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recap_eval.errors import DataError, unknown_name
from recap_eval.files import canonical_json
from recap_eval.results import Result, disagreement

SHIPPED = Path(__file__).parent / "boards"


@dataclass(frozen=True)
class Column:
    """One question of a board.

    Args:
        task: Name of the task.
        version: Its version.
        metric: Which of its metrics.
        label: Header of the column.
        settings: Settings that a result must have to stand in it; without any, the commonest settings count.
        data: Fingerprint of the data, or the beginning of it, likewise.
    """

    task: str
    version: int
    metric: str
    label: str
    settings: dict[str, Any] = field(default_factory=dict)
    data: str = ""


@dataclass(frozen=True)
class Board:
    """What a board shows; see boards/clip.toml.

    Args:
        name: Its name, that of its file.
        title: Its title.
        columns: Its questions.
        note: What a reader must know first.
        axis: Fact of a model's making along which rows are compared, such as "p_original"; empty for a plain list of models.
        axis_label: What the axis means, for plots.
        baseline: Place on the axis that differences are to.
        published: Published tables beside the measured rows, each "file:table"; see published.py.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    note: str = ""
    axis: str = ""
    axis_label: str = ""
    baseline: float = 1.0
    published: tuple[str, ...] = ()


def board_files(leaderboards: Path) -> dict[str, Path]:
    """Return board definitions by name: the shipped ones, and those beside the results (which come first)."""
    found = {path.stem: path for path in sorted(SHIPPED.glob("*.toml"))}
    return found | {path.stem: path for path in sorted(leaderboards.glob("*.toml"))}


def load_board(name: str, leaderboards: Path) -> Board:
    """Read a board's definition.

    Raises:
        UserError: No board of that name.
        DataError: Its file is not a board.
    """
    files = board_files(leaderboards)
    if name not in files:
        raise unknown_name("board", name, files, f"{SHIPPED.name}/*.toml and {leaderboards}/*.toml")
    try:
        record = tomllib.loads(files[name].read_text(encoding="utf-8"))
        columns = tuple(Column(**column) for column in record.pop("columns"))
        published = record.pop("published", [])
        if not isinstance(published, list):
            raise TypeError("published is a list")
        return Board(name=name, columns=columns, published=tuple(published), **record)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, TypeError, KeyError) as error:
        raise DataError(f"{files[name]} is not a board ({error}).", "Model it on the shipped boards/clip.toml.") from error


def comparable(results: list[Result], column: Column) -> tuple[list[Result], list[str]]:
    """Split results into those that answer a column's question in one way, and sentences on the others.

    The way is what the column pins; of what it leaves open, the commonest among whole results of the column's version.
    """
    pins = _pins(column)
    fitting = [found for found in results if not _off(found, pins)]
    if not fitting:
        return [], [_why_not(found, pins) for found in results]
    ways = Counter(canonical_json(found.protocol()) for found in fitting)
    common: dict[str, Any] = json.loads(max(ways, key=lambda way: (ways[way], way)))
    kept = [found for found in fitting if found.protocol() == common]
    return kept, [_why_not(found, common) for found in results if found.protocol() != common]


def _pins(column: Column) -> dict[str, Any]:
    pins = {"task version": column.version, "partial": False}
    pins |= {f"settings.{key}": value for key, value in column.settings.items()}
    return pins | ({"data": column.data} if column.data else {})


def _off(result: Result, pins: dict[str, Any]) -> list[str]:
    """Return how a result differs from what is pinned; of the fingerprint the beginning is enough."""
    ours = {key: value for key, value in result.protocol().items() if key in pins}
    if "data" in pins and ours["data"].startswith(pins["data"]):
        ours["data"] = pins["data"]
    return disagreement(ours, pins)


def _why_not(result: Result, common: dict[str, Any]) -> str:
    return f"{result.model} on {result.task}: {', '.join(_off(result, common) or disagreement(result.protocol(), common))}"
