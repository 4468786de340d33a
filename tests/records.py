"""Results written without a model: what a test needs to fill boards and to compare."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from recap_eval.data.items import DataId
from recap_eval.models.base import ModelId
from recap_eval.results import Result, identity, new_record, result_path, settings_of, write_result
from recap_eval.tasks.base import ItemScores, Metric, Scores, Task
from recap_eval.tasks.captions import FAMILIES, TWO_WAY
from recap_eval.tasks.catalog import Row
from recap_eval.tasks.generation import TABLE

FID = {"extractor": "inception", "extractor.resize": "clean", "extractor.precision": "fp32"}
FID |= {"extractor.frame": "crop:256:bicubic", "n": 40}
FID |= {"reference": "recap-coco-30k", "reference.digest": "v" * 64, "n_reference": 500}
CLIP = {"scorer": "ViT-B-32/openai", "scorer.revision": "r", "scorer.precision": "fp32", "n": 40}
RUN = {"recipe": "b16", "recipe_digest": "0" * 8, "samples_seen": 1000, "train_data": "f" * 64, "precision": "bf16"}

BOARD_OVER_P = """title = "t"
axis = "p_original"
axis_label = "p"
baseline = 1.0
[[columns]]
task = "scenes-zeroshot"
version = 1
metric = "acc1"
label = "a"
"""


def scores(values, clusters=None, items=None) -> ItemScores:
    """Return per-item scores; without clusters every item is an image of its own."""
    items = [f"i{number}" for number in range(len(values))] if items is None else items
    return ItemScores(items, list(items if clusters is None else clusters), np.asarray(values, dtype=float))


def put(root: Path, task: str, model: str, metrics: dict[str, ItemScores], **other) -> Result:
    """Write a result of a task under a leaderboards folder.

    Args:
        root: The folder.
        task: Name of the task; its metrics are the keys of `metrics`, the first the primary one.
        model: Name of the model; with `meta`, how it was made.
        metrics: Scores by metric.
        other: meta, revision, limit, version, fingerprint, settings, higher_is_better, unit.
    """
    upward, unit = other.get("higher_is_better", True), other.get("unit", "share")
    described = Task(
        task, other.get("version", 1), "retrieval", "", tuple(Metric(name, name, 0.001, upward, unit=unit) for name in metrics),
        {"tie_rule": "expectation"} | other.get("settings", {}), lambda root: [], str, lambda e, d: Scores({}),
        Row("pairs", "", ""),
    )  # fmt: skip
    who = ModelId(model, other.get("revision", f"rev-{model}"), {}, {"precision": "fp32"})
    who = replace(who, meta=other.get("meta", {}))
    data = DataId(task, "test", other.get("fingerprint", "d" * 64), "made by a test")
    settings = settings_of(described, who, other.get("limit"))
    path = result_path(root, described, who, identity(described, who, data, settings))
    found = Scores(metrics)
    return write_result(path, new_record(described, who, data, settings, found, {}) | {"run": {}}, found)


def put_drawn(root: Path, word: str, who: ModelId, found: Scores, **other) -> Result:
    """Write a result of generated images under a leaderboards folder.

    Args:
        root: The folder.
        word: A metric of `recap-eval t2i`.
        who: Whose images they are.
        found: Its scores.
        other: prompts (their name), fingerprint, settings that differ from `FID` and `CLIP`.
    """
    task = TABLE[word]
    data = DataId(other.get("prompts", "recap-coco-30k-recap"), "", other.get("fingerprint", "d" * 64), "made by a test")
    settings = (FID if task.extractor else CLIP) | other.get("settings", {})
    path = result_path(root, task, who, identity(task, who, data, settings))
    return write_result(path, new_record(task, who, data, settings, found, {}) | {"run": {}}, found)


def put_captions(root: Path, files: str, column: str, task: str, metrics: dict[str, ItemScores], **other) -> Result:
    """Write a result of a caption set under a leaderboards folder.

    Args:
        root: The folder.
        files: What the caption files are called.
        column: The column measured.
        task: Name of the task, perhaps with @ and who measures.
        metrics: Scores by metric.
        other: revision, fingerprint, reference, settings, meta (how they were made).
    """
    base = task.partition("@")[0]
    family = next(one for one in (*FAMILIES.values(), *TWO_WAY.values()) if one.name == base)
    family = replace(family, name=task, metrics=tuple(metric for metric in family.metrics if metric.name in metrics))
    who = ModelId(
        f"{files}:{column}", other.get("revision", f"rev-{files}-{column}"), {"kind": "captions"} | other.get("meta", {})
    )
    data = DataId(files, "", other.get("fingerprint", f"of {files}"), other.get("reference", "10 rows of caption files"))
    settings, found = other.get("settings", {}), Scores(metrics)
    path = result_path(root, family, who, identity(family, who, data, settings))
    return write_result(path, new_record(family, who, data, settings, found, {}) | {"run": {}}, found)
