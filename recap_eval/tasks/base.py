"""What a task is, and what it hands over: per-item scores. Means, errors and intervals are made in one place, later."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from recap_eval.data.items import AnyData
from recap_eval.stats import Estimate

if TYPE_CHECKING:
    import numpy as np

    from recap_eval.embed import Embedder
    from recap_eval.tasks.catalog import Row


PERCENT = 100.0
SHARE = "share"  # shown × 100, it is a per cent; × 100 alone makes none: a cosine is no share


@dataclass(frozen=True)
class Metric:
    """A per-item score.

    Args:
        name: Its name in results, such as "i2t_r1".
        label: Its name in tables.
        chance: What guessing scores on average; None where that depends on the data's size.
        higher_is_better: Its direction.
        scale: By what tables multiply it: shares are shown × 100, distances as they are.
        unit: In what it is: "share", "cosine", "distance", ….
    """

    name: str
    label: str
    chance: float | None = None
    higher_is_better: bool = True
    scale: float = PERCENT
    unit: str = SHARE


@dataclass(frozen=True)
class ItemScores:
    """One metric's value for every item.

    Args:
        items: (N,) item ids.
        clusters: (N,) the image each item belongs to.
        values: (N,) floats. Of a macro average: linearised values, whose mean is the average and whose spread is its error.
        given: (N,) what the model put first instead (class name, caption id, image key); None where it was right. Kept for
            `recap-eval show`.
        rank: (N,) rank of the best right item, from 1.
    """

    items: list[str]
    clusters: list[str]
    values: np.ndarray
    given: list[str | None] | None = None
    rank: np.ndarray | None = None

    def part(self, chosen: Sequence[int]) -> ItemScores:
        """Return the scores of the items at the places `chosen`."""
        given = [self.given[i] for i in chosen] if self.given else None
        rank = None if self.rank is None else self.rank[list(chosen)]
        items, clusters = [self.items[i] for i in chosen], [self.clusters[i] for i in chosen]
        return ItemScores(items, clusters, self.values[list(chosen)], given, rank)


@dataclass(frozen=True)
class Scores:
    """What a task hands over.

    Args:
        metrics: Per-item scores by metric name.
        extra: Corpus-level facts: truncated share, tie share, bounds, ….
        chance: What guessing scores, by metric, where it depends on the data.
        corpus: Metrics of the whole that have no value per item, and so no standard error.
        warnings: What stands against reading the figures as they are, a sentence each.
        absent: Metrics of the task that have no item in this data; the record leaves them out.
        unrated: Items that have no score though nothing is wrong with them: a judge's answer gave no figure.
        facts: How the scores came about, for the result's `run`.
        folded: Metrics whose mean and error were made as the data went by. Items of theirs, if there are any, are a sample.
        details: What is more than a figure, such as histograms, for plots.
        bad: What is wrong with the items that were left out, by where they are; the result is partial then.
    """

    metrics: dict[str, ItemScores]
    extra: dict[str, float] = field(default_factory=dict)
    chance: dict[str, float] = field(default_factory=dict)
    corpus: dict[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    unrated: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    folded: dict[str, Estimate] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    bad: dict[str, str] = field(default_factory=dict)


class Asked(Protocol):
    """What a result says of its task."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def version(self) -> int:
        """Raised whenever the same model and data would give another figure."""

    @property
    def kind(self) -> str:
        """Its family."""

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What it measures."""

    @property
    def primary(self) -> Metric:
        """The metric that stands for it."""


@dataclass(frozen=True)
class Task:
    """Something a model can be measured on.

    Args:
        name: Its name on the command line and in results.
        version: Raised whenever the same model and data would give another figure.
        kind: Its family, such as "zero-shot".
        summary: One line for lists.
        metrics: What it measures, the primary one first.
        settings: All choices that change a figure, besides the model and the data.
        missing: Returns what a data root lacks of its data, nothing if all is there.
        load: Reads its data from a data root.
        score: Measures an embedder on the data.
        row: Its row in the table of tasks.
    """

    name: str
    version: int
    kind: str
    summary: str
    metrics: tuple[Metric, ...]
    settings: dict[str, Any]
    missing: Callable[[Path], list[str]]
    load: Callable[[Path], AnyData]
    score: Callable[[Embedder, Any], Scores]
    row: Row

    @property
    def primary(self) -> Metric:
        """The metric that stands for the task."""
        return self.metrics[0]
