"""What a board asks: its columns, its axis, the published tables beside it; and which results answer a column alike."""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from recap_eval.artifact import FACTS
from recap_eval.errors import DataError, unknown_name
from recap_eval.files import canonical_json
from recap_eval.results import Result, disagreement, scale_of, unit_of
from recap_eval.tasks.base import PERCENT, SHARE

NAME = "data name"  # the field of a sentence on what was left out
FEW = 3  # results that have a line each
VARIANT = "@"  # what stands between a task's name and who measures by it, where that is not the usual one
SHIPPED = Path(__file__).parent / "boards"
EXTENDS = "extends"


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
        data_name: Name of the data, likewise; two columns of one metric are told apart by it.
        scale: By what its figures are multiplied; measured ones say it themselves.
        unit: In what they are, likewise.
        higher_is_better: Their direction, likewise.
    """

    task: str
    version: int
    metric: str
    label: str
    settings: dict[str, Any] = field(default_factory=dict)
    data: str = ""
    data_name: str = ""
    scale: float = PERCENT
    unit: str = SHARE
    higher_is_better: bool = True


@dataclass(frozen=True)
class Mean:
    """A mean over columns, for published rows, which have nothing else in common.

    Args:
        label: What it is called.
        over: Labels of its columns.
    """

    label: str
    over: tuple[str, ...]


@dataclass(frozen=True)
class Proxy:
    """A measure of captions that is held against what training on them gained, world by world.

    Args:
        task: Name of the task, without who measures.
        version: Its version.
        metric: Which of its metrics.
        label: What tables call it.
        of: The column of captions that is measured.
        minus: The column whose figure is taken off; "" for none.
    """

    task: str
    version: int
    metric: str
    label: str
    of: str
    minus: str = ""


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
        measure: The command that fills it, where it is not made of its tasks.
        means: Means over columns that reports derive from published rows.
        trade_off: Labels of a column and of a mean, which are drawn against each other along the axis.
        by_data: Whether each data set has a section of its own, with models side by side and questions below each other.
        where: Facts of a model's making that it must have to stand on the board, by name.
        facts: What the makers of its models must have said of their data (`recap-train --fact`), and of no other board's.
        proxies: Measures of captions of which these facts were said, which are held against the gains of training on them.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    note: str = ""
    axis: str = ""
    axis_label: str = ""
    baseline: float = 1.0
    published: tuple[str, ...] = ()
    measure: str = ""
    means: tuple[Mean, ...] = ()
    trade_off: tuple[str, ...] = ()
    by_data: bool = False
    where: dict[str, Any] = field(default_factory=dict)
    facts: tuple[str, ...] = ()
    proxies: tuple[Proxy, ...] = ()


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
        record = _read(files, name)
        columns = tuple(Column(**column) for column in record.pop("columns"))
        published = record.pop("published", [])
        if not isinstance(published, list):
            raise TypeError("published is a list")
        means = tuple(_mean(mean, columns) for mean in record.pop("means", []))
        trade_off = _trade_off(record.pop("trade_off", []), columns, means)
        facts = tuple(map(str, record.pop("facts", [])))
        rest: dict[str, Any] = {"published": tuple(published), "means": means, "trade_off": trade_off, "facts": facts}
        rest["proxies"] = tuple(Proxy(**proxy) for proxy in record.pop("proxies", []))
        return Board(name=name, columns=columns, **rest, **record)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, TypeError, KeyError) as error:
        raise DataError(f"{files[name]} is not a board ({error}).", "Model it on the shipped boards/clip.toml.") from error


def _read(files: dict[str, Path], name: str) -> dict[str, Any]:
    """Return a board's record; of one that extends another, that one's with what this one says put in its place."""
    record = tomllib.loads(files[name].read_text(encoding="utf-8"))
    base = record.pop(EXTENDS, None)
    if base is None:
        return record
    if base not in files:
        raise TypeError(f"it extends {base!r}, which is no board")
    other = tomllib.loads(files[base].read_text(encoding="utf-8"))
    if EXTENDS in other:
        raise TypeError(f"it extends {base!r}, which extends another")
    return other | record


def _mean(record: dict[str, Any], columns: tuple[Column, ...]) -> Mean:
    known = {column.label for column in columns}
    if strange := [label for label in record["over"] if label not in known]:
        raise TypeError(f"means: no column is called {strange[0]!r}")
    return Mean(str(record["label"]), tuple(record["over"]))


def _trade_off(labels: list[str], columns: tuple[Column, ...], means: tuple[Mean, ...]) -> tuple[str, ...]:
    known = [{column.label for column in columns}, {mean.label for mean in means}]
    if labels and (len(labels) != len(known) or any(label not in names for label, names in zip(labels, known, strict=False))):
        raise TypeError(f"trade_off: {labels} are no column and mean of it")
    return tuple(labels)


def belongs(board: Board, meta: dict[str, Any]) -> bool:
    """Return whether a board is about a model: of its data that was said which the board asks for, and no more."""
    said = set(meta.get(FACTS) or ()) == set(board.facts)
    return said and all(meta.get(name) == value for name, value in board.where.items())


def asked(board: Board, number: int, results: list[Result]) -> list[Result]:
    """Return the results that a column asks for: those of its task that have its metric, and belong to no column beside it.

    A column pins its data by name where another one asks the same of other data.
    """
    column = board.columns[number]
    rest = board.columns[:number] + board.columns[number + 1 :]
    others = {other.data_name for other in rest if (other.task, other.metric) == (column.task, column.metric)}
    fitting = [found for found in results if found.task == column.task and column.metric in found.record["metrics"]]
    return [found for found in fitting if found.record["data"]["name"] not in others - {"", column.data_name}]


def with_variants(board: Board, results: list[Result]) -> Board:
    """Return a board with a column more for each variant TASK@WHO of its tasks that was measured, beside that of TASK."""
    measured = {(found.task, metric) for found in results for metric in found.record["metrics"]}
    columns: list[Column] = []
    for column in board.columns:
        prefix = f"{column.task}{VARIANT}"
        tasks = sorted(task for task, metric in measured if task.startswith(prefix) and metric == column.metric)
        others = [replace(column, task=task, label=f"{column.label} by {task.removeprefix(prefix)}") for task in tasks]
        columns += [column, *others]
    return replace(board, columns=tuple(columns))


def as_measured(column: Column, results: list[Result]) -> Column:
    """Return a column with scale, unit and direction as its results have them."""
    if not results:
        return column
    cell = results[0].record["metrics"][column.metric]
    return replace(column, scale=scale_of(cell), unit=unit_of(cell), higher_is_better=bool(cell["higher_is_better"]))


def comparable(results: list[Result], column: Column, whole: bool = True) -> tuple[list[Result], list[str]]:
    """Split results into those that answer a column's question in one way, and sentences on the others.

    The way is what the column pins; of what it leaves open, the commonest among results of the column's version.

    Args:
        results: Results of the column's task.
        column: The column.
        whole: Whether results of a part of the items are left out.
    """
    results, told = _foreign(results, column)
    foreign = told if whole else []  # once is enough
    pins = _pins(column) | ({"partial": False} if whole else {})
    fitting = [found for found in results if not _off(found, pins)]
    if not fitting:
        return [], [*(_why_not(found, pins) for found in results), *foreign]
    ways = Counter(canonical_json(found.protocol()) for found in fitting)
    common: dict[str, Any] = json.loads(max(ways, key=lambda way: (ways[way], way)))
    kept = [found for found in fitting if found.protocol() == common]
    named = {key: value for key, value in pins.items() if key == NAME}
    paths = {found.path for found in kept}
    return kept, [*(_why_not(found, common | named) for found in results if found.path not in paths), *foreign]


def _foreign(results: list[Result], column: Column) -> tuple[list[Result], list[str]]:
    """Set aside results of data that a column does not name, where there are many: other boards' results need no line each."""
    names = [found.record["data"]["name"] for found in results]
    others = [name for name in names if column.data_name and name != column.data_name]
    if len(others) <= FEW:
        return results, []
    told = f"{len(others)} results on {column.task}: of {', '.join(sorted(set(others)))}, for which this board does not ask"
    return [found for found, name in zip(results, names, strict=True) if name not in others], [told]


def _pins(column: Column) -> dict[str, Any]:
    pins: dict[str, Any] = {"task version": column.version}
    pins |= {f"settings.{key}": value for key, value in column.settings.items()}
    pins |= {"data": column.data} if column.data else {}
    return pins | ({NAME: column.data_name} if column.data_name else {})


def _off(result: Result, pins: dict[str, Any]) -> list[str]:
    """Return how a result differs from what is pinned; of the fingerprint the beginning is enough."""
    known = result.protocol() | {NAME: result.record["data"]["name"]}
    ours = {key: value for key, value in known.items() if key in pins}
    if "data" in pins and ours["data"].startswith(pins["data"]):
        ours["data"] = pins["data"]
    return disagreement(ours, pins)


def _why_not(result: Result, common: dict[str, Any]) -> str:
    return f"{result.model} on {result.task}: {', '.join(_off(result, common) or disagreement(result.protocol(), common))}"
