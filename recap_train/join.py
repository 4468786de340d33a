"""Joins caption files onto the images at hand, in bounded memory and once: the texts found lie in a file that is mapped.

Held in memory are 8-byte hashes of the images' join values and some integers beside them: about 40 bytes an image, and not
one row of the caption files. With n images and m rows some n·m / 2^64 rows are expected to be taken for another's: 1 in
1,500 for ten million images and the 1.24 billion rows published. The texts found are kept in the cache, by what was joined, so
that a run that goes on need not read the caption files again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recap_eval.console import progress_bar, warn
from recap_eval.data.items import file_stamp
from recap_eval.data.root import default_cache
from recap_eval.errors import DataError, UserError
from recap_eval.files import digest_json, read_json, replacing, write_json
from recap_eval.hashrand import text_hashes
from recap_train.caption_files import Query, Rows, list_files
from recap_train.captions import Texts

if TYPE_CHECKING:
    import pyarrow as pa

JOINS = {"sha256": "json:sha256", "key": "key", "url": "json:url"}  # what of a sample is joined on
PLACE = "place of the image"
ANOTHER_DOWNLOAD = "A key names an image within one download only: join on sha256 or url."


@dataclass(frozen=True)
class CaptionSource:
    """Caption files and how they are joined.

    Args:
        files: A parquet file, a folder of them, or a pattern.
        join_on: "sha256", "key" or "url".
        max_unjoined: Most images that may have no row, or several rows that say different things.
    """

    files: str
    join_on: str = "sha256"
    max_unjoined: int = 0


@dataclass(frozen=True)
class JoinCount:
    """What a join came to.

    Args:
        images: Images that captions were looked for.
        rows: Rows looked at.
        unjoined: Images without a row.
        failed: Images whose only rows say that captioning failed.
        repeated: Rows that say again what an earlier row said of the same image.
        conflicting: Images with rows that say different things; the first row counts.
        first: Number of the first image that is unjoined or in conflict; -1 if there is none.
    """

    images: int
    rows: int
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
    """Caption columns, joined: texts by image, mapped from a file. Cheap to hand to another process.

    Args:
        path: Where the texts lie (Arrow IPC).
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


class _Collector:
    """Gathers the rows of a scan: by place of the image, the first good row, or a failed one if there is no other.

    Args:
        places: How many places there are.
        check: (places,) hashes of sha256 that rows must agree with, 0 where not known; None to check nothing.
    """

    def __init__(self, places: int, check: np.ndarray | None) -> None:
        self.state = np.zeros(places, dtype=np.uint8)  # 0 no row, 1 a failed one, 2 a good one
        self.said = np.zeros(places, dtype=np.uint64)
        self.conflict = np.zeros(places, dtype=bool)
        self.rows = self.repeated = 0
        self._check = check

    def take(self, rows: Rows, path: Path) -> pa.Table | None:
        """Return the rows that are to be kept, with their places.

        Raises:
            DataError: A row is of another image than its key says.
        """
        self._compare(rows, path)
        said = np.zeros(len(rows.place), dtype=np.uint64)
        for column in rows.texts.columns:
            said = said * np.uint64(0x100000001B3) + text_hashes(column.to_numpy())
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


def join(texts: Texts, source: CaptionSource, columns: list[str], cache: Path | None = None) -> Joined:
    """Find the rows of caption files that belong to the images at hand.

    Args:
        texts: The texts beside the images, with what is joined on among them.
        source: The files, and how they are joined.
        columns: The caption columns wanted.
        cache: Where the texts found are kept; the user's cache by default.

    Raises:
        UserError: Unknown `join_on`.
        DataError: Files are unreadable, lack a column, or too many images have no row of their own.
    """
    files = list_files(source.files)
    places, row_place = np.unique(_wanted(texts, source.join_on), return_inverse=True)
    check = _known_digests(texts, row_place, len(places)) if source.join_on == "key" else None
    path = (cache or default_cache()) / "joined" / f"{_question(source, columns, files, [places, row_place, check])}.arrow"
    if not path.with_suffix(".json").is_file():
        query = Query(source.join_on, columns, _finder(places), None if check is None else "sha256")
        _read(files, query, check, path, row_place)
    joined = _open(path, row_place, len(places))
    _judge(joined.count, texts, source)
    return joined


def _question(source: CaptionSource, columns: list[str], files: list[Path], images: list[np.ndarray | None]) -> str:
    """Return a digest of what is joined, in the form of a file name."""
    digests = [array is not None and hashlib.sha256(array.tobytes()).hexdigest() for array in images]
    return digest_json([source.join_on, columns, [file_stamp(path) for path in files], digests])[:32]


def _wanted(texts: Texts, join_on: str) -> np.ndarray:
    """Return (N,) hashes of what the images are joined on."""
    if join_on not in JOINS:
        raise UserError(f"--join-on {join_on!r} is unknown.", f"Choose one of {', '.join(JOINS)}.")
    values = texts.column(JOINS[join_on])
    without = next((number for number, value in enumerate(values) if not value), None)
    if without is not None:
        others = " or ".join(f"--join-on {name}" for name in JOINS if name != join_on)
        raise DataError(
            f"{texts.where(without)} has no {join_on} in its KEY.json to join captions on.",
            f"Try {others}; key only if the captions were made from this very download.",
        )
    return text_hashes(values)


def _known_digests(texts: Texts, row_place: np.ndarray, places: int) -> np.ndarray | None:
    """Return (places,) hashes of the images' sha256, by which a join on keys is checked; None if there are none."""
    digests = text_hashes(texts.column("json:sha256"))
    if not digests.any():
        warn(f"joined on key, and the shards have no sha256 to check it by. {ANOTHER_DOWNLOAD}")
        return None
    known = np.zeros(places, dtype=np.uint64)
    known[row_place] = digests
    return known


def _finder(places: np.ndarray) -> Any:
    def find(values: np.ndarray) -> np.ndarray:
        at = np.minimum(np.searchsorted(places, values), len(places) - 1)
        return np.where(places[at] == values, at, -1)

    return find


def _read(files: list[Path], query: Query, check: np.ndarray | None, path: Path, row_place: np.ndarray) -> None:
    """Scan the files into one file of texts, and write beside it, last, what it came to."""
    import pyarrow as pa

    found = _Collector(int(row_place.max()) + 1, check)
    schema = pa.schema([*[(name, pa.large_string()) for name in query.columns], (PLACE, pa.int64())])
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
    return JoinCount(
        len(row_place), found.rows, int((state == 0).sum()), int((state == 1).sum()), found.repeated, int(conflict.sum()), first
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


def _judge(count: JoinCount, texts: Texts, source: CaptionSource) -> None:
    """Stop if too many images have no row of their own; tell of the others."""
    odd = count.unjoined + count.conflicting
    if odd > source.max_unjoined:
        where = texts.where(count.first)
        raise DataError(
            f"{count.unjoined} of {count.images} images have no row in {source.files}, {count.conflicting} have rows that "
            f"differ; the first is {where}.",
            f"Joined on {source.join_on}. Other files, another --join-on, or accept them: --max-unjoined {odd}",
        )
    if odd or count.failed:
        warn(f"captions joined on {source.join_on}: {count.describe()}.")


def read_joined(texts: Texts, source: CaptionSource | None, columns: Sequence[str]) -> Joined | None:
    """Join the caption files, if there are any; see `join`."""
    return None if source is None else join(texts, source, list(columns))
