"""Questions about scenes: answers read by their words, right if they name the right thing and no other of its kind."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

from recap_eval.data.questions import Question
from recap_eval.data.scenes.lexicon import Token, tokens
from recap_eval.models.captioner import Said
from recap_eval.tasks.answered import OBJECTS, Graded, Mark, Means, error_name, fold
from recap_eval.tasks.base import Metric

YES_NO = re.compile(r"\b(yes|no)\b", re.IGNORECASE)
COUNT, WHAT, GROUND, PRESENCE = "count", "what", "ground", "presence"
KINDS = {COUNT: "how many", WHAT: "what is there", GROUND: "background", PRESENCE: "is it there"}
METRICS = (
    Metric("acc", "accuracy"),
    *(Metric(kind, label, 0.5 if kind == PRESENCE else None) for kind, label in KINDS.items()),
    *(Metric(error_name(n), f"errors with {n} objects", higher_is_better=False) for n in OBJECTS),
)


def _only(found: Sequence[Token], kind: str) -> str | None:
    """Return the one value of a kind that is named; None if none is, or several are."""
    values = {token.value for token in found if token.kind == kind}
    return str(values.pop()) if len(values) == 1 else None


def _thing(answer: str) -> str | None:
    found = tokens(answer)
    colour, shape = _only(found, "colour"), _only(found, "shape")
    return None if colour is None or shape is None else f"{colour} {shape}"


def _yes_no(answer: str) -> str | None:
    found = {word.lower() for word in YES_NO.findall(answer)}
    return found.pop() if len(found) == 1 else None


READERS: dict[str, Callable[[str], str | None]] = {
    COUNT: lambda answer: _only(tokens(answer), "number"),
    WHAT: _thing,
    GROUND: lambda answer: _only(tokens(answer), "colour"),
    PRESENCE: _yes_no,
}


def score(questions: Sequence[Question], said: Sequence[Said], means: Means) -> Graded:
    """Grade answers; beside the figures stands what the most frequent answer to each kind of question would get."""
    marks = [_mark(question, answer.text) for question, answer in zip(questions, said, strict=True)]
    extra = {"unread": sum(mark.read is None for mark in marks) / len(marks), "most_frequent_answers": _blind(questions)}
    return fold([metric.name for metric in METRICS], questions, said, marks, extra=extra)


def _mark(question: Question, answer: str) -> Mark:
    reader = READERS[question.kind]
    read = reader(answer)
    value = float(read is not None and read == reader(question.right))
    n = question.groups[1].rpartition("_")[2]
    return Mark({"acc": value, question.kind: value, error_name(int(n)): 1 - value}, read)


def _blind(questions: Sequence[Question]) -> float:
    counts = Counter((question.kind, question.right) for question in questions)
    best = {kind: max(n for (of, _), n in counts.items() if of == kind) for kind in {kind for kind, _ in counts}}
    return sum(best.values()) / len(questions)
