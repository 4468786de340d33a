"""Paired differences between models on the same test items. Pure: results in, records out.

Two models are compared on a task only if their results agree in task version, data, settings and completeness, and item by
item in their ids; what differs is told instead. Clusters are images (Miller 2024, arXiv 2411.00640, sections 2.2 and 4.2).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from recap_eval.artifact import RUN_FACTS
from recap_eval.errors import DataError, unknown_name
from recap_eval.files import canonical_json
from recap_eval.metrics.macro import PLAIN
from recap_eval.results import Result, brief, disagreement, estimate_of, n_items, scale_of, unit_of
from recap_eval.stats import ALPHA, Estimate, holm, paired_items
from recap_eval.subjects import Subject
from recap_eval.tasks.base import ItemScores

COUNTED = ("words", "tokens")  # units of which neither more nor less is better
FEW = 10  # images; with fewer that differ, the t-interval of a paired difference is too narrow
SAME = 1e-12  # scores of one item that differ by less are equal
PRIMARY, ALL = "primary", "all"


@dataclass(frozen=True)
class Counts:
    """How two models stand item by item.

    Args:
        won: Items on which the model is better than the baseline.
        lost: Items on which it is worse.
        tied: Items on which both score the same.
        images: Images of the items that differ.
    """

    won: int
    lost: int
    tied: int
    images: int

    @property
    def share(self) -> float:
        """Share of items on which the two differ."""
        return (self.won + self.lost) / (self.won + self.lost + self.tied)


@dataclass(frozen=True)
class Against:
    """One model against the baseline.

    Args:
        model: Number of the model among the subjects.
        value: Its own figure.
        difference: Its figure less the baseline's, with interval and raw p-value.
        higher_is_better: The metric's direction.
        counts: Item by item; None where a macro average has no plain metric beside it.
        p_holm: p-value after Holm's correction over the models of the question.
        counted: The metric counts something, as words, of which neither more nor less is better.
    """

    model: int
    value: Estimate
    difference: Estimate
    higher_is_better: bool
    counts: Counts | None
    p_holm: float | None = None
    counted: bool = False

    @property
    def verdict(self) -> str:
        """What the difference supports, in words."""
        if self.counts is not None and self.counts.images == 0:
            return "same on every item"
        if self.p_holm is None or (self.counts is not None and self.counts.images < FEW):
            return "too few images differ"
        if self.p_holm >= ALPHA:
            return "not separable"
        if self.counted:
            return "higher" if self.difference.value > 0 else "lower"
        return "better" if (self.difference.value > 0) == self.higher_is_better else "worse"


@dataclass(frozen=True)
class Question:
    """One metric of one task, measured in one way.

    Args:
        result: The baseline's result.
        metric: The metric.
        against: The models that answered it in the same way, on the same items.
        apart: Settings that tell it from another question of the same task; empty if there is none.
    """

    result: Result
    metric: str
    against: tuple[Against, ...]
    apart: str = ""

    @property
    def value(self) -> Estimate:
        """The baseline's figure."""
        return estimate_of(self.result.record["metrics"][self.metric])

    @property
    def scale(self) -> float:
        """By what tables multiply its figures."""
        return scale_of(self.result.record["metrics"][self.metric])


@dataclass(frozen=True)
class Comparison:
    """What can be compared of some models.

    Args:
        subjects: The models, the baseline first.
        questions: By task and metric.
        left_out: Sentence by result that cannot be compared.
    """

    subjects: tuple[Subject, ...]
    questions: tuple[Question, ...]
    left_out: tuple[str, ...]


