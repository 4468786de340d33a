"""The result record: one JSON per measurement, its per-item scores beside it.

    <root>/results/<model>-<revision>/<task>-<identity>.json      figures, errors, and all they depend on
    <root>/results/<model>-<revision>/<task>-<identity>.parquet   per-item scores, which make paired comparison possible

The identity is a digest of the task version, the settings, the protocol of the model and the data, so another question
never overwrites an answer. The JSON is written last and holds the digest of the parquet: what it describes is whole.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap_eval.artifact import SEEN, TOTAL
from recap_eval.data.items import DataId
from recap_eval.errors import DataError
from recap_eval.files import digest_file, digest_json, read_json, replacing, write_json
from recap_eval.models.base import ModelId
from recap_eval.stats import Estimate, estimate
from recap_eval.tasks.base import PERCENT, SHARE, Asked, ItemScores, Metric, Scores, Task

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION = 1
FOLDER = "results"
EXTRACTOR = "settings.extractor"


@dataclass(frozen=True)
class Result:
    """A measurement as it stands on disk.

    Args:
        path: Its file.
        record: Its content; see `new_record`.
    """

    path: Path
    record: dict[str, Any] = field(repr=False)

    @property
    def task(self) -> str:
        """Name of the task."""
        return str(self.record["task"]["name"])

    @property
    def model(self) -> str:
        """Name of the model."""
        return str(self.record["model"]["name"])

    @property
    def meta(self) -> dict[str, Any]:
        """How the model was made."""
        return dict(self.record["model"]["meta"])

    @property
    def on_the_way(self) -> bool:
        """True of a model that its training had not finished: it stands among its like alone, over samples seen."""
        total = self.meta.get(TOTAL)
        return isinstance(total, int) and int(self.meta[SEEN]) < total

    @property
    def maker(self) -> tuple[str, str]:
        """Name and revision of what is judged: of generated images, the model that drew them, and how it was sampled."""
        drawn, sampled = self.meta.get("model"), self.meta.get("sampled")
        if isinstance(drawn, dict) and sampled:
            return str(drawn["name"]), f"{drawn['revision']}, {sampled}"
        return self.model, str(self.record["model"]["revision"])

    @property
    def partial(self) -> bool:
        """True if items were left out (a limit, bad images): such a result is never ranked."""
        return bool(self.record["partial"])

    @property
    def shortfall(self) -> str:
        """What a line says of a partial result: that it is one, and what it lacks; else nothing."""
        lacks = [self.record["incomplete"]] if self.record.get("incomplete") else []
        lacks += [f"{len(self.record['skipped']):,} unreadable"] if self.record.get("skipped") else []
        return (", PARTIAL" + (f": {', '.join(lacks)}" if lacks else "")) if self.partial else ""

    def protocol(self) -> dict[str, Any]:
        """Return all that two results must agree in to be comparable, flat, by field name."""
        flat = {"task version": self.record["task"]["version"], "data": self.record["data"]["fingerprint"]}
        flat |= {f"settings.{key}": value for key, value in self.record["settings"].items()}
        kind, _, _ = str(flat.get(EXTRACTOR)).partition(":")
        if kind in ("clip", "clip-raw") and (network := flat.get(f"{EXTRACTOR}.network")):
            flat[EXTRACTOR] = f"{kind}:{str(network).partition(':')[2]}"  # older records name its folder
        return flat | {"partial": self.partial}

    def items(self, metric: str) -> ItemScores:
        """Return a metric's per-item scores.

        Raises:
            DataError: The parquet is missing or is not the one the record describes.
        """
        rows = self.rows(metric)
        columns = rows.to_pydict()
        given = columns.get("given")
        rank = rows["rank"].to_numpy() if "rank" in columns and rows["rank"].null_count == 0 else None
        return ItemScores(columns["item"], columns["cluster"], rows["value"].to_numpy(), given, rank)

    def rows(self, metric: str, coded: tuple[str, ...] = ()) -> pa.Table:
        """Return a metric's per-item scores as they are kept, with the columns of `_write_items`.

        Args:
            metric: The metric.
            coded: Columns of text to be read as dictionaries, which is faster; the others, but for the values, are not read.

        Raises:
            DataError: See `items`.
        """
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        path = self.path.with_name(self.record["items"]["file"])
        payload = path.read_bytes() if path.is_file() else b""
        if hashlib.sha256(payload).hexdigest() != self.record["items"]["sha256"]:
            raise DataError(f"{path} is missing or was changed.", "Measure again: recap-eval clip … --force")
        # small files by the thousand: threads and reading ahead cost more than they save
        file = pq.ParquetFile(pa.BufferReader(payload), read_dictionary=["metric", *coded], pre_buffer=False)
        found = file.read(columns=["metric", *coded, "value"] if coded else None, use_threads=False)
        return found.filter(pc.equal(found["metric"], metric))


def disagreement(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Return how one protocol differs from another, a phrase a field; nothing if they agree."""
    fields = sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
    return [_differs(key, ours.get(key, "absent"), theirs.get(key, "absent")) for key in fields]


