"""Prompts from a file: JSONL, CSV, TSV, parquet, or text with one prompt a line."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recap_eval.data.annotations import read_lines, read_text
from recap_eval.data.parquet import read_columns, schema_of
from recap_eval.errors import DataError, UserError
from recap_eval.generate.prompts import Prompt, PromptSet, make_set

IDS = ("id", "key", "prompt_id", "image_id")
PROMPTS = ("prompt", "caption", "text", "recaption", "re_caption")
Placed = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Columns:
    """Which columns of a file are meant; None for the usual names.

    Args:
        prompt: The prompts, by default the only one of `PROMPTS` that is there.
        id: Their ids, by default the first of `IDS` that is there, else the number of the row.
        reference: The ids of the real images, by default none.
    """

    prompt: str | None = None
    id: str | None = None
    reference: str | None = None


def read_prompts(path: Path, columns: Columns | None = None) -> PromptSet:
    """Read a file of prompts; its suffix says which form it has.

    Raises:
        UserError: Another suffix.
        DataError: The file is missing or damaged, lacks a column, or a row is wrong; the message names file and line.
    """
    columns = columns or Columns()
    if path.suffix.lower() not in FORMS:
        raise UserError(f"{path} is no file of prompts by its suffix.", f"Known are {', '.join(FORMS)}.")
    rows = list(FORMS[path.suffix.lower()](path))
    if path.suffix.lower() == ".txt":
        columns = Columns("prompt")
    names = dict.fromkeys(name for _, row in rows for name in row)
    found = _choose(path, list(names), columns)
    placed = [(place, _prompt(place, row, found, number)) for number, (place, row) in enumerate(rows, start=1)]
    source = {"file": path.name, "prompt": found.prompt, "id": found.id or "number of the row"}
    return make_set(path.stem, placed, source | ({"reference": found.reference} if found.reference else {}))


def _choose(path: Path, names: list[str], columns: Columns) -> Columns:
    for asked in (columns.prompt, columns.id, columns.reference):
        if names and asked is not None and asked not in names:
            raise DataError(f"{path} has no column {asked!r}.", f"It has: {', '.join(names)}.")
    prompt = columns.prompt or _usual(path, names)
    return Columns(prompt, columns.id or next((name for name in IDS if name in names), None), columns.reference)


def _usual(path: Path, names: list[str]) -> str:
    usual = [name for name in PROMPTS if name in names]
    if len(usual) > 1:
        raise UserError(f"{path} has {' and '.join(usual)}: which are the prompts?", f"Say so: --prompt-column {usual[0]}")
    if not usual and names:
        hint = f"It has: {', '.join(names)}. Name one: --prompt-column"
        raise DataError(f"{path} has no column of prompts ({', '.join(PROMPTS)}).", hint)
    return usual[0] if usual else PROMPTS[0]


def _prompt(place: str, row: dict[str, Any], columns: Columns, number: int) -> Prompt:
    text = row.get(columns.prompt or "")
    if text is not None and not isinstance(text, str):
        raise DataError(f"{place}: its {columns.prompt!r} is no text.", "A prompt is one text; mend that row.")
    key = f"{number:06d}" if columns.id is None else _id(row.get(columns.id))
    reference = _id(row.get(columns.reference)) if columns.reference else ""
    extra = {
        name: value
        for name, value in row.items()
        if name not in (columns.prompt, columns.id, columns.reference) and _is_plain(value)
    }
    return Prompt(key, (text or "").strip(), reference, extra)


def _is_plain(value: object) -> bool:
    return math.isfinite(value) if isinstance(value, float) else isinstance(value, str | int)


def _id(value: object) -> str:
    return str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""


def _jsonl(path: Path) -> Iterator[Placed]:
    for place, row in read_lines(path):
        if not isinstance(row, dict):
            raise DataError(f"{place} is no JSON object.", 'Expected lines such as {"id": "a", "prompt": "a red cube"}')
        yield place, row


def _csv(path: Path, delimiter: str = ",") -> Iterator[Placed]:
    reader = csv.DictReader(io.StringIO(read_text(path).lstrip("\ufeff"), newline=""), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            place = f"{path}: line {reader.line_num}"
            if None in row or None in row.values():
                raise DataError(f"{place} has not as many fields as the heading.", "Put texts with commas into quotes.")
            yield place, dict(row)
    except csv.Error as error:
        raise DataError(f"{path}: line {reader.reader.line_num} is no CSV ({error}).", "Mend that line.") from error


def _tsv(path: Path) -> Iterator[Placed]:
    return _csv(path, "\t")


def _text(path: Path) -> Iterator[Placed]:
    for number, line in enumerate(read_text(path).lstrip("\ufeff").rstrip().split("\n"), start=1):
        yield f"{path}: line {number}", {"prompt": line}


def _parquet(path: Path) -> Iterator[Placed]:
    import pyarrow as pa

    schema = schema_of(path, [])[0]
    plain = (pa.types.is_string, pa.types.is_large_string, pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean)
    names = [name for name in schema.names if any(is_kind(schema.field(name).type) for is_kind in plain)]
    for number, values in enumerate(zip(*read_columns(path, names), strict=True), start=1):
        yield f"{path}: row {number}", dict(zip(names, values, strict=True))


FORMS = {".jsonl": _jsonl, ".csv": _csv, ".tsv": _tsv, ".txt": _text, ".parquet": _parquet}
