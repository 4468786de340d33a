"""Whether a result record is what it says: its form, the question it answers, its files, and that its figures follow from them.

A record comes by mail or pull request as well as from a run of ours, so nothing of it is taken on trust that can be found out.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap_eval.board import VARIANT
from recap_eval.errors import DataError, nearest
from recap_eval.files import digest_json
from recap_eval.results import Result, n_items, read_result, unit_of
from recap_eval.stats import estimate
from recap_eval.tasks.base import SHARE
from recap_eval.tasks.captioner import TASKS
from recap_eval.tasks.captions import FAMILIES, TWO_WAY
from recap_eval.tasks.captions import KIND as CAPTIONS
from recap_eval.tasks.catalog import build_task, load_catalog
from recap_eval.tasks.generation import known_metrics

if TYPE_CHECKING:
    import pyarrow as pa

FIELDS: dict[str, type | tuple[type, ...]] = {
    "task.name": str, "task.version": int, "task.kind": str, "task.primary": str,
    "data.name": str, "data.split": str, "data.fingerprint": str, "data.reference": str,
    "model.name": str, "model.revision": str, "model.protocol": dict, "model.meta": dict,
    "settings": dict, "settings_hash": str, "metrics": dict, "partial": bool, "skipped": list, "run": dict,
    "items.file": str, "items.sha256": str,
}  # fmt: skip
CELL: dict[str, type | tuple[type, ...]] = {
    "value": (int, float), "se": (int, float, type(None)), "ci95": (list, type(None)), "n": int, "n_clusters": int,
    "chance": (int, float, type(None)), "higher_is_better": bool,
}  # fmt: skip
OTHERS = {"judge-check": 1}  # tasks that no table holds, and their versions
EXACT = 1e-9  # relative: sums of the same scores in another order
AGAIN = "Measure again, or take the record with its files from where it was made."
ABSENT = object()


def known_versions(root: Path | None = None) -> dict[str, int]:
    """Return the version of every task by name; those of a data root's own tasks.toml, too."""
    tables = (known_metrics().values(), FAMILIES.values(), TWO_WAY.values(), TASKS.values())
    found = OTHERS | {one.name: one.version for table in tables for one in table}
    return found | {name: row.version for name, row in load_catalog(root).items()}


def vet(path: Path, root: Path | None = None) -> Result:
    """Read a record and check everything that can be checked without its model and data.

    Args:
        path: Its file.
        root: Data root whose own tasks count, too.

    Raises:
        DataError: What is wrong with it, with the file and the field.
    """
    result = read_result(path)
    record = result.record
    _check_fields(path, record)
    _check_finite(path, record)
    _check_task(path, record, root)
    for name, cell in record["metrics"].items():
        _check_cell(path, f"metrics.{name}", cell)
    if digest_json(record["settings"])[:16] != record["settings_hash"]:
        raise DataError(f"{path}: settings_hash is not that of the settings: one of the two was changed.", AGAIN)
    for part in ("items", "answers"):
        if part in record:
            _check_file(path, part, record[part])
    _check_items(result)
    return result


def _at(record: Any, place: str) -> Any:
    for word in place.split("."):
        record = record.get(word, ABSENT) if isinstance(record, dict) else ABSENT
    return record


def _check_fields(path: Path, record: dict[str, Any]) -> None:
    wanted = {place: (_at(record, place), kinds) for place, kinds in FIELDS.items()}
    if isinstance(record["metrics"], dict):
        for name, cell in record["metrics"].items():
            metric = cell if isinstance(cell, dict) else {}
            wanted |= {f"metrics.{name}.{place}": (metric.get(place, ABSENT), kinds) for place, kinds in CELL.items()}
    for place, (found, kinds) in wanted.items():
        if found is ABSENT:
            raise DataError(f"{path} is no whole record: {place} is missing.", AGAIN)
        if not isinstance(found, kinds) or (isinstance(found, bool) and kinds is not bool):
            raise DataError(f"{path}: {place} is {str(found)[:40]!r}, which it cannot be.", AGAIN)
    void = record["task"]["kind"] == CAPTIONS and record["metrics"]  # captions that claim nothing are neither true nor false
    if record["task"]["primary"] not in record["metrics"] and not void:
        raise DataError(f"{path}: the primary metric {record['task']['primary']!r} has no figure.", AGAIN)


def _check_finite(path: Path, record: object) -> None:
    if place := next(_not_finite(record), None):
        raise DataError(f"{path}: {place} is no finite number.", "A figure that is not a number ranks nowhere: measure again.")


