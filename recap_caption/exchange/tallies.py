"""What became of a file's rows, kept in the file that was made of them, so that a second run counts without reading."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from recap_eval.errors import DataError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

FACTS = b"recap.exchange"
T = TypeVar("T")


def facts_of(tally: DataclassInstance) -> dict[bytes, str]:
    """Return a tally as a parquet file's metadata."""
    return {FACTS: json.dumps(asdict(tally))}


def recall(target: Path, kind: type[T]) -> T | None:
    """Return the tally of a file that is there, None if it is not; it is whole, since files take their places whole.

    Raises:
        DataError: The file is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not target.is_file():
        return None
    try:
        told: dict[str, Any] = json.loads(pq.read_metadata(target).metadata[FACTS])
        return kind(**told)
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{target} is damaged.", "Delete it, then give the same command again.") from error
