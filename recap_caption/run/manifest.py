"""The parts of an input as a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING

from recap_caption.sources.base import Part
from recap_eval.errors import DataError
from recap_eval.files import digest_json, replacing

if TYPE_CHECKING:
    import pyarrow as pa

NAMES = tuple(field.name for field in fields(Part))


def _schema() -> pa.Schema:
    import pyarrow as pa

    kinds = {
        "name": pa.string(), "size": pa.int64(), "file": pa.int64(), "rows": pa.int64(), "groups": pa.list_(pa.int64()),
        "members": pa.list_(pa.string()), "take": pa.int64(), "identity": pa.string(),
    }  # fmt: skip
    return pa.schema([(name, kinds[name]) for name in NAMES])


def write_manifest(path: Path, parts: Sequence[Part]) -> None:
    """Write parts atomically.

    Raises:
        DataError: They cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist([asdict(part) for part in parts], schema=_schema())
    with replacing(path) as part_file:
        pq.write_table(table, part_file)


def read_manifest(path: Path) -> list[Part]:
    """Read parts.

    Raises:
        DataError: The file is missing or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.ParquetFile(path).read(columns=list(NAMES)).to_pylist()
    except (pa.ArrowException, OSError, KeyError) as error:
        raise DataError(
            f"{path} is no readable manifest ({error}).", "Give the run's command again: it makes it anew."
        ) from error
    return [Part(**row | {"groups": tuple(row["groups"]), "members": tuple(row["members"])}) for row in rows]


def digest_parts(parts: Sequence[Part]) -> str:
    """Return the digest of all that is said of parts."""
    return digest_json([asdict(part) for part in parts])
