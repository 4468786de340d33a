"""The images of parquet rows: in cells of the file, or in files beside it that cells name."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from recap_caption.rows import BAD_IMAGE
from recap_caption.sources.base import Fault, Item
from recap_caption.sources.files import read_file
from recap_eval.data.parquet import RowGroups, schema_of
from recap_eval.errors import DataError

HELD = 1 << 28  # bytes of images kept in memory, or one row group
NO_IMAGE = Fault(BAD_IMAGE, "NoImage", "the row holds no image")
OUTSIDE = Fault(BAD_IMAGE, "OutsidePath", "the image's path leads out of the folder of its parquet file")
AGAIN = "Restore it, or get the data again."


def find_images(path: Path, column: str | None, groups: tuple[int, ...]) -> Cells | Files | None:
    """Return where a parquet file's images are; None if none are wanted.

    Raises:
        DataError: The column holds something else.
    """
    import pyarrow as pa

    if column is None:
        return None
    schema, sizes = schema_of(path, [column])
    kind = schema.field(column).type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return Files(path, column)
    inner = kind.field("bytes").type if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0 else kind
    if not (pa.types.is_binary(inner) or pa.types.is_large_binary(inner)):
        raise DataError(f"{path}: column {column!r} holds no images but {kind}.", "It must hold bytes, {bytes, path} or paths.")
    return Cells(path, column, [(group, row) for group in groups for row in range(sizes[group])])


class Cells:
    """Images in cells, read a row group at a time.

    Args:
        path: The file.
        column: The column.
        places: Row group and row in it of each row that is read.
    """

    columns: tuple[str, ...] = ()

    def __init__(self, path: Path, column: str, places: list[tuple[int, int]]) -> None:
        self._path, self._column, self._places, self._groups = path, column, places, RowGroups(HELD)

    def give(self, item: Item, row: dict[str, Any], place: int) -> Item:
        """Return an item with its image."""
        where = f"{self._path.name}:{item.key}"
        return replace(item, where=where, read_image=partial(self._read, *self._places[place], where))

    def _read(self, group: int, row: int, where: str) -> bytes:
        payload = self._groups.image(self._path, self._column, group, row)
        if payload is None:
            raise DataError(f"{where} holds no image.", AGAIN)
        return payload


class Files:
    """Images in files that cells name, from the parquet file's folder on.

    Args:
        path: The parquet file.
        column: The column of paths.
    """

    def __init__(self, path: Path, column: str) -> None:
        self._path, self.columns = path, (column,)

    def give(self, item: Item, row: dict[str, Any], place: int) -> Item:
        """Return an item with its image, or with what is wrong with its path."""
        name = row[self.columns[0]]
        if not name:
            return replace(item, fault=item.fault or NO_IMAGE)
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            return replace(item, fault=item.fault or OUTSIDE)
        return replace(item, where=name, read_image=partial(read_file, self._path.parent / name, name))