def compare(subjects: list[Subject], tasks: set[str] | None = None, metrics: str = PRIMARY) -> Comparison:
    """Compare every model with the first.

    Args:
        subjects: The models, the baseline first.
        tasks: Which tasks; all if None.
        metrics: "primary", "all", or names with commas between.

    Raises:
        UserError: A metric that no result has.
        DataError: Nothing can be compared, or per-item scores are missing.
    """
    asked = _asked_metrics(subjects, metrics)
    names = dict.fromkeys(result.task for subject in subjects for result in subject.results)
    questions: list[Question] = []
    left_out: list[str] = []
    for task in [name for name in names if tasks is None or name in tasks]:
        groups, odd = _alike(subjects, task)
        left_out += odd
        for group in groups:
            base = group[0].record
            known = [base["task"]["primary"]] if asked is None else [name for name in base["metrics"] if name in asked]
            for metric in known:
                if metric not in base["metrics"]:
                    left_out.append(f"A on {task}, {metric}: it has no figure")
                    continue
                question, odd = _question(group, metric, _apart(group[0], groups))
                left_out += odd
                questions += [question] if question.against else []
    if not questions:
        what = f" {left_out[0]}." if left_out else ""
        raise DataError(f"Nothing can be compared.{what}", "Measure the models alike: recap-eval clip --model A --model B")
    return Comparison(tuple(subjects), tuple(questions), tuple(left_out))


def same_run(one: Subject, two: Subject) -> bool:
    """Return whether two models differ in nothing but their training seed, as far as is known of their making."""
    ours, theirs = one.results[0].meta, two.results[0].meta
    alike = all(ours.get(fact) == theirs.get(fact) for fact in (*RUN_FACTS, "p_original"))
    return alike and "recipe" in ours and ours.get("seed") != theirs.get("seed")


def letter(number: int) -> str:
    """Return a model's letter: A for the baseline."""
    return chr(ord("A") + number) if number < 26 else f"M{number + 1}"


def _asked_metrics(subjects: list[Subject], metrics: str) -> set[str] | None:
    """Return the metrics a user asks for; None stands for each task's primary one."""
    if metrics == PRIMARY:
        return None
    known = dict.fromkeys(name for subject in subjects for result in subject.results for name in result.record["metrics"])
    if metrics == ALL:
        return set(known)
    asked = [name.strip() for name in metrics.split(",") if name.strip()]
    for name in asked:
        if name not in known:
            raise unknown_name("metric", name, [*known, PRIMARY, ALL], f"{PRIMARY}, {ALL}, {', '.join(known)}")
    return set(asked)


def _alike(subjects: list[Subject], task: str) -> tuple[list[dict[int, Result]], list[str]]:
    """Group a task's results by protocol, the baseline's first in each; sentences on those that stand in no group."""
    by_model = [_by_protocol(subject, task) for subject in subjects]
    base = by_model[0]
    left_out = [f"{letter(number)} has no result on {task}" for number, ways in enumerate(by_model) if not ways]
    groups = [{number: ways[way] for number, ways in enumerate(by_model) if way in ways} for way in base]
    for number, ways in enumerate(by_model):
        if number and base and ways:
            left_out += _lonely(ways, base, f"{letter(number)} on {task}") or _lonely(base, ways, f"A on {task}")
    return [group for group in groups if len(group) > 1], list(dict.fromkeys(left_out))


def _by_protocol(subject: Subject, task: str) -> dict[str, Result]:
    found: dict[str, Result] = {}
    for result in subject.results:
        if result.task == task:
            found.setdefault(canonical_json(result.protocol()), result)
    return found


def _lonely(ours: dict[str, Result], theirs: dict[str, Result], who: str) -> list[str]:
    """Say of each of our results that the other side lacks how it differs from the nearest there."""
    told = []
    for result in [result for way, result in ours.items() if way not in theirs]:
        nearest = min((disagreement(result.protocol(), other.protocol()) for other in theirs.values()), key=len)
        told.append(f"{who}: {', '.join(nearest)}")
    return told


def _apart(base: Result, groups: list[dict[int, Result]]) -> str:
    """Return what tells a group from the task's others: the fields that differ, and that it is partial."""
    own, ways = base.protocol(), [group[0].protocol() for group in groups]
    differing = [key for key in own if any(way.get(key) != own[key] for way in ways) and key != "partial"]
    told = [f"{key.removeprefix('settings.')} {brief(own[key])}" for key in differing]
    return ", ".join(told + ["partial"] * base.partial)


