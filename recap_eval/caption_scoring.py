"""The loop over the families of metrics of a caption set: skip what is measured, fold what was counted, stamp, write."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from recap_eval.captions.diversity import BLOCK
from recap_eval.captions.sample import SIZE
from recap_eval.captions.scan import Question
from recap_eval.captions.survey import Survey
from recap_eval.console import note
from recap_eval.data.items import DataId
from recap_eval.errors import DataError
from recap_eval.files import digest_file, digest_json
from recap_eval.models.base import ModelId
from recap_eval.provenance import run_record
from recap_eval.results import Result, identity, new_record, result_path, scale_of, write_result
from recap_eval.runner import Options, Outcome, known_result, measure_each
from recap_eval.tasks.captions import FAMILIES, Family, Given

PRECISE = 4  # significant digits of a figure in a line


@dataclass(frozen=True)
class Extras:
    """What some families need besides the captions.

    Args:
        references: Reference captions by key, or None for those of the other column.
        reference_tokens: How they are split into words.
        truth: Parquet of a scenes split, or None.
    """

    references: dict[str, list[str]] | None = field(default=None, repr=False)
    reference_tokens: str = "ptb"
    truth: Path | None = None


@dataclass(frozen=True)
class Set:
    """A caption set that was counted: a column of caption files, and perhaps the one that it is held against.

    Args:
        name: What tables call the files.
        question: What was counted.
        surveys: What was found, by column.
        seconds: How long it took.
    """

    name: str
    question: Question
    surveys: dict[str, Survey]
    seconds: float

    def model(self, column: str) -> ModelId:
        """Return whose captions a column's are: a caption set has a name and a digest, as a model has."""
        meta = {"kind": "captions", "files": self.name, "column": column}
        return ModelId(f"{self.name}:{label(column)}", self.surveys[column].content.digest, meta)

    @property
    def source(self) -> DataId:
        """Return which rows they are of; both columns' are the same."""
        content = self.surveys[self.question.column].content
        return DataId(self.name, "", content.asked, f"{content.rows:,} rows of caption files")

    def other(self, column: str) -> str | None:
        """Return the column that a column is held against."""
        return next((name for name in self.question.columns if name != column), None)


def label(column: str) -> str:
    """Return what tables call a column: a shard's "json:FIELD" is FIELD."""
    return column.removeprefix("json:")


def measure_captions(found: Set, families: Sequence[Family], extras: Extras, options: Options) -> dict[str, Outcome]:
    """Measure every column by every family and write each result as soon as it is there.

    Returns:
        By column results found or made, and what failed; a `DataError` in one family leaves the others running.
    """
    asked = [one for family in families for one in _by_tokenizer(family, found.question)]
    outcomes: dict[str, Outcome] = {}
    for column in found.question.columns:
        bench = Bench(found, column, extras, options)
        if options.progress:
            note(f"{column}:")
        outcomes[column] = measure_each([family for family in asked if bench.applies(family)], bench.measure, line, options)
    return outcomes


def _by_tokenizer(family: Family, question: Question) -> list[Family]:
    if family.name != FAMILIES["tokens"].name:
        return [family]
    return [replace(family, tokenizer=one.name) for one in question.tokenizers]


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
            extras.truth,
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
        model, source, settings = self._set.model(self._column), self._set.source, self._settings(family)
        path = result_path(self._options.out, family, model, identity(family, model, source, settings))
        if (known := known_result(path, self._options)) is not None:
            return known, False
        start = time.perf_counter()
        scores = family.measure(self._given)
        seconds = time.perf_counter() - start
        record = new_record(family, model, source, settings, scores, {})
        record["run"] = run_record(seconds) | {"counting_seconds": round(self._set.seconds, 2)}
        return write_result(path, record, scores), True

    def _settings(self, family: Family) -> dict[str, Any]:
        question = self._set.question
        settings: dict[str, Any] = {} if question.limit is None else {"limit": question.limit}
        if family.paired and len(question.columns) > 1:
            digests = sorted(self._set.surveys[column].content.digest for column in question.columns)
            settings["pair"] = f"{'+'.join(sorted(map(label, question.columns)))}:{digest_json(digests)[:16]}"
        return settings | (OWN[family.name](family, self) if family.name in OWN else {})

    @property
    def question(self) -> Question:
        """What was counted."""
        return self._set.question

    @property
    def extras(self) -> Extras:
        """What some families need."""
        return self._extras


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
    name = f"{family.name} ({family.tokenizer})" if family.tokenizer else family.name
    note = "" if fresh else "; measured before, not measured again"
    part = ", PARTIAL" if result.partial else ""
    warnings = "".join(f"\n    warning: {sentence}" for sentence in record.get("warnings", []))
    return f"  {name}: {', '.join(told)} (n={_n(record):,}{part}{note}){warnings}"


def _n(record: dict[str, Any]) -> int:
    return max((int(cell["n"]) for cell in record["metrics"].values()), default=0)


def _figure(told: str, cell: dict[str, Any]) -> str:
    scale = scale_of(cell)
    unit = " %" if cell.get("unit") is None and scale == 100 else ""
    half = f" ± {scale * (cell['ci95'][1] - cell['ci95'][0]) / 2:.2g}" if cell["ci95"] else ""
    value = scale * cell["value"]
    return f"{told} {value:,.0f}{half}" if abs(value) >= 10**PRECISE else f"{told} {value:.{PRECISE}g}{half}{unit}"