def _not_finite(value: object, place: str = "") -> Iterator[str]:
    """Yield the places of numbers that are not finite: Python writes them into JSON, which has none."""
    if isinstance(value, float) and not math.isfinite(value):
        yield place
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from _not_finite(one, f"{place}.{key}" if place else str(key))


def _check_task(path: Path, record: dict[str, Any], root: Path | None) -> None:
    name, version, known = record["task"]["name"], record["task"]["version"], known_versions(root)
    base = name if name in known else name.partition(VARIANT)[0]
    if base not in known:
        close = nearest(base, known)
        hint = f"Did it mean {close!r}? All names: recap-eval list tasks" if close else "All names: recap-eval list tasks"
        raise DataError(f"{path}: no task is called {base!r}.", f"{hint}; own ones need their data root: --data DIR")
    if Path(name).name != name:
        raise DataError(
            f"{path}: {name!r} is no name of a task.", "A task's name holds no slash: it becomes the name of a file."
        )
    if version != known[base]:
        what = f"{path} is of version {version} of {base}, and this program knows version {known[base]}."
        raise DataError(what, "Figures of two versions do not compare: measure again, or use the program that measured it.")
    if rows := {key: row for key, row in load_catalog(root).items() if key == base}:
        metrics = {metric.name for metric in build_task(base, rows[base]).metrics}
        if strange := sorted(record["metrics"].keys() - metrics):
            raise DataError(f"{path}: {base} has no metric {strange[0]!r}.", f"It has: {', '.join(sorted(metrics))}.")


def _check_cell(path: Path, place: str, cell: dict[str, Any]) -> None:
    value, interval = cell["value"], cell["ci95"]
    if interval is not None and not (len(interval) == 2 and interval[0] <= value <= interval[1]):
        raise DataError(f"{path}: {place}.value is {value} and its interval {interval}, which does not hold it.", AGAIN)
    if unit_of(cell) == SHARE and not -EXACT <= value <= 1 + EXACT:
        raise DataError(f"{path}: {place}.value is {value}, which is no share between 0 and 1.", AGAIN)
    if not 0 <= cell["n_clusters"] <= cell["n"]:
        raise DataError(f"{path}: {place} has {cell['n_clusters']} clusters of {cell['n']} items.", AGAIN)


def _check_file(path: Path, part: str, told: Any) -> None:
    """Check a file beside a record: it is named without a folder, and is what the record says."""
    name, digest = str(_at(told, "file")), str(_at(told, "sha256"))
    if Path(name).name != name:
        raise DataError(f"{path}: {part}.file is {name!r}, not the name of a file beside it.", AGAIN)
    place = path.with_name(name)
    if not place.is_file():
        raise DataError(f"{place} is missing, which {path.name} names.", AGAIN)
    if hashlib.sha256(place.read_bytes()).hexdigest() != digest:
        raise DataError(f"{place} is not the file that {path.name} describes: its sha256 differs.", AGAIN)


def _check_items(result: Result) -> None:
    """Check that figures follow from the scores beside them."""
    import pyarrow as pa

    kinds = pa.schema([("item", pa.string()), ("cluster", pa.string()), ("value", pa.float64())])
    for name, cell in result.record["metrics"].items():
        if n_items(cell) == 0:
            continue
        try:
            rows = result.rows(name).select(kinds.names).cast(kinds)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, KeyError) as error:
            file = result.path.with_name(result.record["items"]["file"])
            raise DataError(f"{file} holds no scores ({str(error).splitlines()[0][:80]}).", AGAIN) from error
        if len(rows) != n_items(cell):
            what = f"{result.path}: metrics.{name} is of {n_items(cell)} items, and {len(rows)} scores lie beside it."
            raise DataError(what, AGAIN)
        if "sampled" not in cell:
            _check_figure(result.path, name, cell, rows)


def _check_figure(path: Path, name: str, cell: dict[str, Any], rows: pa.Table) -> None:
    values = rows["value"].to_numpy()
    if not all(map(math.isfinite, values)):
        raise DataError(f"{path}: a score of {name} is no finite number.", AGAIN)
    found = estimate(values, rows["cluster"].to_pylist(), share=unit_of(cell) == SHARE)
    told = {"value": found.value, "n_clusters": found.n_clusters}
    told |= {} if found.se is None or cell["se"] is None else {"se": found.se}
    for place, right in told.items():
        if not math.isclose(cell[place], right, rel_tol=EXACT, abs_tol=EXACT):
            raise DataError(f"{path}: metrics.{name}.{place} is {cell[place]}, and its scores make {right}.", AGAIN)
