"""Caption rows found for the images at hand, in bounded memory and once: what was found lies in a file that is mapped.

Held in memory are 8-byte hashes of the images' join values and some integers beside them: about 40 bytes an image, and not
one row of the caption files. With n images and m rows some n·m / 2^64 rows are expected to be taken for another's: 1 in
1,500 for ten million images and the 1.24 billion rows published. What was found is kept, by what was joined, so that a run
that goes on need not read the caption files again.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recap_eval.captions.row_files import Query, Rows
from recap_eval.console import progress_bar
from recap_eval.data.items import file_stamp
from recap_eval.errors import DataError
from recap_eval.files import digest_json, read_json, replacing, write_json
from recap_eval.hashrand import text_hashes

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = 1  # of the files that are kept
PLACE = "place of the image"
ANOTHER_DOWNLOAD = "A key names an image within one download only: join on sha256 or url."


@dataclass(frozen=True)
class Asked:
    """What is looked for in caption files.

    Args:
        join_on: The column that says which image a row belongs to.
        columns: The text columns wanted.
        numbers: Columns of numbers wanted, where they are there.
        only: What columns must say; see `Query`.
    """

    join_on: str
    columns: tuple[str, ...]
    numbers: tuple[str, ...] = ()
    only: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class Images:
    """The images at hand, by what they are joined on.

    Args:
        values: (N,) hashes of it, 0 where an image has nothing to be joined on.
        digests: (N,) hashes of their sha256, 0 where not known, that rows must agree with; None to check nothing.
    """

    values: np.ndarray
    digests: np.ndarray | None = None


@dataclass(frozen=True)
class JoinCount:
    """What a join came to.

    Args:
        images: Images that captions were looked for.
        rows: Rows looked at.
        matched: Rows of an image at hand.
        unjoined: Images without a row.
        failed: Images whose only rows say that captioning failed.
        repeated: Rows that say again what an earlier row said of the same image.
        conflicting: Images with rows that say different things; the first row counts.
        first: Number of the first image that is unjoined or in conflict; -1 if there is none.
    """

    images: int
    rows: int
    matched: int
    unjoined: int
    failed: int
    repeated: int
    conflicting: int
    first: int

    def describe(self) -> str:
        """Return the counts in a sentence."""
        return (
            f"{self.images} images, {self.unjoined} without a row, {self.conflicting} with rows that differ, "
            f"{self.failed} whose captioning failed; {self.repeated} of {self.rows} rows were repetitions"
        )


@dataclass(frozen=True)
class Joined:
    """Caption columns, joined: by image, mapped from a file. Cheap to hand to another process.

    Args:
        path: Where they lie (Arrow IPC).
        count: What the join came to.
        row_of: (N,) row of each image in the file; -1 if it has none.
    """

    path: Path
    count: JoinCount
    row_of: np.ndarray

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is mapped."""
        return {"path": self.path, "count": self.count, "row_of": self.row_of}

    @cached_property
    def _table(self) -> pa.Table:
        return _mapped(self.path)

    def texts(self, column: str, index: np.ndarray | None = None) -> list[str]:
        """Return texts of a column, "" where there is none.

        Args:
            column: One of the columns that were joined.
            index: (M,) images; all by default.
        """
        import pyarrow as pa

        rows = self.row_of if index is None else self.row_of[index]
        if not len(self._table):
            return [""] * len(rows)
        found = self._table[column].take(pa.array(np.maximum(rows, 0))).to_pylist()
        return [text or "" if row >= 0 else "" for text, row in zip(found, rows.tolist(), strict=True)]

    def rows(self, index: np.ndarray) -> list[dict[str, Any] | None]:
        """Return the (M,) rows of (M,) images, by column; None where there is none."""
        import pyarrow as pa

        rows = self.row_of[index]
        if not len(self._table):
            return [None] * len(rows)
        found = self._table.drop_columns([PLACE]).take(pa.array(np.maximum(rows, 0))).to_pylist()
        return [row if place >= 0 else None for row, place in zip(found, rows.tolist(), strict=True)]


