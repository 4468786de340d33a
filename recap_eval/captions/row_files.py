"""Reads caption parquet as a stream: of a row group the join column first, its texts only if a row of it is wanted.

Rows are as ours ("Caption row": the published Recap-DataComp-1B columns, status, and more) or as published. A row whose status
says that captioning failed has no captions but its original one.
"""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recap_eval.captions.generations import captions_of, newest
from recap_eval.data.parquet import parquet_files
from recap_eval.errors import DataError
from recap_eval.hashrand import text_hashes

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = 1 << 16  # rows decoded at a time
STATUS, GOOD = "status", ("ok", "success")
KEPT_ON_FAILURE = "org_caption"


@dataclass(frozen=True)
class Rows:
    """Wanted rows of a caption file.

    Args:
        place: (M) where each belongs, as the caller's `find` said.
        ok: (M,) False where captioning failed.
        texts: (M) rows of the text columns, null where there is none; then those of the columns of numbers, as float64.
        check: (M,) hashes of a column that is to be compared, or None.
    """

    place: np.ndarray
    ok: np.ndarray
    texts: pa.Table
    check: np.ndarray | None


def list_files(words: str) -> list[Path]:
    """Return the files that a path, a folder or a pattern stands for, sorted; of generations the newest.

    Raises:
        DataError: There is none.
    """
    place = Path(words).expanduser()
    if place.exists():
        return newest(parquet_files(captions_of(place)))
    found = sorted(Path(name) for name in glob.glob(str(place), recursive=True))  # noqa: PTH207 (patterns may be absolute)
    if not found:
        raise DataError(f"{words} is no file, folder or pattern of caption files.", "Check the path; patterns need quotes.")
    return newest(found)


@dataclass(frozen=True)
class Query:
    """What is read from caption files.

    Args:
        join_on: The column that says which image a row belongs to.
        columns: The text columns.
        find: (N,) hashes of join values to (N,) places, -1 where a row is not wanted.
        check: A column whose hashes are to be compared, read where it is there.
        numbers: Columns of numbers, null where a file does not have them.
        only: What columns must say in rows that are wanted; a file without such a column has all of its rows wanted.
    """

    join_on: str
    columns: list[str]
    find: Callable[[np.ndarray], np.ndarray]
    check: str | None = None
    numbers: tuple[str, ...] = ()
    only: tuple[tuple[str, Any], ...] = ()

    def scan(self, path: Path) -> Iterator[tuple[int, Rows | None]]:
        """Yield how many rows were looked at, and those of them that are wanted, in the file's order.

        Raises:
            DataError: The file is not readable parquet, or lacks a column.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(path) as file:
                self._check_columns(path, file.schema_arrow)
                for group in range(file.num_row_groups):
                    yield from self._group(file, group)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path} is not a readable parquet file ({error}).", "Get it again, or make it again.") from error

    def _check_columns(self, path: Path, schema: pa.Schema) -> None:
        import pyarrow as pa

        known = f"It has: {', '.join(schema.names)}."
        for column in (self.join_on, *self.columns):
            if column not in schema.names:
                hint = f"{known} Join on another: --join-on sha256|key|url" if column == self.join_on else known
                raise DataError(f"{path} has no column {column!r}.", hint)
        for column in self.columns:
            kind = schema.field(column).type
            kind = kind.value_type if pa.types.is_dictionary(kind) else kind
            if not any(test(kind) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)):
                raise DataError(f"{path}: column {column!r} holds no texts but {kind}.", known)

    def _group(self, file: Any, group: int) -> Iterator[tuple[int, Rows | None]]:
        places = [
            self.find(_hashed(batch.column(0)))
            for batch in file.iter_batches(ROWS, row_groups=[group], columns=[self.join_on], use_threads=False)
        ]
        place = np.concatenate(places) if places else np.empty(0, dtype=np.int64)
        if not (place >= 0).any():
            yield len(place), None
            return
        asked = (STATUS, self.check, *self.numbers, *(name for name, _ in self.only))
        extra = [name for name in asked if name and name in file.schema_arrow.names]
        names, start = list(dict.fromkeys([*self.columns, *extra])), 0
        for batch in file.iter_batches(ROWS, row_groups=[group], columns=names, use_threads=False):
            part = place[start : start + len(batch)]
            start += len(batch)
            yield len(part), self._rows(batch, part)

    def _rows(self, batch: Any, place: np.ndarray) -> Rows | None:
        import pyarrow as pa

        wanted = self._meant(batch, place >= 0)
        if not wanted.any():
            return None
        table = pa.table(batch).filter(pa.array(wanted))
        ok = np.ones(len(table), dtype=bool)
        if STATUS in table.column_names:
            ok = np.array([status in GOOD for status in table[STATUS].to_pylist()], dtype=bool)
        check = _hashed(table[self.check]) if self.check and self.check in table.column_names else None
        texts = {name: _texts(table[name], ok, name) for name in self.columns}
        return Rows(place[wanted], ok, pa.table(texts | {name: _numbers(table, name) for name in self.numbers}), check)

    def _meant(self, batch: Any, wanted: np.ndarray) -> np.ndarray:
        """Return which of the wanted rows say what they must."""
        import pyarrow.compute as pc

        for name, value in self.only:
            if name in batch.schema.names:
                wanted = wanted & pc.fill_null(pc.equal(batch[name], value), False).to_numpy(zero_copy_only=False)
        return wanted


def _numbers(table: pa.Table, name: str) -> Any:
    import pyarrow as pa

    return table[name].cast(pa.float64()) if name in table.column_names else pa.nulls(len(table), pa.float64())


def _hashed(column: Any) -> np.ndarray:
    import pyarrow as pa

    texts = column.cast(pa.string())
    texts.validate(full=True)  # what is no UTF-8 is an error of the file
    return text_hashes(texts.to_numpy(zero_copy_only=False) if len(column) else [])


def _texts(column: Any, ok: np.ndarray, name: str) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    column = column.cast(pa.large_string())
    column.validate(full=True)
    return (
        column if ok.all() or name == KEPT_ON_FAILURE else pc.if_else(pa.array(ok), column, pa.scalar(None, pa.large_string()))
    )
