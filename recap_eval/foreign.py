"""What clip_benchmark writes (v1.6: a JSON a run, and the CSV of its `build`) as records of ours of their own kind."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recap_eval.errors import DataError, UserError, unknown_name
from recap_eval.files import digest_file, read_json
from recap_eval.imported import SCHEMA_VERSION
from recap_eval.published import IMPORTED
from recap_eval.stats import wilson
from recap_eval.tasks.catalog import Row, build_task, load_catalog

TOOL = "clip_benchmark"
DATASETS = {  # of clip_benchmark, to our tasks; "wds/NAME" is the same images as NAME
    "imagenet1k": "imagenet1k", "imagenetv2": "imagenet-v2", "imagenet-a": "imagenet-a", "imagenet-r": "imagenet-r",
    "imagenet_sketch": "imagenet-sketch", "objectnet": "objectnet", "mscoco_captions": "coco-retrieval",
    "flickr30k": "flickr30k-retrieval", "winoground": "winoground", "vtab/clevr_count_all": "wds-clevr-count",
    "vtab/clevr_closest_object_distance": "wds-clevr-distance",
    "vtab/kitti_closest_vehicle_distance": "wds-kitti-distance",
}  # fmt: skip
WEB = "wds-"  # before the names of tasks of ours that read clip_benchmark's own web datasets
CREPE, CREPE_TASK = "sugar_crepe/", "sugarcrepe"
METRICS: dict[str, dict[str, str]] = {  # their metric to ours, by their task
    "zeroshot_classification": {"acc1": "acc1", "acc5": "acc5", "mean_per_class_recall": "mpcr"},
    "zeroshot_retrieval": {
        f"{theirs}_retrieval_recall@{k}": f"{ours}_r{k}"
        for theirs, ours in (("image", "t2i"), ("text", "i2t"))
        for k in (1, 5, 10)
    },
    "image_caption_selection": {"acc": "group", "text_acc": "text", "image_acc": "image"},
}
BINARY = ("acc1", "acc5", "i2t_r1", "i2t_r5", "i2t_r10")  # an image is right or wrong, and images are independent
FIELDS = ("dataset", "model", "pretrained", "task")
OTHERS = ("language", "model_fullname", "classnames", "templates")  # columns of a CSV that are no figures either
NEAR = 0.02  # how far from a whole number of images a share may be: theirs is summed in single precision
HINT = "clip_benchmark eval writes one JSON a run; clip_benchmark build writes the CSV."


@dataclass(frozen=True)
class Run:
    """One run of clip_benchmark, as it told it.

    Args:
        path: The file it stands in.
        line: Its line in a CSV; 0 in a JSON.
        facts: Its fields besides figures.
        metrics: Its figures, as they stand there.
    """

    path: Path
    line: int
    facts: dict[str, str]
    metrics: dict[str, Any]

    @property
    def where(self) -> str:
        """Its file, and line in a table."""
        return f"{self.path}, line {self.line}" if self.line else str(self.path)

    @property
    def model(self) -> str:
        """The model's name as ours are; of a checkpoint's path only the file's, since paths are a person's own."""
        pretrained = self.facts["pretrained"]
        return "/".join(part for part in (self.facts["model"], Path(pretrained).name) if part)


def read_runs(path: Path) -> list[Run]:
    """Read the runs of a file.

    Raises:
        UserError: It is neither a JSON nor a CSV by its name.
        DataError: It is missing, or not what clip_benchmark writes.
    """
    if path.suffix.lower() not in READERS:
        raise UserError(f"{path} is neither .json nor .csv.", HINT)
    if not path.is_file():
        raise DataError(f"{path} does not exist.", "Check the path.")
    runs = list(READERS[path.suffix.lower()](path))
    if not runs:
        raise DataError(f"{path} holds no run.", HINT)
    return runs


def _read_json(path: Path) -> Iterator[Run]:
    record = read_json(path)
    if not isinstance(record, dict) or not isinstance(record.get("metrics"), dict):
        raise DataError(f"{path} is not what clip_benchmark writes: it has no metrics.", HINT)
    yield _run(path, 0, record, record["metrics"])


def _read_csv(path: Path) -> Iterator[Run]:
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = csv.DictReader(stream)
            for row in rows:
                figures = {name: value for name, value in row.items() if value and name not in (*FIELDS, *OTHERS)}
                yield _run(path, rows.line_num, row, figures)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a CSV ({error}).", HINT) from error


READERS: dict[str, Callable[[Path], Iterator[Run]]] = {".json": _read_json, ".csv": _read_csv}


def _run(path: Path, line: int, record: dict[str, Any], metrics: dict[str, Any]) -> Run:
    where = f"{path}, line {line}" if line else str(path)
    if absent := [name for name in FIELDS if not isinstance(record.get(name), str)]:
        raise DataError(f"{where} is not what clip_benchmark writes: it has no {absent[0]}.", HINT)
    told = {name: str(record[name]) for name in (*FIELDS, "language") if record.get(name) is not None}
    return Run(path, line, told, metrics)


def named(words: list[str], root: Path | None) -> dict[str, str]:
    """Return a user's tasks by data set, of words such as "cifar10=my-cifar".

    Raises:
        UserError: A word is no such pair, or names a task that is not there.
    """
    rows, found = load_catalog(root), {}
    for word in words:
        dataset, _, task = word.partition("=")
        if not dataset or not task:
            raise UserError(f"--as {word!r} is no DATASET=TASK.", "For example: --as cifar10=my-cifar")
        if task not in rows:
            raise unknown_name("task", task, rows, "recap-eval list tasks")
        found[dataset] = task
    return found


def task_of(run: Run, rows: dict[str, Row], own: dict[str, str]) -> str | None:
    """Return the task of ours that a run stands for, or None.

    Args:
        run: The run.
        rows: Our tasks.
        own: Names of tasks by data set, as the user gives them.
    """
    dataset = run.facts["dataset"]
    if dataset in own:
        return own[dataset]
    bare = dataset.removeprefix("wds/")
    known = (DATASETS.get(bare), CREPE_TASK if bare.startswith(CREPE) else None, f"{WEB}{bare.removeprefix('vtab/')}")
    return next((name for name in known if name in rows), None)


def as_record(run: Run, root: Path | None, own: dict[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Return a run as a record of ours of its own kind, and sentences on the figures that have no place in it.

    Args:
        run: The run.
        root: Data root whose own tasks count, too.
        own: Names of tasks by data set, as the user gives them.

    Raises:
        DataError: It stands for no task or language of ours, or a figure is no share.
    """
    rows = load_catalog(root)
    name = task_of(run, rows, own)
    if name is None:
        what = f"{run.where}: no task of ours is on {run.facts['dataset']!r}."
        raise DataError(what, f"If one of your own is: --as {run.facts['dataset']}=TASK. All names: recap-eval list tasks")
    if run.facts["task"] not in METRICS:
        raise DataError(f"{run.where} is of {run.facts['task']!r}, which we do not measure.", f"We do: {', '.join(METRICS)}.")
    if (language := run.facts.get("language", "en")) != "en":
        raise DataError(f"{run.where} is in {language!r}; our tasks are in English.", "Leave it out.")
    found, left = _figures(run, name, rows[name])
    record = {
        "schema_version": SCHEMA_VERSION,
        "kind": IMPORTED,
        "from": {"tool": TOOL, "file": run.path.name, "sha256": digest_file(run.path)}
        | ({"line": run.line} if run.line else {})
        | {"fields": run.facts | {"pretrained": Path(run.facts["pretrained"]).name}},
        "task": {"name": name, "version": rows[name].version},
        "model": {"name": run.model},
        "metrics": found,
    }
    return record, left