class _Collector:
    """Gathers the rows of a scan: by place of the image, the first good row, or a failed one if there is no other.

    Args:
        places: How many places there are.
        columns: The text columns: rows that differ in them say different things.
        check: (places,) hashes of sha256 that rows must agree with, 0 where not known; None to check nothing.
    """

    def __init__(self, places: int, columns: tuple[str, ...], check: np.ndarray | None) -> None:
        self.state = np.zeros(places, dtype=np.uint8)  # 0 no row, 1 a failed one, 2 a good one
        self.said = np.zeros(places, dtype=np.uint64)
        self.conflict = np.zeros(places, dtype=bool)
        self.rows = self.matched = self.repeated = 0
        self._columns, self._check = columns, check

    def take(self, rows: Rows, path: Path) -> pa.Table | None:
        """Return the rows that are to be kept, with their places.

        Raises:
            DataError: A row is of another image than its key says.
        """
        self._compare(rows, path)
        self.matched += len(rows.place)
        said = np.zeros(len(rows.place), dtype=np.uint64)
        for name in self._columns:
            said = said * np.uint64(0x100000001B3) + text_hashes(rows.texts[name].to_numpy())
        kept = self._first(rows.place, rows.ok & (self.state[rows.place] < 2))
        self.state[rows.place[kept]], self.said[rows.place[kept]] = 2, said[kept]
        again = rows.ok.copy()
        again[kept] = False
        differs = again & (said != self.said[rows.place])
        self.conflict[rows.place[differs]] = True
        self.repeated += int((again & ~differs).sum())
        lost = self._first(rows.place, ~rows.ok & (self.state[rows.place] == 0))
        self.state[rows.place[lost]] = 1
        order = np.sort(np.concatenate([kept, lost]))
        return rows.texts.take(order).append_column(PLACE, [rows.place[order]]) if len(order) else None

    @staticmethod
    def _first(place: np.ndarray, among: np.ndarray) -> np.ndarray:
        """Return the first row of each place, among some rows."""
        some = np.flatnonzero(among)
        return some[np.unique(place[some], return_index=True)[1]]

    def _compare(self, rows: Rows, path: Path) -> None:
        if self._check is None or rows.check is None:
            return
        ours = self._check[rows.place]
        wrong = (ours != 0) & (rows.check != 0) & (ours != rows.check)
        if wrong.any():
            what = (
                f"{path} is of another download: {int(wrong.sum())} of {len(wrong)} rows have a key of ours and another sha256."
            )
            raise DataError(what, ANOTHER_DOWNLOAD)


def find_rows(files: list[Path], asked: Asked, images: Images, folder: Path) -> Joined:
    """Find the rows of caption files that belong to the images at hand; of several good ones the first in the files' order.

    Args:
        files: The caption files.
        asked: What is looked for in them.
        images: The images.
        folder: Where what was found is kept.

    Raises:
        DataError: Files are unreadable, lack a column, or a row is of another image than its key says.
    """
    places, row_place = np.unique(images.values, return_inverse=True)
    check = None
    if images.digests is not None:
        check = np.zeros(len(places), dtype=np.uint64)
        check[row_place] = images.digests
    path = folder / f"{_question(asked, files, [places, row_place, check])}.arrow"
    if not path.with_suffix(".json").is_file():
        names = list(asked.columns)
        query = Query(asked.join_on, names, _finder(places), None if check is None else "sha256", asked.numbers, asked.only)
        _read(files, query, check, path, row_place)
    return _open(path, row_place, len(places))


def _question(asked: Asked, files: list[Path], images: list[np.ndarray | None]) -> str:
    """Return a digest of what is joined, in the form of a file name."""
    digests = [array is not None and hashlib.sha256(array.tobytes()).hexdigest() for array in images]
    return digest_json([VERSION, asdict(asked), [file_stamp(path) for path in files], digests])[:32]


def _finder(places: np.ndarray) -> Any:
    def find(values: np.ndarray) -> np.ndarray:
        if not len(places):
            return np.full(len(values), -1)
        at = np.minimum(np.searchsorted(places, values), len(places) - 1)
        return np.where((places[at] == values) & (values != 0), at, -1)

    return find


def _read(files: list[Path], query: Query, check: np.ndarray | None, path: Path, row_place: np.ndarray) -> None:
    """Scan the files into one file of texts, and write beside it, last, what it came to."""
    import pyarrow as pa

    found = _Collector(int(row_place.max(initial=-1)) + 1, tuple(query.columns), check)
    kinds = [*[(name, pa.large_string()) for name in query.columns], *[(name, pa.float64()) for name in query.numbers]]
    schema = pa.schema([*kinds, (PLACE, pa.int64())])
    with (
        progress_bar(len(files), "captions", "file", disable=len(files) < 2) as bar,
        replacing(path) as part,
        pa.OSFile(str(part), "wb") as sink,
        pa.ipc.new_file(sink, schema) as writer,
    ):
        for file in files:
            _gather(file, query, found, writer)
            bar.update()
    write_json(path.with_suffix(".json"), asdict(_counted(found, row_place)))


def _gather(file: Path, query: Query, found: _Collector, writer: Any) -> None:
    for looked_at, rows in query.scan(file):
        found.rows += looked_at
        kept = found.take(rows, file) if rows is not None else None
        if kept is not None:
            writer.write_table(kept.combine_chunks())


def _counted(found: _Collector, row_place: np.ndarray) -> JoinCount:
    state, conflict = found.state[row_place], found.conflict[row_place]
    odd = np.flatnonzero((state == 0) | conflict)
    first = int(odd[0]) if len(odd) else -1
    unjoined, failed = int((state == 0).sum()), int((state == 1).sum())
    return JoinCount(
        len(row_place), found.rows, found.matched, unjoined, failed, found.repeated, int(conflict.sum()), first
    )  # fmt: skip


def _open(path: Path, row_place: np.ndarray, places: int) -> Joined:
    import pyarrow as pa

    try:
        count = JoinCount(**read_json(path.with_suffix(".json")))
        at = _mapped(path)[PLACE].to_numpy()
    except (TypeError, KeyError, pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path} is damaged ({error}).", f"Delete it and {path.with_suffix('.json').name} beside it."
        ) from error
    row_of = np.full(places, -1, dtype=np.int64)
    row_of[at] = np.arange(len(at))  # of two rows the later: a good one after a failed one
    return Joined(path, count, row_of[row_place])


def _mapped(path: Path) -> Any:
    import pyarrow as pa

    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
