"""Part of a result measured again, with the model and on the data that it names, and compared item by item.

Which images are measured again follows from their ids alone, so that everybody draws the same. Where a score depends on all
images and texts, as in retrieval, everything is measured again. Nothing that is kept from earlier runs is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from recap_eval.data.items import AnyData, CaptionedImages, CaptionPairs, CaptionQuads, LabelledImages
from recap_eval.embed import Embedder
from recap_eval.errors import DataError
from recap_eval.hashrand import text_key
from recap_eval.metrics.macro import PLAIN
from recap_eval.models.base import DualEncoder
from recap_eval.results import Result, disagreement, n_items, settings_of
from recap_eval.tasks.base import ItemScores, Scores, Task
from recap_eval.tasks.pairs import score_pairs
from recap_eval.tasks.quads import score_quads
from recap_eval.tasks.retrieval import score_retrieval
from recap_eval.tasks.zero_shot import score_zero_shot

KINDS = ("zero-shot", "retrieval", "pairs", "quads")
WHY_NOT = {  # why results of other kinds cannot be measured again here, by kind
    "t2i": "it is of generated images, whose folder a record does not hold",
    "captions": "it is of caption files, and each of its metrics is counted over all of them",
    "captioner": "it is of answers that a captioner generated, which are kept beside it as they were",
    "judge": "it is of a judge's ratings, and nobody repeats those",
}
WHOLE = "the whole"  # stands for an item where a figure has none
JUDGED = "it is of a judge's ratings, and nobody repeats those"


@dataclass(frozen=True)
class Part:
    """Some of a data set.

    Args:
        data: The part.
        names: By item of the part, the item of the whole; empty where they are called alike.
    """

    data: AnyData
    names: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Agreement:
    """How a metric's items agree.

    Args:
        metric: The metric.
        items: Items compared.
        differ: How many differ by more than the tolerance, or have no score now.
        largest: The largest difference.
        first: The first item that differs, with its score then and now; None if none does.
    """

    metric: str
    items: int
    differ: int
    largest: float
    first: tuple[str, float, float] | None


@dataclass(frozen=True)
class Verdict:
    """What came of measuring a result again.

    Args:
        result: The result.
        agreements: By metric.
        images: Images measured again.
        of: Images of the data.
        follow: Metrics that were not compared, since they follow from items that were.
        against: The record of a measurement made again elsewhere, where that is what it was compared with.
    """

    result: Result
    agreements: tuple[Agreement, ...]
    images: int
    of: int
    follow: tuple[str, ...] = ()
    against: Path | None = None

    def agrees(self, allow: float) -> bool:
        """Return whether at most a share `allow` of each metric's items differ."""
        return all(one.differ <= allow * one.items for one in self.agreements)


def why_not(result: Result) -> str:
    """Return why a result cannot be measured again here; "" if it can."""
    kind = str(result.record["task"]["kind"])
    if any(key.startswith("judge") for key in result.record["settings"]):
        return JUDGED
    return "" if kind in KINDS else WHY_NOT.get(kind, f"its kind is {kind!r}")


def check_model(result: Result, model: DualEncoder) -> None:
    """Check that a model is the one that was measured, fed alike.

    Raises:
        DataError: Its weights or its protocol differ.
    """
    told, found = result.record["model"], model.id
    if found.revision != told["revision"]:
        what = f"{found.name} is not the model that {result.path} measured: its revision is {found.revision[:12]}"
        raise DataError(f"{what}, that of {told['name']} was {told['revision'][:12]}.", "Name the right one: --model M")
    ours = {key: value for key, value in found.protocol.items() if key in told["protocol"]}  # of old records, all they tell
    if odd := disagreement(ours, told["protocol"]):
        raise DataError(f"{result.path} cannot be verified: {odd[0]}.", "Load the model as it was then, with those packages.")


def check_settings(result: Result, task: Task, model: DualEncoder, data: AnyData) -> None:
    """Check that the task would be asked as it was.

    Raises:
        DataError: A setting differs.
    """
    limit = result.record["settings"].get("limit")
    settings = settings_of(task, model.id, limit) | getattr(data, "settings", {})
    if odd := disagreement(settings, result.record["settings"]):
        raise DataError(f"{result.path} cannot be verified: setting {odd[0]}.", "Take the files and the version of then.")


def verify(result: Result, embedder: Embedder, data: AnyData, sample: int, tolerance: float) -> Verdict:
    """Measure a sample of a result's images again and compare item by item.

    Args:
        result: The result.
        embedder: Its model, without anything kept.
        data: All its data.
        sample: How many images.
        tolerance: By how much a score may differ.

    Raises:
        DataError: An image is unreadable now that was not, or nothing can be compared.
    """
    limit = result.record["settings"].get("limit")
    whole = data if limit is None else data.first(limit)
    cut, score = SAMPLED[type(data)]
    part = cut(whole, sample)
    scores = score(embedder, part.data)
    there = [name for name, cell in result.record["metrics"].items() if n_items(cell)]
    compared = [name for name in there if name in scores.metrics and name not in PLAIN]
    if not compared:
        raise DataError(f"{result.path} keeps no items that could be compared.", "Measure it again: recap-eval clip … --force")
    now = {name: _scored(scores.metrics[name]) for name in compared}
    called = {name: {part.names.get(item, item): value for item, value in found.items()} for name, found in now.items()}
    agreed = tuple(_agreement(name, _of_part(result.items(name), part), called[name], tolerance) for name in compared)
    follow = tuple(name for name in there if name not in compared)
    return Verdict(result, agreed, len(part.data.images), len(whole.images), follow)


