"""Captions that a captioner makes of images, held against people's: CIDEr, BLEU, ROUGE-L; their length; how they end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from recap_eval.captions.flags import flags
from recap_eval.data.items import CaptionedImages
from recap_eval.data.questions import Question, Questions
from recap_eval.errors import UserError
from recap_eval.models.captioner import Said
from recap_eval.tasks.answered import Graded, Mark, Means, fold
from recap_eval.tasks.base import Metric
from recap_eval.tasks.captions import REFERENCES
from recap_eval.tasks.captions_references import check_tokens, score_texts
from recap_eval.tasks.catalog import Row, build_task, load_catalog

DATA = "docci"
FLAGS = ("unfinished", "repetition", "refusal")
METRICS = (
    *REFERENCES,
    Metric("words", "words", scale=1, unit="words"),
    *(Metric(name, name, higher_is_better=False) for name in FLAGS),
)


def row_of(data: str, root: Path) -> Row:
    """Return the row of a data set with captions.

    Raises:
        UserError: No such data set, or it has no captions.
    """
    rows = {name: row for name, row in load_catalog(root).items() if row.kind == "retrieval"}
    if data not in rows:
        raise UserError(f"{data!r} is no data set of images and captions.", f"Choose one of {', '.join(rows)}.")
    return rows[data]


def missing(root: Path, data: str) -> list[str]:
    """Return what a data root lacks of a data set."""
    return build_task(data, row_of(data, root)).missing(root)


def read(root: Path, data: str, prompt: str) -> Questions:
    """Read the images of a data set to be captioned; what is right are its captions.

    Raises:
        DataError: See its reader.
    """
    row = row_of(data, root)
    found = build_task(data, row).load(root)
    assert isinstance(found, CaptionedImages)
    items = [
        Question(image.key, (image, prompt), captions, image.key)
        for image, captions in zip(found.images, found.captions, strict=True)
    ]
    return Questions(found.source, items, {}, row.images)


def ready(means: Means) -> None:
    """Check that captions can be split into words.

    Raises:
        UserError: Unknown way, or Java is not there.
    """
    check_tokens(means.tokens)


def score(questions: Sequence[Question], said: Sequence[Said], means: Means) -> Graded:
    """Hold captions against their references; an empty one scores 0."""
    captions = {one.key: [answer.text] for one, answer in zip(questions, said, strict=True)}
    references = {one.key: list(one.right) for one in questions}
    against = score_texts(captions, references, means.tokens, len(captions))
    marks = [_mark(answer) for answer in said]
    own = fold(["words", *FLAGS], questions, said, marks)
    clusters = [one.cluster for one in questions]
    held = {name: replace(items, clusters=clusters) for name, items in against.metrics.items()}
    scores = replace(own.scores, metrics=held | own.scores.metrics, corpus=against.corpus, extra=against.extra)
    return Graded(scores, own.reads)


def _mark(answer: Said) -> Mark:
    found = flags(answer.text, finish_reason=answer.finish_reason)
    return Mark({"words": float(len(answer.text.split()))} | {name: float(name in found) for name in FLAGS}, ", ".join(found))
