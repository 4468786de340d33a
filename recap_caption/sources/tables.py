"""Parquet files as an input; a part is some of a file's row groups.

A row group is read whole or not at all, so it is never cut: a file of one large row group is one part.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from recap_caption.rows import BAD_TEXT
from recap_caption.sources.base import Fault, Item, Opened, Part, Reading, mark_repeated, plain_text
from recap_caption.sources.cells import Cells, Files, find_images
from recap_caption.sources.files import GONE, identify, size_of
from recap_eval.captions.generations import stem_of
from recap_eval.data.parquet import schema_of
from recap_eval.errors import DataError

COLUMNS = ("key", "image", "url", "sha256")
NO_KEY = Fault(BAD_TEXT, "NoKey", "the row has no key")


class Tables:
    """Parquet files.

    Args:
        paths: The files, in order.
        names: What they are called, without the folders that lead to all of them.
        reading: How they are read.
    """

    form, has_texts = "parquet", True

    def __init__(self, paths: list[Path], names: list[str], reading: Reading) -> None:
        self._paths, self._reading, self.names = paths, reading, names

    def parts(self) -> Iterator[Part]:
        """Yield parts of whole row groups with the fixed number of rows, or the first number beyond."""
        for number, (path, name) in enumerate(zip(self._paths, self.names, strict=True)):
            _, sizes = schema_of(path, [])
            stem, size = PurePosixPath(name).with_name(stem_of(path)).as_posix().replace("/", "-"), size_of(path)
            cuts = _cut(sizes, self._reading.part)
            for place, groups in enumerate(cuts):
                rows = sum(sizes[group] for group in groups)
                called = stem if len(cuts) == 1 else f"{stem}-{place:05d}"
                yield Part(called, size * rows // max(1, sum(sizes)), number, rows, groups)

    def identity(self, part: Part, hashed: bool) -> str:
        """Return size and time of the file, or its digest."""
        return identify([self._paths[part.file]], hashed)

    def open(self, part: Part) -> Opened:
        """Read the texts of some row groups.

        Raises:
            DataError: The file is damaged, or lacks a column.
        """
        path = self._paths[part.file]
        columns = self._columns(path)
        images = find_images(path, columns.pop("image", None), part.groups)
        rows = _read(path, part.groups, [*columns.values(), *(images.columns if images else ())])
        first = sum(schema_of(path, [])[1][: part.groups[0]]) if part.groups else 0
        items = [_item(row, columns, f"{path.stem}-{first + place}") for place, row in enumerate(rows)]
        return Opened(mark_repeated([_with_image(images, item, row, place) for place, (item, row) in _paired(items, rows)]))

    def _columns(self, path: Path) -> dict[str, str]:
        """Return what is read: field of `Item`, or "image", to column.

        Raises:
            DataError: A column that was named is not there, or there are no images.
        """
        named = dict(self._reading.columns)
        named |= {name: role.removeprefix("parquet:") for name, role in self._reading.roles.items()}
        names = schema_of(path, list(named.values()))[0].names
        found = {name: name for name in COLUMNS if name in names} | named
        if not self._reading.images:
            found.pop("image", None)
        elif "image" not in found:
            raise DataError(
                f"{path} has no column 'image', and holds: {', '.join(names)}.",
                "Name it: --columns image=NAME. Files that hold URLs only: recap-caption import --help",
            )
        return found


def _paired(items: list[Item], rows: list[dict[str, Any]]) -> Iterator[tuple[int, tuple[Item, dict[str, Any]]]]:
    return enumerate(zip(items, rows, strict=True))


def _with_image(images: Cells | Files | None, item: Item, row: dict[str, Any], place: int) -> Item:
    return item if images is None else images.give(item, row, place)


def _cut(sizes: list[int], most: int) -> list[tuple[int, ...]]:
    """Return row groups, so many together that they have at least `most` rows."""
    cuts: list[list[int]] = []
    rows = most
    for group, size in enumerate(sizes):
        if rows >= most:
            cuts.append([])
            rows = 0
        cuts[-1].append(group)
        rows += size
    return [tuple(cut) for cut in cuts]


def _read(path: Path, groups: tuple[int, ...], columns: list[str]) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            if not columns:
                return [{} for group in groups for _ in range(file.metadata.row_group(group).num_rows)]
            found: list[dict[str, Any]] = file.read_row_groups(
                list(groups), columns=list(dict.fromkeys(columns)), use_threads=False
            ).to_pylist()
            return found
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not a readable parquet file ({error}).", GONE) from error


def _item(row: dict[str, Any], columns: dict[str, str], numbered: str) -> Item:
    fields = {name: row[column] for name, column in columns.items()}
    key = fields.pop("key") if "key" in fields else numbered
    named = str(key) if isinstance(key, int) else plain_text(key)
    texts: dict[str, Any] = {name: plain_text(value) for name, value in fields.items()}
    fault = None if named is not None else NO_KEY
    if odd := [name for name, value in fields.items() if value is not None and texts[name] is None]:
        fault = Fault(BAD_TEXT, "NoText", f"{odd[0]} holds no text but {type(fields[odd[0]]).__name__}")
    return Item(named or numbered, named or numbered, **texts, fault=fault)