def compare_again(result: Result, again: Result, tolerance: float) -> Verdict:
    """Compare a result with the same question's answer in another folder: item by item, and figures that have none by value.

    Args:
        result: The result.
        again: What was measured again; both were vetted.
        tolerance: By how much a score may differ; of a figure of the whole, relative to it where it is above 1.

    Raises:
        DataError: The two have no metric in common.
    """
    ours, theirs = result.record["metrics"], again.record["metrics"]
    common = [name for name in ours if name in theirs]
    if not common:
        raise DataError(f"{result.path} and {again.path} have no metric in common.", "Measure it with the same metrics.")
    found = []
    for name in common:
        if n_items(ours[name]) and n_items(theirs[name]):
            then, now = (_scored(one.items(name)) for one in (result, again))
            found.append(_agreement(name, then, now, tolerance))
        else:
            then, now = {WHOLE: float(ours[name]["value"])}, {WHOLE: float(theirs[name]["value"])}
            found.append(_agreement(name, then, now, tolerance * max(1.0, abs(then[WHOLE]))))
    images = max(int(cell["n_clusters"]) for cell in ours.values())
    return Verdict(result, tuple(found), images, images, tuple(name for name in ours if name not in theirs), again.path)


def _scored(scores: ItemScores) -> dict[str, float]:
    return dict(zip(scores.items, map(float, scores.values), strict=True))


def _agreement(metric: str, then: dict[str, float], now: dict[str, float], tolerance: float) -> Agreement:
    """Compare scores by item; one that a side lacks is no agreement."""
    pairs = [(item, then.get(item, math.nan), now.get(item, math.nan)) for item in {**then, **now}]
    odd = [pair for pair in pairs if not abs(pair[1] - pair[2]) <= tolerance]
    gaps = [abs(one - other) for _, one, other in pairs if not math.isnan(one - other)]
    return Agreement(metric, len(pairs), len(odd), max(gaps, default=0.0), odd[0] if odd else None)


def _of_part(scores: ItemScores, part: Part) -> dict[str, float]:
    """Return a result's scores of the items of a part."""
    found = _scored(scores)
    if isinstance(part.data, CaptionedImages):
        return found
    asked = set(part.names.values()) or {image.key for image in part.data.images}
    return {item: value for item, value in found.items() if item in asked}


def _drawn(keys: Sequence[str], sample: int) -> list[int]:
    """Return the places of a sample, in order: the first by the hash of their ids."""
    return sorted(sorted(range(len(keys)), key=lambda place: (text_key(keys[place]), place))[:sample])


def _labelled(data: Any, sample: int) -> Part:
    chosen = _drawn([image.key for image in data.images], sample)
    images, labels = [data.images[i] for i in chosen], [data.labels[i] for i in chosen]
    return Part(replace(data, images=images, labels=labels))


def _pairs(data: Any, sample: int) -> Part:
    asked = sorted({row[0] for row in data.rows})  # an image may have no row
    chosen = [asked[i] for i in _drawn([data.images[i].key for i in asked], sample)]
    place = {old: new for new, old in enumerate(chosen)}
    kept = [number for number, row in enumerate(data.rows) if row[0] in place]
    rows = [(place[data.rows[number][0]], *data.rows[number][1:]) for number in kept]
    images = [data.images[i] for i in chosen]
    keys = [images[row[0]].key for row in rows]
    names = {f"{key}#{new}": f"{key}#{kept[new]}" for new, key in enumerate(keys)}
    return Part(replace(data, images=images, rows=rows, groups=[]), names)


def _quads(data: Any, sample: int) -> Part:
    first = [data.images[2 * case].key for case in range(len(data.captions))]
    chosen = _drawn(first, max(1, sample // 2))
    images = [data.images[2 * case + side] for case in chosen for side in (0, 1)]
    names = {f"{first[old]}#{new}": f"{first[old]}#{old}" for new, old in enumerate(chosen)}
    return Part(replace(data, images=images, captions=[data.captions[case] for case in chosen], groups=[]), names)


def _all(data: Any, sample: int) -> Part:
    return Part(data)


SAMPLED: dict[type, tuple[Callable[[Any, int], Part], Callable[[Embedder, Any], Scores]]] = {
    LabelledImages: (_labelled, score_zero_shot),
    CaptionedImages: (_all, score_retrieval),
    CaptionPairs: (_pairs, score_pairs),
    CaptionQuads: (_quads, score_quads),
}
