"""The loop over the tasks of a captioner: skip what is measured, ask what was not asked before, keep, grade, stamp, write.

Beside a result lie the answers themselves: <task>-<identity>.answers.jsonl, a line a question, as they were generated.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recap_eval.data.digests import MEMORY, Digests, fingerprint
from recap_eval.data.items import DataId
from recap_eval.data.questions import Question, Questions
from recap_eval.errors import DataError
from recap_eval.files import digest_file, digest_json, write_text
from recap_eval.models.captioner import LENGTH, Ask, Captioner, Missed, Said
from recap_eval.provenance import run_record
from recap_eval.results import Result, identity, new_record, result_path, scale_of, write_result
from recap_eval.runner import Options, Outcome, known_result, measure_each
from recap_eval.said import Kept
from recap_eval.tasks.answered import Graded, Means
from recap_eval.tasks.captioner import CaptionerTask, settings_of

VERSION = 1  # raised when the same question would be put otherwise


def measure_captioner(bench: Bench, tasks: Sequence[CaptionerTask]) -> Outcome:
    """Measure a captioner on tasks and write each result as soon as it is there.

    Returns:
        Results found or made, and what failed; a `DataError` in one task leaves the others running.
    """
    return measure_each(tasks, bench.measure, line, bench.options)


@dataclass(frozen=True)
class Answered:
    """A task's questions with their answers.

    Args:
        questions: (N) the questions that have one.
        said: (N) the answers.
        bad: What is wrong with the others, by key.
        now: How many answers were made in this run.
        seconds: How long that took.
    """

    questions: list[Question]
    said: list[Said]
    bad: dict[str, str]
    now: int
    seconds: float


class Bench:
    """A captioner at work.

    Args:
        captioner: The captioner.
        means: How tasks are asked and graded.
        kept: The file of answers.
        options: Where data and results are, and how errors are met.
    """

    def __init__(self, captioner: Captioner, means: Means, kept: Path, options: Options) -> None:
        self.captioner, self.means, self.kept, self.options = captioner, means, kept, options
        self._digests = Digests(None if options.cache is None else options.cache / MEMORY, options.progress)

    def measure(self, task: CaptionerTask) -> tuple[Result, bool]:
        """Return a task's result, and whether it was made now.

        Raises:
            DataError: The data is damaged, an image is unreadable, or questions have no answer.
            UserError: What the task needs besides is not there.
        """
        data = task.load(self.options.data, self.means)
        images = self._digests_of(data)
        source, model = _identified(data, images), self.captioner.id
        settings = settings_of(task, self.means) | data.settings  # how a model is run is its own affair: in its protocol
        settings |= {} if self.options.limit is None else {"limit": self.options.limit}
        path = result_path(self.options.out, task, model, identity(task, model, source, settings))
        if (known := known_result(path, self.options)) is not None:
            return known, False
        start = time.perf_counter()
        answered = self._answered(task, data if self.options.limit is None else data.first(self.options.limit), images)
        graded = task.score(answered.questions, answered.said, self.means)
        bad = answered.bad | graded.bad
        record = new_record(task, model, source, settings, _with_facts(graded, answered, self.captioner), bad)
        if lack := data.incomplete:
            record |= {"partial": True, "incomplete": lack}
        record["run"] = run_record(time.perf_counter() - start) | _pace(answered) | graded.scores.facts
        record["answers"] = _write_answers(path, answered, graded)
        return write_result(path, record, graded.scores), True

    def _digests_of(self, data: Questions) -> list[list[str]]:
        """Return the digests of every question's images."""
        flat = iter(self._digests.of([image for item in data.items for image in item.images]))
        return [[next(flat) for _ in item.images] for item in data.items]

    def _answered(self, task: CaptionerTask, data: Questions, images: list[list[str]]) -> Answered:
        if not data.items:
            raise DataError(f"{task.name} has no question.", "Check the data.")
        whole = list(zip(data.items, images, strict=False))  # of fewer items where there is a limit
        asks = [self._ask(item, own, task.most) for item, own in whole]
        start = time.perf_counter()
        found, missed, now = self._asked(task, asks)
        _check(missed, len(asks), self.options.skip_bad)
        questions = [item if item.cluster else replace(item, cluster=" ".join(own)) for item, own in whole]
        rows = [(item, found[ask.key]) for item, ask in zip(questions, asks, strict=True) if ask.key in found]
        if not rows:
            raise DataError(f"No question of {task.name} has an answer.", "Check images and captioner.")
        why = missed.bad | missed.failed
        bad = {item.key: why[ask.key] for item, ask in zip(questions, asks, strict=True) if ask.key not in found}
        said = [answer for _, answer in rows]
        return Answered([item for item, _ in rows], said, bad, now, time.perf_counter() - start)

    def _asked(self, task: CaptionerTask, asks: list[Ask]) -> tuple[dict[str, Said], Missed, int]:
        """Ask what has no answer yet, equal things once; return all answers, what has none, and how many were made now."""
        keys, missed = [ask.key for ask in asks], Missed()
        with Kept(self.kept) as kept:
            before = kept.get(keys)
            todo = list({ask.key: ask for ask in asks if ask.key not in before}.values())
            if todo:
                task.ready(self.means)
                missed = self.captioner.answer(todo, kept.add, self.options.skip_bad, self.options.progress)
            found = kept.get(keys)
        return found, missed, len(found) - len(before)

    def _ask(self, item: Question, digests: list[str], most: int) -> Ask:
        """Return what is asked, under a digest of all that the answer depends on."""
        model, images = self.captioner.id, iter(digests)
        parts = [part if isinstance(part, str) else {"image": next(images)} for part in item.parts]
        key = digest_json([VERSION, model.name, model.revision, model.protocol, parts, most])
        return Ask(key, item.key, item.parts, most)


