"""What tasks of captioners share: the user's means, and answers with what they are worth, folded into scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from recap_eval.data.questions import Question
from recap_eval.models.captioner import Said
from recap_eval.tasks.base import ItemScores, Scores

if TYPE_CHECKING:
    from recap_eval.judge.rating import Config

OBJECTS = (1, 2, 3, 4)  # things in a scene, by which errors are told apart


@dataclass(frozen=True)
class Means:
    """How a user wants tasks to be asked and graded.

    Args:
        images: Which images of a question of MMMU are shown: see `data.mmmu.SHOWN`.
        tokens: How captions and references are split into words: see `captions_references.TOKENS`.
        judge: The judge of MM-Vet; None where no task needs one.
    """

    images: str = "first"
    tokens: str = "ptb"
    judge: Config | None = None


@dataclass(frozen=True)
class Mark:
    """What one answer is worth.

    Args:
        values: By metric; those that do not apply are left out.
        read: How it was read; None where it could not be.
    """

    values: dict[str, float]
    read: str | None = None


@dataclass(frozen=True)
class Graded:
    """What a task makes of answers.

    Args:
        scores: The scores.
        reads: (N) how each answer was read; None where it could not be.
        bad: What is wrong with the questions that could not be graded, by key.
    """

    scores: Scores
    reads: list[str | None]
    bad: dict[str, str] = field(default_factory=dict)


def fold(
    names: Sequence[str], questions: Sequence[Question], said: Sequence[Said], marks: Sequence[Mark], **facts: Any
) -> Graded:  # fmt: skip
    """Return the scores of all metrics that any answer has a value of; the others are absent.

    Args:
        names: Names of all metrics of the task.
        questions: (N) the questions.
        said: (N) the answers; a wrong one is kept as what was given.
        marks: (N) what they are worth.
        facts: Other fields of `Scores`.
    """
    found = {name: _items(name, questions, said, marks) for name in names}
    metrics = {name: items for name, items in found.items() if items is not None}
    absent = tuple(name for name in names if name not in metrics)
    return Graded(Scores(metrics, absent=absent, **facts), [mark.read for mark in marks])


def _items(name: str, questions: Sequence[Question], said: Sequence[Said], marks: Sequence[Mark]) -> ItemScores | None:
    import numpy as np

    each = zip(questions, said, marks, strict=True)
    rows = [(one, answer, mark.values[name]) for one, answer, mark in each if name in mark.values]
    if not rows:
        return None
    given = [None if value >= 1 else answer.text for _, answer, value in rows]
    values = np.array([value for _, _, value in rows], dtype=np.float64)
    return ItemScores([one.key for one, _, _ in rows], [one.cluster for one, _, _ in rows], values, given)


def error_name(n: int) -> str:
    """Return what the error rate in scenes with so many things is called."""
    return f"error_{n}"
