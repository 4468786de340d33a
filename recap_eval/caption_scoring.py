"""The loop over the families of metrics of a caption set: skip what is measured, fold what was counted, stamp, write."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from recap_eval.artifact import FACTS
from recap_eval.captions.diversity import BLOCK
from recap_eval.captions.files import label
from recap_eval.captions.pictured import Views
from recap_eval.captions.sample import SIZE
from recap_eval.captions.scan import Question
from recap_eval.captions.survey import Survey
from recap_eval.console import note
from recap_eval.data.items import DataId
from recap_eval.errors import DataError
from recap_eval.files import digest_file, digest_json
from recap_eval.metrics.two_way import LOGIT_SCALE
from recap_eval.models.base import ModelId
from recap_eval.provenance import run_record
from recap_eval.results import Result, identity, new_record, result_path, scale_of, slug, write_result
from recap_eval.runner import Options, Outcome, known_result, measure_each
from recap_eval.tasks.captions import FAMILIES, SCORERS, TWO_WAY, Family, Given
from recap_eval.tasks.captions_seen import Pictures, Sight
from recap_eval.tasks.captions_truth import RANKED
from recap_eval.tasks.judged import METRICS

PRECISE = 4  # significant digits of a figure in a line


@dataclass(frozen=True)
class Extras:
    """What some families need besides the captions.

    Args:
        references: Reference captions by key, or None for those of the other column.
        reference_tokens: How they are split into words.
        truth: Parquet of a scenes split, or None.
        pictures: The images and who looks at them, or None.
        about: What the captions are of, where that must be told with every figure.
    """

    references: dict[str, list[str]] | None = field(default=None, repr=False)
    reference_tokens: str = "ptb"
    truth: Path | None = None
    pictures: Pictures | None = None
    about: str = ""


@dataclass(frozen=True)
class Set:
    """A caption set that was counted: a column of caption files, and perhaps the one that it is held against.

    Args:
        name: What tables call the files.
        question: What was counted.
        surveys: What was found, by column.
        seconds: How long it took.
        facts: What a user says of the data, by name.
    """

    name: str
    question: Question
    surveys: dict[str, Survey]
    seconds: float
    facts: dict[str, float | str] = field(default_factory=dict)

    def model(self, column: str) -> ModelId:
        """Return whose captions a column's are: a caption set has a name and a digest, as a model has."""
        meta: dict[str, Any] = {"kind": "captions", "files": self.name, "column": column}
        meta |= {FACTS: self.facts} if self.facts else {}
        return ModelId(f"{self.name}:{label(column)}", self.surveys[column].content.digest, meta)

    @property
    def source(self) -> DataId:
        """Return which rows they are of; both columns' are the same."""
        content = self.surveys[self.question.column].content
        return DataId(self.name, "", content.asked, f"{content.rows:,} rows of caption files")

    def other(self, column: str) -> str | None:
        """Return the column that a column is held against."""
        return next((name for name in self.question.columns if name != column), None)


def measure_captions(found: Set, families: Sequence[Family], extras: Extras, options: Options) -> dict[str, Outcome]:
    """Measure every column by every family and write each result as soon as it is there.

    Returns:
        By column results found or made, and what failed; a `DataError` in one family leaves the others running.
    """
    asked = [one for family in families for one in _ways(family, found.question, extras.pictures)]
    outcomes: dict[str, Outcome] = {}
    for column in found.question.columns:
        bench = Bench(found, column, extras, options)
        if options.progress:
            note(f"{column}:")
        outcomes[column] = measure_each([family for family in asked if bench.applies(family)], bench.measure, line, options)
    return outcomes


def _ways(family: Family, question: Question, pictures: Pictures | None) -> list[Family]:
    """Return a family once for each tokenizer, model or judge that it is asked of, each under a name of its own."""
    if family.name == FAMILIES["tokens"].name:
        return [replace(family, tokenizer=one.name) for one in question.tokenizers]
    if not family.looks:
        return [family]
    assert pictures is not None
    if family.looks == "judge":
        assert pictures.jury is not None
        metrics = (METRICS[pictures.jury.judge.template.parser],)
        return [replace(family, metrics=metrics, name=f"{family.name}@{slug(pictures.jury.judge.model)}")]
    key = next(key for key, one in FAMILIES.items() if one.name == family.name)
    both = [family, TWO_WAY[key]] if len(question.columns) > 1 else [family]
    return [_by(one, word, pictures.sights[word], SCORERS[key]) for word in pictures.scorers[key] for one in both]


