"""MM-Vet: answers graded from 0 to 1 by a language model with the authors' prompt, in all and by skill.

The prompt (judge/templates/mm-vet.txt) shows question, right answer and answer, and no image. The authors' code asks again,
with more and more randomness, where the judge gives no number, and then counts 0; here such answers are counted and bound the
mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from recap_eval.data.mm_vet import CAPABILITIES
from recap_eval.data.questions import Question
from recap_eval.endpoint.address import demand_key
from recap_eval.errors import UserError
from recap_eval.judge.questions import Item
from recap_eval.judge.rating import Config
from recap_eval.models.captioner import Said
from recap_eval.tasks.answered import Graded, Means
from recap_eval.tasks.base import Metric
from recap_eval.tasks.judged import judge_scores

LABELS = {
    "rec": "recognition", "ocr": "OCR", "know": "knowledge", "gen": "language generation", "spat": "spatial awareness",
    "math": "math",
}  # fmt: skip
METRICS = (Metric("grade", "grade"), *(Metric(f"grade:{name}", LABELS[name]) for name in CAPABILITIES))


def ready(means: Means) -> None:
    """Check that the judge can be asked, before the captioner is.

    Raises:
        UserError: No judge is named.
        DataError: Its server asks for a key, and there is none.
    """
    demand_key(_judge(means).setup.address)


def _judge(means: Means) -> Config:
    if means.judge is None:
        raise UserError("MM-Vet needs a judge.", "Name one: --judge-model M, and --base-url URL where it is not OpenAI's")
    return means.judge


def score(questions: Sequence[Question], said: Sequence[Said], means: Means) -> Graded:
    """Have answers graded.

    Raises:
        UserError: No judge is named.
        DataError: Questions to the judge failed, or none has a figure.
    """
    items = [Item.of(one.key, None, *_row(one, answer.text)) for one, answer in zip(questions, said, strict=True)]
    scores, bad = judge_scores(items, _judge(means), {one.key: one.cluster for one in questions})
    whole = scores.metrics["grade"]
    texts = {one.key: answer.text for one, answer in zip(questions, said, strict=True)}
    whole = replace(whole, given=[None if v >= 1 else texts[key] for key, v in zip(whole.items, whole.values, strict=True)])
    groups = {one.key: one.groups for one in questions}
    places = {name: [at for at, key in enumerate(whole.items) if name in groups[key]] for name in CAPABILITIES}
    metrics = {"grade": whole} | {f"grade:{name}": whole.part(own) for name, own in places.items() if own}
    absent = tuple(metric.name for metric in METRICS if metric.name not in metrics)
    grades = dict(zip(whole.items, whole.values, strict=True))
    reads = [f"{grades[one.key]:g}" if one.key in grades else None for one in questions]
    return Graded(replace(scores, metrics=metrics, absent=absent), reads, bad)


def _row(question: Question, answer: str) -> tuple[str, str, str]:
    """Return right answer, answer and question as the authors' table has them."""
    right = question.right.replace("<AND>", " <AND> ").replace("<OR>", " <OR> ")
    return right, answer, question.words[0]
