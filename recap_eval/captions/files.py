"""Caption sets as they come: parquet, img2dataset shards, CSV, TSV, JSONL, JSON; read in batches of bounded size.

Which column is the caption is always named. A caption file's rows are as ours ("Caption row": status, finish_reason) or as
others publish them. In a shard a column is a role: "txt", or "json:FIELD".
"""

from __future__ import annotations

import glob
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap_eval.captions.generations import captions_of, newest
from recap_eval.captions.part import Rows
from recap_eval.data.shards import ROLE_PRESETS, collect, no_image, not_a_tar, parse_sample
from recap_eval.errors import DataError, UserError, unknown_name

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = 1 << 16  # rows of a batch, at most
BYTES = 1 << 26  # of texts in a batch, about
KEYS = ("key", "image_id", "id", "sha256", "url")  # in COCO an id is the annotation's, so the image comes first
STATUS, GOOD, FINISH, SHA256 = "status", ("ok", "success"), "finish_reason", "sha256"
KEPT_ON_FAILURE = "org_caption"  # a row whose captioning failed still has it
SHARD = ".tar"
AS_TABLE = {  # sets that are published as parquet, and become shards when they are downloaded
    "recap-datacomp": {"original": "org_caption", "recaption": "re_caption"},
    "datacomp": {"original": "text"},
}
AGAIN = "Get it again, or make it again; it may be cut short."


@dataclass(frozen=True)
class Wanted:
    """What is read of each row.

    Args:
        columns: The text columns; in shards "txt" and "json:FIELD".
        key: The column of keys; None for the first of `KEYS` that is there, else file and number of the row.
        digests: Whether the images' sha256 is read too, where the file states it.
    """

    columns: tuple[str, ...]
    key: str | None = None
    digests: bool = False

    def among(self, names: Sequence[str], key: str | None) -> list[str]:
        """Return which of a file's columns are read."""
        also = (STATUS, FINISH, *([SHA256] if self.digests else []))
        return list(dict.fromkeys([*self.columns, *([key] if key else []), *(name for name in also if name in names)]))


def label(column: str) -> str:
    """Return what tables call a column: a shard's "json:FIELD" is FIELD."""
    return column.removeprefix("json:")


def find_files(words: Sequence[str]) -> list[Path]:
    """Return the caption files that paths, folders and patterns stand for, sorted, each once; of generations the newest.

    Raises:
        DataError: A word stands for none, or for a file of another kind.
    """
    found: dict[Path, None] = {}
    for word in words:
        place = Path(word).expanduser()
        here = [Path(name) for name in glob.glob(str(place), recursive=True)]  # noqa: PTH207
        if place.exists():
            here = _in_folder(captions_of(place)) if place.is_dir() else [place]
        if not here:
            known = ", ".join(FORMS)
            raise DataError(
                f"{word} is no caption file, no folder of them and no pattern.", f"Files end in {known}; quote patterns."
            )
        for path in here:
            if path.suffix.lower() not in FORMS:
                raise DataError(f"{path} is no caption file by its ending.", f"Known are {', '.join(FORMS)}.")
            found[path] = None
    return sorted(newest(found))


def _in_folder(folder: Path) -> list[Path]:
    """Return the caption files below a folder, of its one kind.

    Raises:
        DataError: There are several kinds: which is meant is not guessed.
    """
    files = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in FORMS and not path.name.startswith(".")]
    files = [
        path for path in files if path.suffix.lower() != ".json"
    ] or files  # beside shards lie img2dataset's own statistics
    kinds = sorted({path.suffix.lower() for path in files})
    if len(kinds) > 1:
        raise DataError(f"{folder} holds {' and '.join(kinds)} files.", f"Say which: --captions '{folder}/**/*{kinds[0]}'")
    return files


def preset_roles(name: str, files: Sequence[Path]) -> tuple[str, str]:
    """Return the roles of the caption and of the original that a preset names, in shards or in tables.

    Args:
        name: A name of `ROLE_PRESETS`.
        files: The caption files; a set that is published as a table too has other names there.

    Raises:
        UserError: No such preset, or one without a recaption: its original is the caption then, and is held against nothing.
    """
    if name not in ROLE_PRESETS:
        raise unknown_name("caption preset", name, ROLE_PRESETS, "recap-eval captions --help")
    named = ROLE_PRESETS if any(path.suffix.lower() == SHARD for path in files) else ROLE_PRESETS | AS_TABLE
    roles = {role: word.removeprefix("parquet:") for role, word in named[name].items()}
    return roles.get("recaption", roles["original"]), roles["original"] if "recaption" in roles else ""


