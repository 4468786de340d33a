"""Images and texts in parquet files: texts are read at once, images a row group at a time, when they are asked for.

A parquet file is read in row groups, so one image costs its whole row group. The last ones stay in memory, shared by all
threads: reading in order, or at random within what is held, decodes each row group once. Memory is bounded by `HELD`
bytes, or by one row group where a file was written as a single large one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from recap_eval.data.annotations import find_images
from recap_eval.data.items import Box, FileImage, ImageItem, file_stamp
from recap_eval.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

HELD = 1 << 30  # bytes of images kept in memory
BATCH = 64  # rows decoded at a time: a struct of more than 2 GiB in one piece is beyond pyarrow


@dataclass(frozen=True)
class _Group:
    """The images of a row group, in batches of rows.

    Args:
        starts: First row of each batch.
        batches: The images: binaries, or structs with `bytes`.
        size: Bytes they take.
    """

    starts: list[int]
    batches: list[pa.Array]
    size: int

    def image(self, row: int) -> bytes | None:
        """Return a row's encoded image; None if there is none."""
        place = bisect_right(self.starts, row) - 1
        value = self.batches[place][row - self.starts[place]].as_py()
        found: bytes | None = value.get("bytes") if isinstance(value, dict) else value
        return found


class RowGroups:
    """Row groups of image columns, the last used ones in memory; threads may share it.

    Args:
        held: Bytes to keep. The row group in use is kept whatever its size.

    Attributes:
        reads: How many row groups were read.
    """

    def __init__(self, held: int = HELD) -> None:
        self.reads = 0
        self._held, self._lock = held, Lock()
        self._groups: OrderedDict[tuple[Path, str, int], _Group] = OrderedDict()

    def image(self, path: Path, column: str, group: int, row: int) -> bytes | None:
        """Return an encoded image; None if the cell holds none.

        Args:
            path: The parquet file.
            column: The image column.
            group: The row group.
            row: The row within it.

        Raises:
            DataError: The file is gone or damaged.
        """
        key = (path, column, group)
        with self._lock:
            if key not in self._groups:
                self._groups[key] = _read_group(path, column, group)
                self.reads += 1
                while len(self._groups) > 1 and sum(known.size for known in self._groups.values()) > self._held:
                    self._groups.popitem(last=False)
            self._groups.move_to_end(key)
            found = self._groups[key]
        return found.image(row)


def _read_group(path: Path, column: str, group: int) -> _Group:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            leaf = column if not pa.types.is_struct(file.schema_arrow.field(column).type) else f"{column}.bytes"
            parts = [part.column(0) for part in file.iter_batches(BATCH, row_groups=[group], columns=[leaf])]
    except (pa.ArrowException, OSError, KeyError) as error:
        raise _damaged(path, error) from error
    starts = [0]
    for part in parts[:-1]:
        starts.append(starts[-1] + len(part))
    return _Group(starts, parts, sum(part.nbytes for part in parts))


@dataclass(frozen=True)
class ParquetImage(ImageItem):
    """An image in a cell of a parquet file.

    Args:
        key: Its key, unique in the data set.
        path: The file.
        column: The column: of binaries, or of structs with `bytes`.
        group: The row group.
        row: The row within it.
        groups: Where row groups are kept.
        box: The part of it that is meant, or None for all of it.
    """

    key: str
    path: Path
    column: str
    group: int
    row: int
    groups: RowGroups = field(repr=False, compare=False)
    box: Box | None = None

    @property
    def where(self) -> str:  # type: ignore[override]
        """The file and the key, for messages."""
        return f"{self.path}:{self.key}"

    def read_image(self) -> bytes:
        """Return the encoded image.

        Raises:
            DataError: The file is gone or damaged, or the cell holds no image.
        """
        payload = self.groups.image(self.path, self.column, self.group, self.row)
        if payload is None:
            raise DataError(f"{self.where} holds no image.", "Get the file again, or leave it out and count it: --skip-bad")
        return payload

    def stamp(self) -> str | None:
        """Return the file's path, size and time of change, and which cell the image is."""
        file = file_stamp(self.path)
        return file and f"{file}\0{self.column}\0{self.group}\0{self.row}"


