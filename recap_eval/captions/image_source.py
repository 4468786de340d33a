"""Numbered images wherever they lie: shards, parquet files with the images' bytes, files of a folder; no image is in memory."""

from __future__ import annotations

import glob
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import accumulate, chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from recap_eval.captions.files import KEYS, SHA256
from recap_eval.data.digests import MEMORY, Digests
from recap_eval.data.items import FileImage, ImageItem
from recap_eval.data.parquet import ParquetImage, RowGroups, cells_filled, read_columns, schema_of
from recap_eval.data.shard_set import ShardSet, open_shards
from recap_eval.data.shards import IMAGE_SUFFIXES, stated_digests
from recap_eval.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")

BLOCK = 4096  # images asked at a time
SHARDS, PARQUET = ".tar", ".parquet"
INDEXES = "shards"  # folder of the cache, which training has too
USUAL = ("image", "jpg", "jpeg", "png", "webp")  # columns of images, the first there counts if there are several
URLS = "Where only URLs are: download them with img2dataset, then name its shards."


def find_places(words: Sequence[str]) -> list[Path]:
    """Return the files of images that paths, folders and patterns stand for: shards, parquet files or images, sorted.

    Raises:
        DataError: A word stands for none, or all together for several kinds.
    """
    found: dict[Path, None] = {}
    for word in words:
        place = Path(word).expanduser()
        here = _in_folder(place) if place.is_dir() else _kinds([place] if place.is_file() else _matching(place))
        if not here:
            hint = "Name shards, a folder of images, or parquet with their bytes: --images PLACE"
            raise DataError(f"{word} holds no image.", hint)
        found |= dict.fromkeys(here)
    kinds = sorted({_kind(path) for path in found})
    if len(kinds) > 1:
        raise DataError(f"{words[0]} holds {' and '.join(kinds)}.", "Name those that are meant: --images 'DIR/*.tar'")
    return sorted(found)


def _matching(pattern: Path) -> list[Path]:
    return [Path(name) for name in glob.glob(str(pattern), recursive=True)]  # noqa: PTH207


def _kinds(paths: Iterable[Path]) -> list[Path]:
    return [path for path in paths if _kind(path) and path.is_file()]


def _in_folder(folder: Path) -> list[Path]:
    """Return what a folder holds of images: shards and parquet come before single files, which may be their leavings.

    NAME.parquet beside NAME.tar is img2dataset's own account of the shard, and holds no images.
    """
    files = _kinds(path for path in folder.rglob("*") if not path.name.startswith("."))
    shards = {path.with_suffix("") for path in files if path.suffix.lower() == SHARDS}
    accounts = {path for path in files if path.suffix.lower() == PARQUET and path.with_suffix("") in shards}
    packed = [path for path in files if path.suffix.lower() in (SHARDS, PARQUET) and path not in accounts]
    return packed or files


def _kind(path: Path) -> str:
    suffix = path.suffix.lower()
    return {SHARDS: "shards", PARQUET: "parquet files"}.get(suffix, "images" if suffix in IMAGE_SUFFIXES else "")


class Source(Protocol):
    """Numbered images."""

    def __len__(self) -> int: ...

    def keys(self) -> Iterator[str]:
        """Yield all keys, by number; "" of what is no image."""

    def digests(self) -> Iterator[str]:
        """Yield all sha256, by number: as stated where they are, else of the bytes; "" of what is no image."""

    def item(self, number: int, key: str) -> ImageItem:
        """Return an image, under a key of the caller's."""


class Files:
    """Images that are files, their keys being the files' names without the ending.

    Args:
        paths: The files.
        memory: The file in which digests are remembered, or None.
    """

    def __init__(self, paths: Sequence[Path], memory: Path | None) -> None:
        self._paths, self._memory = paths, Digests(memory)

    def __len__(self) -> int:
        return len(self._paths)

    def keys(self) -> Iterator[str]:
        """Yield all keys."""
        return (path.stem for path in self._paths)

    def digests(self) -> Iterator[str]:
        """Yield all digests, of the files' bytes."""
        return _digested((FileImage(path.stem, path) for path in self._paths), self._memory)

    def item(self, number: int, key: str) -> ImageItem:
        """Return an image."""
        return FileImage(key, self._paths[number])


class Shards:
    """Images in shards of img2dataset, indexed when they are first needed: that may take long.

    Args:
        paths: The shards.
        cache: Folder of indexes, or None.
        skip_bad: Leave out what is damaged.
    """

    def __init__(self, paths: Sequence[Path], cache: Path | None, skip_bad: bool) -> None:
        self._paths, self._cache, self._skip_bad = list(paths), cache, skip_bad

    @cached_property
    def _shards(self) -> ShardSet:
        return open_shards(self._paths, self._cache, self._skip_bad)

    def __len__(self) -> int:
        return len(self._shards)

    def keys(self) -> Iterator[str]:
        """Yield all keys."""
        return (sample.key for sample in self._shards)

    def digests(self) -> Iterator[str]:
        """Yield all digests as KEY.json states them: of the image as downloaded."""
        for sample in self._shards:
            yield from stated_digests([sample])

    def item(self, number: int, key: str) -> ImageItem:
        """Return an image, under its own key."""
        return self._shards[number]