def _differs(field: str, ours: object, theirs: object) -> str:
    if field == "partial":
        return "measured on part of the items only" if ours is True else "measured on all items"
    return f"{field} is {brief(ours)}, not {brief(theirs)}"


def brief(value: object) -> str:
    """Return a value in few characters: of a long one, such as a digest, its beginning."""
    text = str(value)
    return f"{text[:12]}…" if len(text) > 24 else text


def slug(name: str) -> str:
    """Return a name fit for a file."""
    return re.sub(r"[^A-Za-z0-9._=-]+", "-", name).strip("-.") or "model"


def settings_of(task: Task, model: ModelId, limit: int | None) -> dict[str, Any]:
    """Return every choice that can change a figure: the task's and those of the model's loading that are not its own.

    Preprocessing and context length belong to the model, as its weights do; precision is the user's choice.
    """
    settings = dict(task.settings) | {"precision": model.protocol.get("precision", "fp32")}
    return settings | ({"limit": limit} if limit is not None else {})


def identity(task: Asked, model: ModelId, data: DataId, settings: dict[str, Any]) -> str:
    """Return the digest of what is asked: task version, settings, data, and how the model is fed."""
    return digest_json([task.name, task.version, settings, data.name, data.split, data.fingerprint, model.protocol])


def result_path(root: Path, task: Asked, model: ModelId, what: str) -> Path:
    """Return where the answer to a question lies."""
    return root / FOLDER / result_folder(model.name, model.revision) / f"{task.name}-{what[:8]}.json"


def record_path(root: Path, record: dict[str, Any]) -> Path:
    """Return where a record belongs, by what it says of itself; see `result_path` and `identity`."""
    task, model, data = record["task"], record["model"], record["data"]
    asked = [task["name"], task["version"], record["settings"]]
    what = digest_json([*asked, data["name"], data["split"], data["fingerprint"], model["protocol"]])
    return root / FOLDER / result_folder(model["name"], model["revision"]) / f"{task['name']}-{what[:8]}.json"


def result_folder(name: str, revision: str) -> str:
    """Return the name of the folder of a model's results."""
    return f"{slug(name)}-{digest_json(revision)[:8]}"


def new_record(
    task: Asked, model: ModelId, data: DataId, settings: dict[str, Any], scores: Scores, bad: dict[str, str]
) -> dict[str, Any]:
    """Fold scores into a record: every metric that has items with n, standard error and 95 % interval."""
    metrics = {}
    for metric in task.metrics:
        if metric.name in scores.absent:
            continue
        if metric.name in scores.corpus:
            metrics[metric.name] = _folded(Estimate(scores.corpus[metric.name], None, None, None, 0, 0), metric)
            continue
        if metric.name in scores.folded:
            metrics[metric.name] = _folded(scores.folded[metric.name], metric) | _sampled(scores, metric)
            continue
        found = scores.metrics[metric.name]
        known = replace(metric, chance=scores.chance.get(metric.name, metric.chance))
        metrics[metric.name] = _folded(estimate(found.values, found.clusters, share=metric.unit == SHARE), known)
    told: dict[str, Any] = {"warnings": list(scores.warnings)} if scores.warnings else {}
    told |= {"unrated": list(scores.unrated)} if scores.unrated else {}
    told |= {"details": scores.details} if scores.details else {}
    return told | {
        "schema_version": SCHEMA_VERSION,
        "task": {"name": task.name, "version": task.version, "kind": task.kind, "primary": task.primary.name},
        "data": asdict(data),
        "model": {"name": model.name, "revision": model.revision, "protocol": model.protocol, "meta": model.meta},
        "settings": settings,
        "settings_hash": digest_json(settings)[:16],
        "metrics": metrics,
        "extra": scores.extra,
        "partial": bool(bad) or "limit" in settings,
        "skipped": [{"item": where, "reason": reason} for where, reason in sorted(bad.items())],
    }


