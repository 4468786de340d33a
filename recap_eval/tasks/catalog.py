"""The table of tasks: one row a data set, in catalog.toml or in a user's own tasks.toml; a row becomes a `Task`.

A new data set is a row, and a reader only if its format is new.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

from recap_eval.data.items import (
    NAMELESS,
    AnyData,
    CaptionedImages,
    CaptionPairs,
    CaptionQuads,
    DataId,
    LabelledImages,
)
from recap_eval.errors import DataError, unknown_name
from recap_eval.tasks.base import Metric, Task

CATALOG = Path(__file__).with_name("catalog.toml")
READERS = tuple(  # the modules of readers, all that a user's table may name
    f"recap_eval.data.{name}:"
    for name in ("captioned", "imagenet", "labelled", "long_captions", "own", "paired", "scenes.locate", "webdata")
)
SEE_READERS = "See docs/tasks.md for the readers and their options."
OWN = "tasks.toml"  # a user's rows, in the data root

KINDS = {
    "zero-shot": ("recap_eval.tasks.zero_shot:score_zero_shot", "recap_eval.tasks.zero_shot:metrics"),
    "retrieval": ("recap_eval.tasks.retrieval:score_retrieval", "recap_eval.tasks.retrieval:metrics"),
    "pairs": ("recap_eval.tasks.pairs:score_pairs", "recap_eval.tasks.pairs:metrics"),
    "quads": ("recap_eval.tasks.quads:score_quads", "recap_eval.tasks.quads:metrics"),
}

FORMS: dict[str, type] = {
    "zero-shot": LabelledImages,
    "retrieval": CaptionedImages,
    "pairs": CaptionPairs,
    "quads": CaptionQuads,
}


@dataclass(frozen=True)
class Row:
    """A data set as a task.

    Args:
        kind: One of `KINDS`.
        summary: One line for lists.
        reader: "module:attr" of the function that reads it: (root, **options) to one of the forms of data/items.py.
        version: Raised whenever the same model and data would give another figure.
        options: What the reader is told.
        needs: Paths below the data root without which it cannot be read.
        find: "module:attr" of a function (root) to the list of what is missing, where `needs` cannot say it.
        data: Name of the data set in results; empty if the reader names it.
        split: Its split.
        reference: What it is, in a few words, for the report.
        settings: Choices that change a figure, written into the result.
        templates: Set of templates of a zero-shot task, a name of data/templates.py; empty if the data brings its own.
        groups: Breakdown of a pairs task: kinds of rows that get a figure of their own.
        macro_from: Least number of cases of a kind that counts in the macro average of a pairs task; 0 for no such average.
        macro_without: Kinds that do not count in it.
        primary: Name of the metric that stands for the task; empty for the first of its kind.
        images: How many images the official set has; 0 if nobody says. Other numbers make a result partial.
        texts: How many captions, pairs or classes it has, likewise.
        suites: Names that stand for several tasks.
        get: How to get the data, for people.
        fetch: Names in data/sources.toml that `recap-eval fetch` can get, if a licence allows it.
    """

    kind: str
    summary: str
    reader: str
    version: int = 1
    options: dict[str, Any] = field(default_factory=dict)
    needs: list[str] = field(default_factory=list)
    find: str = ""
    data: str = ""
    split: str = ""
    reference: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    templates: str = ""
    groups: list[str] = field(default_factory=list)
    macro_from: int = 0
    macro_without: list[str] = field(default_factory=list)
    primary: str = ""
    images: int = 0
    texts: int = 0
    suites: list[str] = field(default_factory=list)
    get: str = ""
    fetch: list[str] = field(default_factory=list)


def _resolve(target: str) -> Any:
    module, _, attribute = target.partition(":")
    return getattr(import_module(module), attribute)


def read_rows(path: Path) -> dict[str, Row]:
    """Read a table of tasks.

    Raises:
        DataError: It is not TOML, or a row has an unknown field or kind, or lacks one.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        rows = {name: Row(**fields) for name, fields in table.items()}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, TypeError) as error:
        raise DataError(f"{path} is not a table of tasks ({error}).", "See docs/tasks.md for the fields of a row.") from error
    for name, row in rows.items():
        if row.kind not in KINDS:
            wrong = unknown_name("kind", row.kind, KINDS, "docs/tasks.md")
            raise DataError(f"{path}: task {name}: {wrong.what}", wrong.hint)
    return rows


