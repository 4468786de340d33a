"""What a task is, and what it hands over: per-item scores. Means, errors and intervals are made in one place, later."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap_eval.data.items import DataId

if TYPE_CHECKING:
    import numpy as np

    from recap_eval.embed import Embedder


@dataclass(frozen=True)
class Metric:
    """A per-item score.

    Args:
        name: Its name in results, such as "i2t_r1".
        label: Its name in tables.
        chance: What guessing scores on average; None where that depends on the data's size.
        higher_is_better: Its direction.
    """

    name: str
    label: str
    chance: float | None = None
    higher_is_better: bool = True


@dataclass(frozen=True)
class ItemScores:
    """One metric's value for every item.

    Args:
        items: (N,) item ids.
        clusters: (N,) the image each item belongs to.
        values: (N,) floats.
    """

    items: list[str]
    clusters: list[str]
    values: np.ndarray


@dataclass(frozen=True)
class Scores:
    """What a task hands over.

    Args:
        metrics: Per-item scores by metric name.
        extra: Corpus-level facts: truncated share, tie share, bounds, ….
    """

    metrics: dict[str, ItemScores]
    extra: dict[str, float] = field(default_factory=dict)


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
        present: Tells whether a data root holds its data.
        load: Reads its data from a data root.
        score: Measures an embedder on the data, `limit` items at most.
    """

    name: str
    version: int
    kind: str
    summary: str
    metrics: tuple[Metric, ...]
    settings: dict[str, Any]
    present: Callable[[Path], bool]
    load: Callable[[Path], Any]
    score: Callable[[Embedder, Any], Scores]

    @property
    def primary(self) -> Metric:
        """The metric that stands for the task."""
        return self.metrics[0]


def source_of(data: Any) -> DataId:
    """Return which data a loaded data set is."""
    source = data.source
    assert isinstance(source, DataId)
    return source
