"""What a model got wrong: a result's per-item scores and the data they are of, as a list of failures.

An item is a failure if it scores below 1: wrong, or right only in some orders of a tie. Which failures are shown decides what
is seen: the default is a draw by the hash of the item's id, so that every failure is as likely as any other, the same ones are
shown at every call and for every model, and twenty of them are the first twenty of a hundred.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from recap_eval.data.describe import Describe, Thing, describer
from recap_eval.data.items import AnyData
from recap_eval.errors import DataError, UserError, unknown_name
from recap_eval.hashrand import text_key
from recap_eval.metrics.macro import PLAIN
from recap_eval.results import Result
from recap_eval.stats import Estimate, paired_items
from recap_eval.tasks.base import ItemScores

if TYPE_CHECKING:
    import numpy as np

FIRST = {  # the metric with which what was put first is kept
    "acc5": "acc1", "i2t_r5": "i2t_r1", "i2t_r10": "i2t_r1", "t2i_r5": "t2i_r1", "t2i_r10": "t2i_r1",
}  # fmt: skip
SHORT = 40  # characters of a value in a message; digests are longer
AGAIN = "Measure again: recap-eval clip … --force"


@dataclass(frozen=True)
class Failure:
    """One item that a model did not get right.

    Args:
        item: Its id in the result.
        asked: The image, or the caption, that was given.
        right: What would have been right; empty if the data is absent.
        given: What the model put first; None if that was not kept.
        rank: Rank of the best right one, from 1; None if that was not kept.
        value: Its score: 0, or more at a tie.
    """

    item: str
    asked: Thing
    right: tuple[Thing, ...]
    given: Thing | None
    rank: float | None
    value: float


@dataclass(frozen=True)
class Cells:
    """Two models on the same items.

    Args:
        both_right: Items that both get right.
        only_ours: Items that only the first does.
        only_theirs: Items that only the second does.
        both_wrong: Items that neither does.
        difference: Mean of the first minus the second, paired by item.
    """

    both_right: int
    only_ours: int
    only_theirs: int
    both_wrong: int
    difference: Estimate


@dataclass(frozen=True)
class Listing:
    """Failures of a result, some of them shown.

    Args:
        result: The result.
        metric: Its metric.
        shown: The failures shown, in order.
        order: The order's name.
        n_items: Items measured.
        n_wrong: Failures among them; with `against`, only those that the other result gets right.
        n_ties: Ties among these.
        among: How many classes, captions or images the rank is among; None if there is no rank or no data.
        has_data: Whether the data was there.
        has_given: Whether the result keeps what was put first.
        against: The result it is held against, or None.
        cells: How the two agree, or None.
    """

    result: Result
    metric: str
    shown: list[Failure]
    order: str
    n_items: int
    n_wrong: int
    n_ties: int
    among: int | None
    has_data: bool
    has_given: bool
    against: Result | None = None
    cells: Cells | None = None


def choose_metric(result: Result, name: str | None) -> str:
    """Return a result's metric by name, or its primary one.

    Raises:
        UserError: It has no such metric.
    """
    known = list(result.record["metrics"])
    if name is not None and name not in known:
        raise unknown_name(f"metric of {result.task}", name, known, ", ".join(known))
    return name or str(result.record["task"]["primary"])


def outcomes(result: Result, metric: str) -> ItemScores:
    """Return per item how right it is, what was put first and the rank, also of metrics that keep these with another one.

    Raises:
        UserError: The metric's items are not right or wrong.
        DataError: See `Result.items`.
    """
    scores = result.items(metric)
    if metric in PLAIN:
        return _part(result.items(PLAIN[metric]), scores.items)
    if metric in FIRST:
        first = _part(result.items(FIRST[metric]), scores.items)
        scores = replace(scores, given=first.given, rank=first.rank)
    if len(scores.values) and not (scores.values.min() >= 0 and scores.values.max() <= 1):
        others = [name for name in result.record["metrics"] if name != metric]
        raise UserError(f"{metric} is an average without right and wrong items.", f"Choose by --metric: {', '.join(others)}")
    return scores


def _part(scores: ItemScores, items: list[str]) -> ItemScores:
    """Return the scores of some items, in their order."""
    place = {item: number for number, item in enumerate(scores.items)}
    return scores.part([place[item] for item in items])


def _by_rank(wrong: list[int], scores: ItemScores) -> list[int]:
    rank = scores.rank
    if rank is None:
        raise UserError("The result keeps no ranks, so none is the worst.", "Take --order random or --order first.")
    return sorted(_by_hash(wrong, scores), key=lambda i: -float(rank[i]))


def _by_hash(wrong: list[int], scores: ItemScores) -> list[int]:
    return sorted(wrong, key=lambda i: (text_key(scores.items[i]), i))


def _as_they_come(wrong: list[int], scores: ItemScores) -> list[int]:
    return wrong


ORDERS: dict[str, Callable[[list[int], ItemScores], list[int]]] = {
    "random": _by_hash,
    "worst": _by_rank,
    "first": _as_they_come,
}


def list_failures(
    result: Result, metric: str, data: AnyData | None, most: int = 20, order: str = "random", against: Result | None = None
) -> Listing:
    """List what a model got wrong.

    Args:
        result: The result.
        metric: One of its metrics.
        data: The data it was measured on, all of it; None if it is absent: ids then stand for texts and images.
        most: How many failures to show.
        order: A name of `ORDERS`: drawn by hash, by rank from the worst, or as in the data.
        against: Show only what this result gets right, of the same task and protocol.

    Raises:
        UserError: See `outcomes`; or the order needs ranks that are not kept.
        DataError: A parquet is missing or changed, the data lacks an item, or `against` cannot be compared.
    """
    scores = outcomes(result, metric)
    wrong, cells = (scores.values < 1), None
    if against is not None:
        theirs, cells = compare(result, against, metric)
        wrong = wrong & theirs
    chosen = ORDERS[order]([int(i) for i in wrong.nonzero()[0]], scores)
    limit = result.record["settings"].get("limit")
    part = data if data is None or limit is None else data.first(limit)
    among, describe = describer(part, metric, scores.clusters)
    return Listing(
        result=result,
        metric=metric,
        shown=[_failure(scores, i, describe) for i in chosen[:most]],
        order=order,
        n_items=len(scores.items),
        n_wrong=len(chosen),
        n_ties=int((scores.values[chosen] > 0).sum()),
        among=among,
        has_data=data is not None,
        has_given=scores.given is not None,
        against=against,
        cells=cells,
    )


def compare(ours: Result, theirs: Result, metric: str) -> tuple[np.ndarray, Cells]:
    """Hold two results against each other, item by item.

    Returns:
        (N,) whether the second gets each item right; and the four counts with the paired difference.

    Raises:
        DataError: Task, protocol or items differ; the message names the field.
    """
    _check_same_protocol(ours, theirs)
    mine, other = ours.items(metric), theirs.items(metric)
    if mine.items != other.items:
        raise DataError(f"{ours.path} and {theirs.path} were not measured on the same items.", AGAIN)
    a, b = outcomes(ours, metric).values == 1, outcomes(theirs, metric).values == 1
    both, only_ours, only_theirs, neither = (int(part.sum()) for part in (a & b, a & ~b, ~a & b, ~a & ~b))
    return b, Cells(both, only_ours, only_theirs, neither, paired_items(mine.values, other.values, mine.clusters))


def _check_same_protocol(ours: Result, theirs: Result) -> None:
    a, b = ({"task": result.task} | result.protocol() for result in (ours, theirs))
    for name in sorted(a | b, key=lambda name: name == "partial"):  # last: it follows from a limit, which says more
        if a.get(name) != b.get(name):
            raise DataError(
                f"{ours.path} and {theirs.path} cannot be compared: "
                f"{name} is {str(a.get(name))[:SHORT]} in one and {str(b.get(name))[:SHORT]} in the other.",
                "Measure both models the same way: recap-eval clip --model A --model B …",
            )


def _failure(scores: ItemScores, i: int, describe: Describe) -> Failure:
    given = scores.given[i] if scores.given is not None else None
    rank = float(scores.rank[i]) if scores.rank is not None else None
    return Failure(scores.items[i], *describe(scores.items[i], scores.clusters[i], given), rank, float(scores.values[i]))