def _by(family: Family, word: str, sight: Sight, usual: str) -> Family:
    """Return a family as one model measures it: the paper's has the plain name, so that another never shares its column."""
    named = family.name if word == usual else f"{family.name}@{slug(sight.embedder.model.id.name)}"
    return replace(family, name=named, scorer=word)


class Bench:
    """One column of a caption set.

    Args:
        found: The set.
        column: The column.
        extras: What some families need.
        options: Where results go.
    """

    def __init__(self, found: Set, column: str, extras: Extras, options: Options) -> None:
        self._set, self._column, self._extras, self._options = found, column, extras, options
        self._own = column == found.question.column
        other = found.other(column)
        self._given = Given(
            found.surveys[column], None if other is None else found.surveys[other], extras.references, extras.reference_tokens,
            extras.truth, column,
        )  # fmt: skip

    def applies(self, family: Family) -> bool:
        """Return whether a family is asked of this column: references in the other column are not held against themselves."""
        return self._own or family.name != FAMILIES["references"].name or self._extras.references is not None

    def measure(self, family: Family) -> tuple[Result, bool]:
        """Return a family's result, and whether it was made now.

        Raises:
            DataError: There is no caption, or what the family needs is not there.
        """
        if not self._given.survey.content.captions:
            raise DataError(f"{self._set.name} has no caption in {self._column!r}.", "Name another column: --column, --against")
        model, given = self._set.model(self._column), self.given_to(family)
        source, settings = self._source(given.views), self._settings(family)
        path = result_path(self._options.out, family, model, identity(family, model, source, settings))
        known = known_result(path, self._options)
        if known is not None and known.meta.get(FACTS, {}) == self._set.facts and not _lacks_truth(family, given, known):
            return known, False  # of other facts it would stand on other boards
        start = time.perf_counter()
        scores = family.measure(given)
        seconds = time.perf_counter() - start
        record = new_record(family, model, source, settings, scores, scores.bad)
        record["run"] = run_record(seconds) | {"counting_seconds": round(self._set.seconds, 2)} | scores.facts
        return write_result(path, record, scores), True

    def given_to(self, family: Family) -> Given:
        """Return what a family is made of: those that look at images get theirs."""
        pictures = self._extras.pictures
        if pictures is None or not family.looks:
            return self._given
        if family.looks == "judge":
            return replace(self._given, views=pictures.rated, jury=pictures.jury)
        sight = pictures.sights[family.scorer]
        return replace(self._given, views=sight.views, sight=sight)

    def _source(self, views: Views | None) -> DataId:
        """Return which rows a family is measured on: all, or the sample with its images."""
        whole, about = self._set.source, f" ({self._extras.about})" if self._extras.about else ""
        if views is None:
            return replace(whole, reference=whole.reference + about)
        told = f"{len(views):,} images of {views.tally.rows:,} rows, joined by {views.on}{about}"
        return DataId(whole.name, "", views.fingerprint, told)

    def _settings(self, family: Family) -> dict[str, Any]:
        question = self._set.question
        settings: dict[str, Any] = {} if question.limit is None else {"limit": question.limit}
        if family.paired and len(question.columns) > 1:
            digests = sorted(self._set.surveys[column].content.digest for column in question.columns)
            settings["pair"] = f"{'+'.join(sorted(map(label, question.columns)))}:{digest_json(digests)[:16]}"
        own = LOOKING[family.looks] if family.looks else OWN.get(family.name)
        return settings | (own(family, self) if own else {})

    @property
    def question(self) -> Question:
        """What was counted."""
        return self._set.question

    @property
    def extras(self) -> Extras:
        """What some families need."""
        return self._extras


def _lacks_truth(family: Family, given: Given, known: Result) -> bool:
    """Return whether a measure is to be held against the scenes' truth now and was not then: its figures are the same."""
    return bool(family.looks) and not family.paired and given.truth is not None and RANKED not in known.record["extra"]