def _question(group: dict[int, Result], metric: str, apart: str) -> tuple[Question, list[str]]:
    base, left_out = group[0], []
    if n_items(base.record["metrics"][metric]) == 0:
        return Question(base, metric, (), apart), [f"{base.task}, {metric}: a figure of the whole, without values per image"]
    ours = base.items(metric)
    found: list[Against] = []
    for number, result in group.items():
        if number:
            against = _against(base, result, metric, number, ours)
            if isinstance(against, Against):
                found.append(against)
            else:
                left_out.append(f"{letter(number)} on {base.task}, {metric}: {against}")
    known = [against.difference.p_value for against in found if against.difference.p_value is not None]
    adjusted = iter(holm(known))
    corrected = [replace(one, p_holm=None if one.difference.p_value is None else next(adjusted)) for one in found]
    return Question(base, metric, tuple(corrected), apart), left_out


def _against(base: Result, other: Result, metric: str, number: int, ours: ItemScores) -> Against | str:
    """Return the paired difference, or why there is none."""
    if metric not in other.record["metrics"]:
        return "it was not measured"
    theirs = other.items(metric)
    if _lacking(base, metric) or _lacking(other, metric):
        ours, theirs = _common(ours, theirs)
        if not ours.items:
            return "they have no item in common"
    if ours.items != theirs.items or ours.clusters != theirs.clusters:
        return _other_items(ours, theirs)
    upward = bool(base.record["metrics"][metric]["higher_is_better"])
    difference = paired_items(theirs.values, ours.values, ours.clusters)
    value = estimate_of(other.record["metrics"][metric])
    plain = (ours, theirs) if metric not in PLAIN else _plain(base, other, PLAIN[metric], set(ours.items))
    counts = None if plain is None else _counts(*plain, upward)
    counted = unit_of(base.record["metrics"][metric]) in COUNTED
    return Against(number, value, difference, upward, counts, counted=counted)


def _lacking(result: Result, metric: str) -> bool:
    """Return whether items may lack a score: a judge's answer gave no figure, or only a sample of them was kept."""
    return bool(result.record.get("unrated")) or "sampled" in result.record["metrics"][metric]


def _common(ours: ItemScores, theirs: ItemScores) -> tuple[ItemScores, ItemScores]:
    """Return the scores of the items that both have; samples drawn by key are a sample of what both measured."""
    places = {item: number for number, item in enumerate(theirs.items)}
    own = {item: number for number, item in enumerate(ours.items) if item in places}
    return ours.part(list(own.values())), theirs.part([places[item] for item in own])


def _other_items(ours: ItemScores, theirs: ItemScores) -> str:
    if len(ours.items) != len(theirs.items):
        return f"{len(theirs.items):,} items, not {len(ours.items):,}"
    for one, two in zip([*theirs.items, *theirs.clusters], [*ours.items, *ours.clusters], strict=True):
        if one != two:
            return f"other items: {brief(one)}, not {brief(two)}"
    raise AssertionError("the items are the same")


def _plain(base: Result, other: Result, metric: str, counted: set[str]) -> tuple[ItemScores, ItemScores] | None:
    """Return two models' scores on the items counted in a macro average, in the metric whose items are right or wrong."""
    if not all(metric in result.record["metrics"] for result in (base, other)):
        return None
    ours, theirs = (_part(result.items(metric), counted) for result in (base, other))
    return (ours, theirs) if ours.items == theirs.items else None


def _part(whole: ItemScores, counted: set[str]) -> ItemScores:
    return whole.part([number for number, item in enumerate(whole.items) if item in counted])


def _counts(ours: ItemScores, theirs: ItemScores, upward: bool) -> Counts:
    import numpy as np

    gap = (theirs.values - ours.values) * (1 if upward else -1)
    differ = np.abs(gap) > SAME
    images = {ours.clusters[i] for i in np.flatnonzero(differ)}
    return Counts(int((gap > SAME).sum()), int((gap < -SAME).sum()), int((~differ).sum()), len(images))