def _sampled(scores: Scores, metric: Metric) -> dict[str, Any]:
    """Say of a figure that was made as the data went by how many items are kept, perhaps none."""
    return {"sampled": len(scores.metrics[metric.name].items) if metric.name in scores.metrics else 0}


def _folded(found: Estimate, metric: Metric) -> dict[str, Any]:
    interval = None if found.low is None else [found.low, found.high]
    facts = {"value": found.value, "se": found.se, "ci95": interval, "n": found.n, "n_clusters": found.n_clusters}
    facts |= {"chance": metric.chance, "higher_is_better": metric.higher_is_better}
    facts |= {} if metric.scale == PERCENT else {"scale": metric.scale}
    return facts if metric.unit == SHARE else facts | {"unit": metric.unit}


def n_items(cell: dict[str, Any]) -> int:
    """Return how many items of a metric are kept beside a record: all, a sample, or none of a figure of the whole."""
    return int(cell.get("sampled", cell["n"]))


def scale_of(cell: dict[str, Any]) -> float:
    """Return by what tables multiply a metric of a record."""
    return float(cell.get("scale", PERCENT))


def unit_of(cell: dict[str, Any]) -> str:
    """Return in what a metric of a record is."""
    return str(cell.get("unit", SHARE if scale_of(cell) == PERCENT else ""))


def estimate_of(cell: dict[str, Any]) -> Estimate:
    """Return a record's metric as an `Estimate`."""
    low, high = cell["ci95"] or (None, None)
    return Estimate(cell["value"], cell["se"], low, high, cell["n"], cell["n_clusters"])


def write_result(path: Path, record: dict[str, Any], scores: Scores) -> Result:
    """Write a record and its per-item scores; killed at any moment, no half of it is ever read."""
    items = path.with_suffix(".parquet")
    with replacing(items) as part:
        _write_items(part, scores)
    record = record | {"items": {"file": items.name, "sha256": digest_file(items)}}
    write_json(path, record)
    return Result(path, record)


def _write_items(path: Path, scores: Scores) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = [
        pa.table(
            {
                "metric": pa.array([name] * len(found.items)),
                "item": pa.array(found.items),
                "cluster": pa.array(found.clusters),
                "value": pa.array(found.values, pa.float64()),
                "given": pa.array(found.given or [None] * len(found.items), pa.string()),
                "rank": pa.array([None] * len(found.items) if found.rank is None else found.rank, pa.float64()),
            }
        )
        for name, found in scores.metrics.items()
    ]
    pq.write_table(
        pa.concat_tables(tables) if tables else pa.table({"metric": pa.array([], pa.string())}), path, compression="zstd"
    )


def read_result(path: Path) -> Result:
    """Read a record.

    Raises:
        DataError: It is not JSON, not a result, or of another schema.
    """
    record = read_json(path)
    if not isinstance(record, dict) or "metrics" not in record or "items" not in record:
        raise DataError(f"{path} is not a result record.", "Delete it and measure again.")
    if record.get("schema_version") != SCHEMA_VERSION:
        raise DataError(f"{path} has schema version {record.get('schema_version')}.", f"This version reads {SCHEMA_VERSION}.")
    return Result(path, record)


def read_results(root: Path) -> list[Result]:
    """Read all records under a leaderboards folder, sorted by path."""
    return [read_result(path) for path in sorted((root / FOLDER).glob("*/*.json"))]