def _token_settings(family: Family, bench: Bench) -> dict[str, Any]:
    used = next(one for one in bench.question.tokenizers if one.name == family.tokenizer)
    return {"tokenizer": used.name} | ({"tokenizer.digest": used.digest} if used.digest else {})


def _reference_settings(family: Family, bench: Bench) -> dict[str, Any]:
    known = bench.extras.references
    which = f"column {label(bench.question.against or '')}" if known is None else digest_json(known)[:16]
    return {"references": which, "reference_tokens": bench.extras.reference_tokens}


def _truth_settings(family: Family, bench: Bench) -> dict[str, Any]:
    return {} if bench.extras.truth is None else {"truth": digest_file(bench.extras.truth)[:16]}


def _sample_settings(family: Family, bench: Bench) -> dict[str, Any]:
    return {"sample": SIZE, "block": BLOCK}


def _model_settings(family: Family, bench: Bench) -> dict[str, Any]:
    given = bench.given_to(family)
    assert given.sight is not None
    id = given.sight.embedder.model.id
    told = {"scorer": id.name, "scorer.revision": id.revision} | {f"scorer.{key}": value for key, value in id.protocol.items()}
    return told | {"sample": len(given.sight.views)} | ({"logit_scale": LOGIT_SCALE} if family.paired else {})


def _judge_settings(family: Family, bench: Bench) -> dict[str, Any]:
    given = bench.given_to(family)
    assert given.jury is not None
    assert given.views is not None
    told = {f"judge.{key}": value for key, value in given.jury.judge.settings().items()}
    return told | {"repeats": given.jury.repeats, "sample": len(given.views)}


LOOKING = {"model": _model_settings, "judge": _judge_settings}
OWN: dict[str, Callable[[Family, Bench], dict[str, Any]]] = {
    FAMILIES["tokens"].name: _token_settings,
    FAMILIES["references"].name: _reference_settings,
    FAMILIES["truth"].name: _truth_settings,
    FAMILIES["diversity"].name: _sample_settings,
    FAMILIES["nouns"].name: _sample_settings,
}


def line(family: Family, result: Result, fresh: bool) -> str:
    """Return a result in a line, its warnings below."""
    record = result.record
    told = [
        _figure(metric.label, record["metrics"][metric.name]) for metric in family.metrics if metric.name in record["metrics"]
    ]
    told += _by_truth(record["extra"])
    name = f"{family.name} ({family.tokenizer})" if family.tokenizer else family.name
    note = "" if fresh else "; measured before, not measured again"
    warnings = "".join(f"\n    warning: {sentence}" for sentence in record.get("warnings", []))
    return f"  {name}: {', '.join(told)} (n={_n(record)}{result.shortfall}{note}){warnings}"


def _by_truth(extra: dict[str, float]) -> list[str]:
    """Say how a measure ranks captions by the scenes' truth, where it was held against that."""
    if "truth_spearman" not in extra:
        return []
    ends = [extra[f"truth_spearman_{end}"] for end in ("low", "high") if f"truth_spearman_{end}" in extra]
    told = f" [{ends[0]:.2f}, {ends[1]:.2f}]" if ends else ""
    return [f"rank correlation with the truth {extra['truth_spearman']:.2f}{told}"]


def _n(record: dict[str, Any]) -> str:
    """Return how many items stand behind the figures: of a few, not all may have one that the others have."""
    found = sorted({int(cell["n"]) for cell in record["metrics"].values()}) or [0]
    return f"{found[0]:,}" if len(found) == 1 else f"{found[0]:,}–{found[-1]:,}"


def _figure(told: str, cell: dict[str, Any]) -> str:
    scale = scale_of(cell)
    unit = " %" if cell.get("unit") is None and scale == 100 else ""
    half = f" ± {scale * (cell['ci95'][1] - cell['ci95'][0]) / 2:.2g}" if cell["ci95"] else ""
    value = scale * cell["value"]
    return f"{told} {value:,.0f}{half}" if abs(value) >= 10**PRECISE else f"{told} {value:.{PRECISE}g}{half}{unit}"