def read_rows(path: Path, wanted: Wanted) -> Iterator[Rows]:
    """Yield a file's rows in batches.

    Raises:
        DataError: The file is damaged, lacks a column, or a column holds something else than texts; the message names it.
    """
    return FORMS[path.suffix.lower()](path, wanted)


def count_rows(path: Path) -> int | None:
    """Return how many rows a file has, if that can be told without reading it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.suffix.lower() != ".parquet":
        return None
    try:
        return int(pq.read_metadata(path).num_rows)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, "parquet file", error) from error


def _damaged(path: Path, kind: str, error: Exception) -> DataError:
    return DataError(f"{path} is not a readable {kind} ({' '.join(str(error).split())}).", AGAIN)


def _check(path: Path, names: Sequence[str], wanted: Wanted) -> str | None:
    """Return the column of keys, or None; every column that was named must be there."""
    for column in (*wanted.columns, *([wanted.key] if wanted.key else [])):
        if column not in names:
            raise DataError(f"{path} has no column {column!r}.", f"It has: {', '.join(names)}.")
    return wanted.key or next((name for name in KEYS if name in names), None)


# Parquet.


def _parquet(path: Path, wanted: Wanted) -> Iterator[Rows]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            key = _check(path, names, wanted)
            for column in wanted.columns:
                _check_text(path, column, file.schema_arrow.field(column).type)
            read = wanted.among(names, key)
            number = 0
            for batch in file.iter_batches(_rows_a_batch(file, wanted.columns), columns=read, use_threads=False):
                table = {name: _as_text(path, name, batch.column(name)) for name in read}
                yield _rows(path, table, wanted, key, number)
                number += len(batch)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, "parquet file", error) from error


def _rows_a_batch(file: Any, columns: Sequence[str]) -> int:
    """Return how many rows have about `BYTES` of text, by what the file says of itself."""
    most = 1.0
    for number in range(file.num_row_groups):
        group = file.metadata.row_group(number)
        parts = [group.column(place) for place in range(group.num_columns)]
        size = sum(part.total_uncompressed_size for part in parts if part.path_in_schema in columns)
        most = max(most, size / max(group.num_rows, 1))
    return int(max(1, min(ROWS, BYTES / most)))


def _check_text(path: Path, column: str, kind: Any) -> None:
    import pyarrow as pa

    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not any(
        test(kind) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
    ):
        raise DataError(f"{path}: column {column!r} holds no texts but {kind}.", "Name a column of texts: --column, --against")


def _as_text(path: Path, name: str, column: Any) -> pa.LargeStringArray:
    import pyarrow as pa

    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    found = column.cast(kind).cast(pa.large_string())
    try:
        found.validate(full=True)
    except pa.ArrowInvalid as error:
        raise DataError(f"{path}: column {name!r} holds bytes that are no UTF-8.", AGAIN) from error
    return found


def _rows(path: Path, table: dict[str, Any], wanted: Wanted, key: str | None, number: int) -> Rows:
    import pyarrow as pa
    import pyarrow.compute as pc

    n = len(next(iter(table.values())))
    texts = {name: table[name] for name in wanted.columns}
    numbered = pa.array([f"{path.name}:{number + row}" for row in range(n)] if key is None else [], pa.large_string())
    keys = numbered if key is None else table[key]
    if keys.null_count:
        raise DataError(f"{path}: {keys.null_count:,} rows have no {key!r}.", "Name another column of keys: --key COLUMN")
    status = table.get(STATUS)
    ok = None if status is None else pc.is_in(status, pa.array(GOOD, pa.large_string())).to_numpy(zero_copy_only=False)
    return Rows(keys, texts, ok, status, table.get(FINISH), table.get(SHA256) if wanted.digests else None)


# Rows of other files: dictionaries, then columns.


def _batched(path: Path, places: Iterator[tuple[str, dict[str, Any]]], wanted: Wanted) -> Iterator[Rows]:
    """Make batches of rows that come one by one."""
    number = 0
    while block := list(islice(places, ROWS // 8)):
        names = list(dict.fromkeys(name for _, row in block for name in row))
        key = _check(path, names, wanted)
        read = {name: _column(block, name, name == key) for name in wanted.among(names, key)}
        yield _rows(path, read, wanted, key, number)
        number += len(block)


def _column(block: list[tuple[str, dict[str, Any]]], name: str, is_key: bool) -> pa.LargeStringArray:
    import pyarrow as pa

    return pa.array([_text(place, name, row.get(name), is_key) for place, row in block], pa.large_string())


def _text(place: str, name: str, value: Any, is_key: bool) -> str | None:
    if is_key and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if value is None:
        return None
    if not isinstance(value, str):
        raise DataError(f"{place}: {name!r} is no text but {type(value).__name__}.", "Mend that row, or name another column.")
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # half a surrogate pair is no character


def _json_lines(path: Path, wanted: Wanted) -> Iterator[Rows]:
    return _batched(path, _each_line(path), wanted)


def _each_line(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        with path.open(encoding="utf-8-sig") as stream:
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    yield f"{path}: line {number}", _object(f"{path}: line {number}", json.loads(line))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: line {number} is not JSON ({error}).", AGAIN) from error
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(path, "text file", error) from error


def _object(place: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataError(f"{place} is no JSON object.", 'Rows are objects: {"key": …, "caption": …}')
    return value


def _json(path: Path, wanted: Wanted) -> Iterator[Rows]:
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise _damaged(path, "JSON file", error) from error
    rows = found.get("annotations") if isinstance(found, dict) else found
    if not isinstance(rows, list):
        raise DataError(f"{path} is no list of rows.", 'A list of {"key": …, "caption": …}, or COCO\'s annotations.')
    places = ((f"{path}: row {number}", _object(f"{path}: row {number}", row)) for number, row in enumerate(rows))
    return _batched(path, places, wanted)


def _csv(path: Path, wanted: Wanted) -> Iterator[Rows]:
    import pyarrow as pa
    from pyarrow import csv

    tabs = path.suffix.lower() == ".tsv"
    parse = csv.ParseOptions(delimiter="\t" if tabs else ",", newlines_in_values=True)
    try:
        names = csv.open_csv(path, parse_options=parse).schema.names
        key = _check(path, names, wanted)
        read = wanted.among(names, key)
        convert = csv.ConvertOptions(column_types=dict.fromkeys(read, pa.large_string()), include_columns=read)
        number = 0
        options = csv.ReadOptions(block_size=1 << 24, use_threads=False)
        for batch in csv.open_csv(path, read_options=options, parse_options=parse, convert_options=convert):
            yield _rows(path, {name: batch.column(name) for name in read}, wanted, key, number)
            number += len(batch)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, "CSV file", error) from error


# Shards.


def _shard(path: Path, wanted: Wanted) -> Iterator[Rows]:
    for column in wanted.columns:
        if column != "txt" and not column.startswith("json:"):
            hint = "Examples: --column json:re_caption --against json:org_caption, or --caption-preset scenes"
            raise UserError(f"{path} is a shard: its columns are 'txt' and 'json:FIELD', not {column!r}.", hint)
    return _batched(path, _each_sample(path, wanted.columns), replace(wanted, key="key"))


def _each_sample(path: Path, roles: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    found, torn = collect(path)
    if torn is not None:
        raise not_a_tar(path, torn)
    samples = [parse_sample(path, key, parts) for key, parts in found.items() if "image" in parts]
    if not samples:
        raise no_image(path)
    for role in roles:
        if all(sample.caption(role) is None for sample in samples):
            raise DataError(
                f"No sample of {path} has {role}.", f"Roles are 'txt' and 'json:FIELD'; fields: {_fields(samples)}."
            )
    for sample in samples:
        stated = {SHA256: sample.meta[SHA256]} if sample.meta.get(SHA256) else {}
        yield sample.where, {"key": sample.key} | {role: sample.caption(role) for role in roles} | stated


def _fields(samples: list[Any]) -> str:
    return ", ".join(samples[0].meta) or "none"


FORMS: dict[str, Callable[[Path, Wanted], Iterator[Rows]]] = {
    ".parquet": _parquet, ".tar": _shard, ".csv": _csv, ".tsv": _csv, ".jsonl": _json_lines, ".json": _json,
}  # fmt: skip