def parquet_files(place: Path) -> list[Path]:
    """Return the parquet files that a path stands for: itself, or all below a folder, sorted.

    Raises:
        DataError: There is none.
    """
    found = [place] if place.is_file() else sorted(place.rglob("*.parquet"))
    if not found:
        raise DataError(f"{place} holds no *.parquet file.", "Check the path.")
    return found


def read_columns(path: Path, columns: Sequence[str]) -> list[list[Any]]:
    """Read columns of a parquet file, in the order asked for.

    Raises:
        DataError: The file is damaged, or lacks a column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema_of(path, columns)
    try:
        table = pq.read_table(path, columns=list(columns))
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error
    return [table[column].to_pylist() for column in columns]


def cells_filled(path: Path, column: str) -> list[bool]:
    """Return which rows of a column of images hold one; only row groups that may hold a null are read.

    Raises:
        DataError: The file is damaged, or lacks the column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    found: list[bool] = []
    try:
        with pq.ParquetFile(path) as file:
            leaf = f"{column}.bytes" if pa.types.is_struct(file.schema_arrow.field(column).type) else column
            for number in range(file.num_row_groups):
                group = file.metadata.row_group(number)
                if _no_nulls(group, leaf):
                    found += [True] * group.num_rows
                else:
                    batches = file.iter_batches(BATCH, row_groups=[number], columns=[leaf])
                    found += [value for batch in batches for value in _filled(batch.column(0))]
    except (pa.ArrowException, OSError, KeyError) as error:
        raise _damaged(path, error) from error
    return found


def _no_nulls(group: Any, leaf: str) -> bool:
    """Return whether a row group's own statistics say that a column of it holds no null."""
    parts = (group.column(place) for place in range(group.num_columns))
    told = next(part.statistics for part in parts if part.path_in_schema == leaf)
    return told is not None and told.has_null_count and told.null_count == 0


def _filled(cells: pa.Array) -> list[bool]:
    import pyarrow as pa

    inner = cells.field(0).is_valid().to_pylist() if pa.types.is_struct(cells.type) else [True] * len(cells)
    return [own and there for own, there in zip(cells.is_valid().to_pylist(), inner, strict=True)]


def images_in(path: Path, column: str, keys: Sequence[str], groups: RowGroups) -> list[ImageItem]:
    """Return the images of a column: binaries, structs with `bytes`, or paths of files beside the parquet file.

    Args:
        path: The parquet file.
        column: The column.
        keys: (N) the images' keys, one a row.
        groups: Where row groups are kept.

    Raises:
        DataError: The column is not there or holds something else, or files are absent.
    """
    import pyarrow as pa

    schema, sizes = schema_of(path, [column])
    kind = schema.field(column).type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        files = find_images(path.parent, [(str(name),) for name in read_columns(path, [column])[0]], path)
        return [FileImage(key, where) for key, where in zip(keys, files, strict=True)]
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise DataError(f"{path}: column {column!r} holds no images but {kind}.", "It must hold bytes, {bytes, path} or paths.")
    cells = [(group, row) for group, size in enumerate(sizes) for row in range(size)]
    return [ParquetImage(key, path, column, group, row, groups) for key, (group, row) in zip(keys, cells, strict=True)]


def schema_of(path: Path, columns: Sequence[str]) -> tuple[pa.Schema, list[int]]:
    """Return a file's schema and the rows of each row group; an error names a column that is not there."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
            schema = file.schema_arrow
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error
    if absent := [column for column in columns if column not in schema.names]:
        raise DataError(f"{path} has no column {absent[0]!r}.", f"It has: {', '.join(schema.names)}.")
    return schema, sizes


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} is not a readable parquet file ({error}).", "Get it again; it may be cut short.")