def load_catalog(root: Path | None = None) -> dict[str, Row]:
    """Return all rows: the shipped ones, and those of the data root's own tasks.toml.

    Raises:
        DataError: The own table is damaged, or names a task that is shipped.
    """
    rows = read_rows(CATALOG)
    own = root / OWN if root else None
    if own is None or not own.is_file():
        return rows
    mine = read_rows(own)
    if taken := sorted(rows.keys() & mine.keys()):
        raise DataError(f"{own}: {taken[0]} is a shipped task.", "Give yours another name.")
    for name, row in mine.items():  # a data root may be somebody else's: its table must not name what code to run
        if foreign := [target for target in (row.reader, row.find) if target and not target.startswith(READERS)]:
            raise DataError(f"{own}: task {name} names {foreign[0]!r}, which is no reader of ours.", SEE_READERS)
    return rows | mine


def build_task(name: str, row: Row, templates: str = "") -> Task:
    """Return the task that a row describes.

    Args:
        name: Its name.
        row: The row.
        templates: Another set of templates than the row's: a name, or a file; for zero-shot tasks only.
    """
    score, metrics = KINDS[row.kind]
    settings, prompts = dict(row.settings), templates or row.templates
    if row.kind == "zero-shot" and prompts:
        from recap_eval.data.templates import NAMED, load_templates

        settings["templates"] = prompts if prompts in NAMED else load_templates(prompts)[0]
    found = _first(name, _resolve(metrics)(row), row.primary)
    return Task(
        name=name,
        version=row.version,
        kind=row.kind,
        summary=row.summary,
        metrics=found,
        settings=settings,
        missing=partial(_missing, row),
        load=partial(_load, replace(row, data=row.data or name), prompts),
        score=partial(_resolve(score), **_score_options(row)),
        row=row,
    )


def _first(task: str, metrics: tuple[Metric, ...], primary: str) -> tuple[Metric, ...]:
    """Return the metrics with the one that stands for the task in front."""
    if primary and primary not in (known := [metric.name for metric in metrics]):
        raise DataError(f"Task {task} has no metric {primary!r} to stand for it.", f"It has: {', '.join(known)}.")
    return tuple(sorted(metrics, key=lambda metric: bool(primary) and metric.name != primary))


def _score_options(row: Row) -> dict[str, Any]:
    if row.kind == "pairs":
        return {"macro_from": row.macro_from, "kinds": row.groups, "macro_without": row.macro_without}
    return {"kinds": row.groups} if row.kind == "quads" else {}


def _missing(row: Row, root: Path) -> list[str]:
    if row.find:
        absent: list[str] = _resolve(row.find)(root)
        return absent
    return [need for need in row.needs if not (root / need).exists()]


def _load(row: Row, prompts: str, root: Path) -> AnyData:
    data = _reader(row, root)(root, **row.options)
    if not isinstance(data, FORMS[row.kind]):
        what = f"{row.data} is a task of kind {row.kind!r}, but its reader gives {type(data).__name__}."
        raise DataError(what, "See docs/tasks.md for the readers of each kind.")
    if data.source == NAMELESS:
        data = replace(data, source=DataId(row.data, row.split, "", row.reference))
    return _with_templates(data, prompts) if isinstance(data, LabelledImages) else data


def _reader(row: Row, root: Path) -> Callable[..., AnyData]:
    """Return a row's reader, once it is sure that it takes the row's options: rows are written by users, too."""
    try:
        reader: Callable[..., AnyData] = _resolve(row.reader)
        signature(reader).bind(root, **row.options)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        what = f"{row.data}: reader {row.reader!r} cannot be called with options {row.options} ({error})."
        raise DataError(what, SEE_READERS) from error
    return reader


def _with_templates(data: LabelledImages, prompts: str) -> LabelledImages:
    """Return the data with the templates named by the row or the user, which go before the data's own."""
    from recap_eval.data.templates import load_templates

    if prompts:
        settings = {name: value for name, value in data.settings.items() if name != "templates"}
        data = replace(data, templates=load_templates(prompts)[1], settings=settings)
    if not data.templates:
        raise DataError(f"{data.source.name} brings no templates.", 'Add templates = "openai-80" to its row, or --templates T.')
    return data


def size_of(data: AnyData) -> tuple[int, int]:
    """Return how many images a data set has, and how many captions, pairs, quads or classes."""
    if isinstance(data, LabelledImages):
        return len(data.images), len(data.classes)
    if isinstance(data, CaptionedImages):
        return len(data.images), sum(map(len, data.captions))
    return len(data.images), len(data.rows) if isinstance(data, CaptionPairs) else len(data.captions)


def incomplete(row: Row, data: AnyData) -> str | None:
    """Say how a data set differs in size from the official one; None if it does not, or if nobody says what its size is."""
    images, texts = size_of(data)
    wrong = [
        f"{found:,} {what} instead of {official:,}"
        for what, found, official in (("images", images, row.images), ("texts", texts, row.texts))
        if official and found != official
    ]
    return " and ".join(wrong) or None