def _figures(run: Run, task: str, row: Row) -> tuple[dict[str, Any], list[str]]:
    known = {metric.name for metric in build_task(task, row).metrics}
    names = METRICS[run.facts["task"]]
    if task == CREPE_TASK:  # one image and two captions: all that can be right is the caption
        names = {"text_acc": f"acc:{run.facts['dataset'].removeprefix('wds/').removeprefix(CREPE)}"}
    shares = {names[theirs]: _share(run, theirs, value) for theirs, value in run.metrics.items() if theirs in names}
    found = _with_intervals({ours: share for ours, share in shares.items() if ours in known}, row.images)
    trivial = METRICS[run.facts["task"]] if task == CREPE_TASK else {}
    odd = [theirs for theirs in run.metrics if names.get(theirs) not in found and theirs not in trivial]
    left = [f"{run.where}: {task} has nothing like {theirs}" for theirs in odd]
    if not found:
        what = f"{run.where}: none of its figures ({', '.join(run.metrics) or 'it has none'}) is one of {task}."
        raise DataError(what, f"Those are: {', '.join(sorted(known))}.")
    return found, left


def _share(run: Run, theirs: str, value: Any) -> float:
    try:
        share = float(value)
    except (TypeError, ValueError) as error:
        raise DataError(f"{run.where}: {theirs} is {value!r}, not a number.", HINT) from error
    if not (math.isfinite(share) and 0 <= share <= 1):
        raise DataError(f"{run.where}: {theirs} is {value}, which is no share between 0 and 1.", "Run clip_benchmark again.")
    return share


def _with_intervals(shares: dict[str, float], images: int) -> dict[str, Any]:
    """Return figures as a record holds them, with Wilson's interval where images are right or wrong and their number is known.

    It is known if all such figures are whole numbers of the official set's images; of another split or copy they would not be.
    """
    counts = [share * images for ours, share in shares.items() if ours in BINARY]
    known = bool(images) and all(abs(count - round(count)) < NEAR for count in counts)
    n = {ours: images if known and ours in BINARY else None for ours in shares}
    return {
        ours: {"value": share, "n": n[ours], "ci95": list(wilson(share, images)) if n[ours] else None}
        for ours, share in shares.items()
    }
