"""MMMU: accuracy in all, by form of question and by discipline; subjects stand in the record."""

from __future__ import annotations

from collections.abc import Sequence

from recap_eval.data.mmmu import CHOICE, DISCIPLINES, OPEN
from recap_eval.data.questions import Question
from recap_eval.models.captioner import Said
from recap_eval.tasks.answered import Graded, Mark, Means, fold
from recap_eval.tasks.base import Metric
from recap_eval.tasks.mmmu_answers import is_right, read_choice

METRICS = (
    Metric("acc", "accuracy"),
    *(Metric(f"acc:{form}", form.replace("_", " ")) for form in (CHOICE, OPEN)),
    *(Metric(f"acc:{name}", name.replace("_", " ")) for name in DISCIPLINES),
)


def score(questions: Sequence[Question], said: Sequence[Said], means: Means) -> Graded:
    """Grade answers; one that names no option is wrong, and the record says what drawing one at random would give."""
    marks = [_mark(question, answer.text) for question, answer in zip(questions, said, strict=True)]
    names = [metric.name for metric in METRICS]
    return fold(
        names, questions, said, marks, chance={"acc": _mean([_guess(one) for one in questions])},
        extra=_extra(questions, marks), warnings=_warnings(questions, marks), details={"subjects": _subjects(questions, marks)},
    )  # fmt: skip


def _mark(question: Question, answer: str) -> Mark:
    read = read_choice(answer, question.options) if question.kind == CHOICE else answer
    right = read in question.right if question.kind == CHOICE else is_right(answer, question.right)
    value = float(right)
    names = ("acc", f"acc:{question.kind}", f"acc:{question.groups[0]}")
    return Mark(dict.fromkeys(names, value), read)


def _guess(question: Question) -> float:
    return 1 / len(question.options) if question.options else 0.0


def _unread(questions: Sequence[Question], marks: Sequence[Mark]) -> list[Question]:
    return [question for question, mark in zip(questions, marks, strict=True) if mark.read is None]


def _extra(questions: Sequence[Question], marks: Sequence[Mark]) -> dict[str, float]:
    unread = _unread(questions, marks)
    right = sum(mark.values["acc"] for mark in marks)
    drawn = (right + sum(map(_guess, unread))) / len(questions)
    return {"no_option_named": float(len(unread)), "acc_if_drawn": drawn}


def _warnings(questions: Sequence[Question], marks: Sequence[Mark]) -> tuple[str, ...]:
    extra = _extra(questions, marks)
    if not extra["no_option_named"]:
        return ()
    unread = f"{extra['no_option_named']:,.0f} of {len(questions):,} answers name no option and count as wrong"
    return (f"{unread}; the authors' code draws one at random, which gives {100 * extra['acc_if_drawn']:.1f} on average.",)


def _subjects(questions: Sequence[Question], marks: Sequence[Mark]) -> dict[str, dict[str, float]]:
    found: dict[str, list[float]] = {}
    for question, mark in zip(questions, marks, strict=True):
        found.setdefault(question.groups[1], []).append(mark.values["acc"])
    return {name: {"acc": _mean(values), "n": len(values)} for name, values in sorted(found.items())}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