def _identified(data: Questions, images: list[list[str]]) -> DataId:
    keys = [item.key for item in data.items]
    return replace(data.source, fingerprint=fingerprint(keys, [" ".join(own) for own in images], data.contents()))


def _check(missed: Missed, n: int, skip_bad: bool) -> None:
    if missed.failed and not skip_bad:
        why = next(iter(missed.failed.values()))
        raise DataError(
            f"{len(missed.failed):,} of {n:,} questions have no answer; the first: {why}.",
            "The same command asks these again and no others; --skip-bad leaves them out, counted.",
        )


def _with_facts(graded: Graded, answered: Answered, captioner: Captioner) -> Any:
    """Return the scores with what is known of the answers themselves: how many were cut, empty, or asked beyond the context."""
    said, n = answered.said, len(answered.said)
    extra = {
        "cut": sum(one.finish_reason == LENGTH for one in said) / n,
        "empty": sum(not one.text.strip() for one in said) / n,
    }
    extra |= {"tokens_out": sum(one.tokens_out for one in said) / n}
    over = sum(one.tokens_in + one.tokens_out > captioner.context for one in said) if captioner.context else 0
    warnings = graded.scores.warnings
    if over:
        limit = f"the {captioner.context:,} tokens of the model"
        warnings += (f"{over:,} of {n:,} questions with their answers are longer than {limit}.",)
    return replace(graded.scores, extra=graded.scores.extra | extra, warnings=warnings)


def _pace(answered: Answered) -> dict[str, Any]:
    pace = {"answers_per_second": round(answered.now / answered.seconds, 2)} if answered.now else {}
    return {"answered_now": answered.now, "answering_seconds": round(answered.seconds, 2)} | pace


def _write_answers(path: Path, answered: Answered, graded: Graded) -> dict[str, str]:
    """Write the answers beside a result; return their file and its digest."""
    whole = next(iter(graded.scores.metrics.values()), None)
    values = {} if whole is None else dict(zip(whole.items, map(float, whole.values), strict=True))
    rows = [
        {"id": question.key, "asked": "".join(question.words), "answer": answer.text, "finish_reason": answer.finish_reason}
        | {"read": read, "right": question.right, "value": values.get(question.key)}
        for question, answer, read in zip(answered.questions, answered.said, graded.reads, strict=True)
    ]
    place = path.with_suffix(".answers.jsonl")
    write_text(place, "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows))
    return {"file": place.name, "sha256": digest_file(place)}


def line(task: CaptionerTask, result: Result, fresh: bool) -> str:
    """Return a result in a line, its warnings below."""
    record = result.record
    known = next((metric for metric in task.metrics if metric.name in record["metrics"]), task.primary)
    told = _figure(known.label, record["metrics"][known.name]) if known.name in record["metrics"] else "no figure"
    note = f"{record['run']['seconds']:.1f} s" if fresh else "measured before, not measured again"
    warnings = "".join(f"\n    warning: {sentence}" for sentence in record.get("warnings", []))
    return f"  {task.name}: {told}{result.shortfall}; {note}{warnings}"


def _figure(label: str, cell: dict[str, Any]) -> str:
    scale = scale_of(cell)
    half = f" ± {scale * (cell['ci95'][1] - cell['ci95'][0]) / 2:.1f}" if cell["ci95"] else ""
    return f"{label} {scale * cell['value']:.1f}{half} (n={cell['n']:,})"
