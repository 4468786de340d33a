"""Captions that a captioner makes of scenes, held against the scenes: truth, recall, hallucination; by number of things."""

from __future__ import annotations

from collections.abc import Sequence

from recap_eval.data.questions import Question
from recap_eval.data.scenes.claims import VERSION as CLAIMS_VERSION
from recap_eval.data.scenes.claims import claims
from recap_eval.data.scenes.tally import GROUPS, Tally, tallies
from recap_eval.data.scenes.told import Claims
from recap_eval.data.scenes.verdict import KINDS, Verdict, held_against
from recap_eval.models.captioner import Said
from recap_eval.tasks.answered import OBJECTS, Graded, Mark, Means, error_name, fold
from recap_eval.tasks.base import Metric
from recap_eval.tasks.captions import TRUTH
from recap_eval.tasks.captions_truth import WHOLE, scene_of

NAMES = {"object": "things", "attribute": "attributes", "relation": "relations"}
METRICS = (
    Metric("f1", "F1 of claims"),
    *TRUTH,
    *(
        Metric(f"{group}_{name}", label.format(NAMES[group]), higher_is_better=name != "hallucination")
        for group in GROUPS
        for name, label in (
            ("precision", "told {} that hold"), ("recall", "{} told of those there"),
            ("hallucination", "captions with untrue {}"),
        )
    ),
    *(Metric(error_name(n), f"untrue claims with {n} objects", higher_is_better=False) for n in OBJECTS),
)  # fmt: skip


def score(questions: Sequence[Question], said: Sequence[Said], means: Means) -> Graded:
    """Hold captions against their scenes."""
    told = [claims(answer.text) for answer in said]
    marks = [_mark(question, found) for question, found in zip(questions, told, strict=True)]
    return fold(
        [metric.name for metric in METRICS], questions, said, marks, extra=_extra(told), warnings=_warnings(told)
    )  # fmt: skip


def _mark(question: Question, told: Claims) -> Mark:
    scene = scene_of(**question.right)
    verdict = held_against(told, scene)
    values = {name: test(verdict) for name, test in WHOLE.items()} | {kind: verdict.of(kind) for kind in KINDS}
    values |= {"f1": _f1(verdict)} | _of_groups(tallies(told, scene, verdict))
    if verdict.truth is not None:
        values[error_name(len(scene.things))] = 1 - verdict.truth
    judged = ", ".join(f"{kind} {'true' if holds else 'false'}" for kind, holds in verdict.judged)
    return Mark({name: value for name, value in values.items() if value is not None}, judged or None)


def _f1(verdict: Verdict) -> float:
    """Return the harmonic mean of truth and recall; 0 without a claim."""
    truth, recall = verdict.truth or 0.0, verdict.recall or 0.0
    return 2 * truth * recall / (truth + recall) if truth + recall else 0.0


def _of_groups(found: dict[str, Tally]) -> dict[str, float | None]:
    values: dict[str, float | None] = {}
    for group, tally in found.items():
        values |= {f"{group}_precision": tally.precision, f"{group}_recall": tally.recall}
        values[f"{group}_hallucination"] = tally.hallucinates
    return values


def _extra(told: Sequence[Claims]) -> dict[str, float]:
    words, unknown = sum(one.words for one in told), sum(one.unknown for one in told)
    facts = {"claims_per_caption": sum(one.n for one in told) / len(told), "words_not_understood": unknown / max(words, 1)}
    return facts | {"without_claims": float(sum(not one.n for one in told)), "claims_version": float(CLAIMS_VERSION)}


def _warnings(told: Sequence[Claims]) -> tuple[str, ...]:
    silent = sum(not one.n for one in told)
    if not silent:
        return ()
    return (
        f"{silent:,} of {len(told):,} captions claim nothing of their scene: they count in F1 and recall, and not in truth.",
    )