class Tables:
    """Images in the cells of parquet files.

    Args:
        paths: The files.
        memory: The file in which digests are remembered, or None.

    Raises:
        DataError: A file is damaged, or holds no images.
    """

    def __init__(self, paths: Sequence[Path], memory: Path | None) -> None:
        self._paths, self._memory, self._groups = paths, Digests(memory), RowGroups()
        facts = [schema_of(path, []) for path in paths]
        self._columns = [_image_column(path, schema) for path, (schema, _) in zip(paths, facts, strict=True)]
        self._names = [schema.names for schema, _ in facts]
        self._starts = [[0, *accumulate(sizes)] for _, sizes in facts]  # of each row group
        self._firsts = [0, *accumulate(starts[-1] for starts in self._starts)]  # of each file

    def __len__(self) -> int:
        return self._firsts[-1]

    def keys(self) -> Iterator[str]:
        """Yield all keys: of the column that captions would be keyed by."""
        return chain.from_iterable(map(self._keys_of, range(len(self._paths))))

    def _keys_of(self, file: int) -> Iterator[str]:
        path, column = self._paths[file], next((name for name in KEYS if name in self._names[file]), None)
        rows = range(self._starts[file][-1])
        names = [f"{path.name}:{row}" for row in rows] if column is None else read_columns(path, [column])[0]
        yield from (
            str(name) if there and name is not None else "" for name, there in zip(names, self._there(file), strict=True)
        )

    def digests(self) -> Iterator[str]:
        """Yield all digests: as stated where the column is there, else of the bytes."""
        return chain.from_iterable(map(self._digests_of, range(len(self._paths))))

    def _digests_of(self, file: int) -> Iterator[str]:
        path, there = self._paths[file], self._there(file)
        if SHA256 in self._names[file]:
            yield from (
                str(value or "") if is_there else ""
                for value, is_there in zip(read_columns(path, [SHA256])[0], there, strict=True)
            )
            return
        first = self._firsts[file]
        items = [self.item(first + row, str(row)) for row, is_there in enumerate(there) if is_there]
        found = _digested(items, self._memory)
        yield from (next(found) if is_there else "" for is_there in there)

    def _there(self, file: int) -> list[bool]:
        """Return which rows have an image: img2dataset leaves a null where a download failed."""
        return cells_filled(self._paths[file], self._columns[file])

    def item(self, number: int, key: str) -> ImageItem:
        """Return an image."""
        file = bisect_right(self._firsts, number) - 1
        starts, row = self._starts[file], number - self._firsts[file]
        group = bisect_right(starts, row) - 1
        return ParquetImage(key, self._paths[file], self._columns[file], group, row - starts[group], self._groups)


def _image_column(path: Path, schema: pa.Schema) -> str:
    found = [field.name for field in schema if _holds_images(field.type)]
    chosen = next((name for name in USUAL if name in found), found[0] if len(found) == 1 else None)
    if chosen is None and found:
        raise DataError(f"{path} has several columns that may be images: {', '.join(found)}.", "Leave one, or call it image.")
    if chosen is None:
        raise DataError(f"{path} holds no images: its columns are {', '.join(schema.names)}.", URLS)
    return chosen


def _holds_images(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _digested(items: Iterable[ImageItem], memory: Digests) -> Iterator[str]:
    return chain.from_iterable(map(memory.of, blocks_of(items)))


def blocks_of(things: Iterable[T]) -> Iterator[list[T]]:
    """Yield things in lists of at most `BLOCK`."""
    left = iter(things)
    return iter(lambda: list(islice(left, BLOCK)), [])


def open_source(paths: Sequence[Path], cache: Path | None, skip_bad: bool = False) -> Source:
    """Return the images of files of one kind; see `find_places`.

    Args:
        paths: The files.
        cache: The cache folder, where shards' indexes and files' digests are kept, or None.
        skip_bad: Leave out what is damaged of shards.

    Raises:
        DataError: A parquet file is damaged, or holds no image; of shards this is found out when they are first asked.
    """
    memory = None if cache is None else cache / MEMORY
    kinds: dict[str, Callable[[], Source]] = {
        "shards": lambda: Shards(paths, None if cache is None else cache / INDEXES, skip_bad),
        "parquet files": lambda: Tables(paths, memory),
        "images": lambda: Files(paths, memory),
    }
    return kinds[_kind(paths[0])]()
