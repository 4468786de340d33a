"""The scores of images: those of results that bear the revision of these very images, whatever these are called.

Scores of two models are held against each other only if their results agree in everything, as in comparisons.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from recap_eval.errors import UserError, unknown_name
from recap_eval.files import canonical_json
from recap_eval.generate.plan import Key
from recap_eval.generate.sheet import Sheet, item_name
from recap_eval.results import Result, brief, estimate_of, scale_of, unit_of
from recap_eval.stats import Estimate
from recap_eval.tasks.generation import PROMPT_READ, known_metrics

DISTANCE = "distance"
Read = tuple[int, str]  # how many characters of a prompt were read, and by which scorer
MAKER = ("scorer", "extractor", "judge")  # settings that name what made a score


@dataclass(frozen=True)
class Score:
    """One metric, measured in one way.

    Args:
        label: What the page calls it.
        task: Its task.
        metric: Its name there.
        protocol: All that results must agree in.
        cell: Its facts in a record: scale, unit, direction.
        figures: The figure of the whole set, by model.
        values: By model, a value by image; of a distance what each image adds: their mean is the distance.
    """

    label: str
    task: str
    metric: str
    protocol: dict[str, Any] = field(repr=False)
    cell: dict[str, Any] = field(repr=False)
    figures: dict[int, Estimate] = field(default_factory=dict)
    values: dict[int, dict[str, float]] = field(default_factory=dict, repr=False)

    @property
    def scale(self) -> float:
        """By what it is multiplied where it is shown."""
        return scale_of(self.cell)

    @property
    def unit(self) -> str:
        """In what it is."""
        return unit_of(self.cell)

    @property
    def is_distance(self) -> bool:
        """True if it is one of sets, to which each image adds."""
        return self.unit == DISTANCE

    @property
    def upward(self) -> bool:
        """True if more is better."""
        return bool(self.cell["higher_is_better"])

    def of(self, model: int, key: Key) -> float | None:
        """Return an image's value; of a distance, by how much it is above the mean."""
        value = self.values.get(model, {}).get(item_name(key))
        return value if value is None or not self.is_distance else value - self.figures[model].value


def find_scores(sheets: Sequence[Sheet], results: Sequence[Result]) -> tuple[list[Score], dict[int, dict[str, Read]]]:
    """Return the scores of these very images, and by model and image what a scorer read of a prompt that it cut.

    Args:
        sheets: The models' images.
        results: Results of any models.

    Raises:
        DataError: Per-item scores are missing or were changed.
    """
    found: dict[str, Score] = {}
    read: dict[int, dict[str, Read]] = {}
    for model, sheet in enumerate(sheets):
        for result in [one for one in results if one.record["model"]["revision"] == sheet.revision]:
            for metric, cell in result.record["metrics"].items():
                way = canonical_json([result.task, metric, result.protocol()])
                score = found.setdefault(way, Score("", result.task, metric, _protocol(result), cell))
                score.figures[model] = estimate_of(cell)
                if cell["n"]:
                    items = result.items(metric)
                    score.values[model] = dict(zip(items.items, map(float, items.values), strict=True))
            read.setdefault(model, {}).update(_cuts(result, read.get(model, {})))
    return _labelled(sorted(found.values(), key=_order)), read


def _protocol(result: Result) -> dict[str, Any]:
    return result.protocol() | {"prompts": result.record["data"]["name"]}


def _cuts(result: Result, known: dict[str, Read]) -> dict[str, Read]:
    """Return what was read of each prompt that was cut, of several scorers the least."""
    scorer = result.record["settings"].get("scorer")
    if scorer is None:
        return {}
    items = result.items(PROMPT_READ)
    ends = {name: (int(end), str(scorer)) for name, end in zip(items.items, items.values, strict=True)}
    return {name: min(own, known.get(name, own)) for name, own in ends.items()}


def _known() -> dict[tuple[str, str], str]:
    """Return the labels of metrics by task, in the order in which they are shown."""
    return {(task, metric.name): metric.label for task, way in known_metrics().items() for metric in way.metrics}


def _order(score: Score) -> tuple[object, ...]:
    """Order scores: of single images, then of sets by their images, then distances, Fréchet's first."""
    known = [*_known()]
    which = (score.task, score.metric)
    of_sets = score.is_distance + ("settings.extractor" in score.protocol)
    return of_sets, score.is_distance and score.metric != "fd", known.index(which) if which in known else len(known), which


def _labelled(scores: list[Score]) -> list[Score]:
    """Name scores: by their metric; where that is not clear, with what made them; where that is not, with what differs."""
    labels = _known()
    told = [replace(score, label=labels.get((score.task, score.metric), score.metric)) for score in scores]
    for apart in (_maker, _differing):
        several = {score.label for score in told if [other.label for other in told].count(score.label) > 1}
        told = [
            replace(score, label=f"{score.label} ({apart(score, told)})") if score.label in several else score for score in told
        ]
    return told


def _maker(score: Score, others: list[Score]) -> str:
    return str(next((score.protocol[f"settings.{name}"] for name in MAKER if f"settings.{name}" in score.protocol), score.task))


def _differing(score: Score, others: list[Score]) -> str:
    alike = [other for other in others if other.label == score.label]
    fields = sorted({key for other in alike for key in other.protocol if other.protocol[key] != score.protocol.get(key)})
    return ", ".join(f"{key.removeprefix('settings.')} {brief(score.protocol.get(key, 'absent'))}" for key in fields)


def choose_score(scores: Sequence[Score], word: str | None) -> Score | None:
    """Return the score that rows are ranked by: the one named, else the first that has a value per image.

    Args:
        scores: Those found.
        word: METRIC, TASK/METRIC or a label, or None.

    Raises:
        UserError: No such score, or it has no values per image.
    """
    usable = [score for score in scores if score.values]
    if word is None:
        return usable[0] if usable else None
    named = [score for score in scores if word in (score.metric, f"{score.task}/{score.metric}", score.label)]
    if not named:
        known = dict.fromkeys(f"{score.task}/{score.metric}" for score in usable)
        raise unknown_name("metric of these images", word, known, ", ".join(known) or "recap-eval t2i measures them")
    with_values = sorted((score for score in named if score.values), key=lambda score: -len(score.values))
    if not with_values:
        raise UserError(f"{word} is a figure of the whole set: no image has a value.", "Name another metric.")
    return with_values[0]
