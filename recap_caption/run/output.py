"""A part's output: rows in one fixed schema, with what they came from and two digests in the file's own metadata.

One digest is over the rows, whatever writes them; the other is over the file's bytes, that digest itself taken as zeros. So one
file holds all of a commit, and no bit of it can change unseen.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap_caption.rows import OK, OURS, PUBLISHED, schema
from recap_eval.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

FACTS, SEAL = b"recap", b"recap.seal"
OPEN_SEAL = b"sha256:" + b"0" * 64
NAMES = (*PUBLISHED, *OURS)
ENCODE = json.JSONEncoder(separators=(",", ":")).encode
DAMAGED = "Restore the file, or remove it and give the run's command again: its rows are made anew."
Row = dict[str, Any]


@dataclass(frozen=True)
class Output:
    """An output as read.

    Args:
        table: Its rows.
        facts: What its metadata says.
    """

    table: pa.Table
    facts: dict[str, Any]


def digest_rows(rows: Iterable[Row]) -> str:
    """Return the sha256 over rows, each a line of JSON with its values in the schema's order."""
    state = hashlib.sha256()
    for row in rows:
        state.update(ENCODE([row[name] for name in NAMES]).encode() + b"\n")
    return state.hexdigest()


def count_rows(rows: Sequence[Row]) -> dict[str, Any]:
    """Return what of rows adds up over parts: rows, statuses, flags, kinds of failure."""
    return {
        "rows": len(rows),
        "statuses": dict(Counter(row["status"] for row in rows)),
        "flags": dict(Counter(flag for row in rows for flag in row["flags"] or ())),
        "errors": dict(Counter(f"{row['status']}: {row['error_type']}" for row in rows if row["status"] != OK)),
    }


def pack(rows: Sequence[Row], facts: dict[str, Any]) -> bytes:
    """Return the bytes of an output.

    Args:
        rows: Its rows, each with every column.
        facts: What else its metadata says; counts and digest of the rows are added.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    facts = facts | count_rows(rows) | {"digest": digest_rows(rows)}
    kinds = schema()
    columns = [pa.array([row[field.name] for row in rows], field.type) for field in kinds]
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, kinds, compression="zstd") as writer:
        writer.write_table(pa.table(columns, schema=kinds))
        writer.add_key_value_metadata({FACTS: json.dumps(facts), SEAL: OPEN_SEAL})
    return _sealed(bytearray(sink.getvalue()))


def _sealed(payload: bytearray) -> bytes:
    place = _place_of_seal(payload, OPEN_SEAL)
    payload[place : place + len(OPEN_SEAL)] = _seal_of(payload)
    return bytes(payload)


def _seal_of(payload: bytes | bytearray) -> bytes:
    return b"sha256:" + hashlib.sha256(payload).hexdigest().encode()


def _place_of_seal(payload: bytes | bytearray, seal: bytes) -> int:
    return payload.index(seal, payload.rindex(SEAL))  # metadata come last in a parquet file


def read_facts(path: Path) -> dict[str, Any]:
    """Return what an output's metadata says, without reading its rows.

    Raises:
        DataError: It is no output of a run, or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        found: dict[str, Any] = json.loads(pq.read_metadata(path).metadata[FACTS])
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is no readable output of a run ({_said(error)}).", DAMAGED) from error
    return found


def read_output(path: Path) -> Output:
    """Read an output whole and hold it against its digests.

    Raises:
        DataError: It is damaged, of another schema, or not what was written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        payload = path.read_bytes()
        with pq.ParquetFile(pa.BufferReader(payload)) as file:
            metadata, names = file.metadata.metadata, file.schema_arrow
            table = file.read(use_threads=False)
        facts, seal = json.loads(metadata[FACTS]), metadata[SEAL]
        table.validate(full=True)
        found = _place_of_seal(payload, seal)
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is no readable output of a run ({_said(error)}).", DAMAGED) from error
    if _seal_of(payload[:found] + OPEN_SEAL + payload[found + len(OPEN_SEAL) :]) != seal:
        raise DataError(f"{path} is not what was written: its bytes have another digest.", DAMAGED)
    if not names.equals(schema(), check_metadata=False):
        raise DataError(f"{path} has another schema than rows of this version.", DAMAGED)
    return Output(table, facts)


def check_rows(path: Path, rows: Sequence[Row], facts: dict[str, Any]) -> None:
    """Check that an output's rows are those that its metadata tells of.

    Raises:
        DataError: They are not.
    """
    if digest_rows(rows) != facts["digest"]:
        raise DataError(f"{path}: its rows have another digest than was written.", DAMAGED)
    counted = count_rows(rows)
    if any(counted[name] != facts[name] for name in counted):
        raise DataError(f"{path}: its rows are counted otherwise than was written.", DAMAGED)


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
