"""Many shards as one numbered set of samples, of which only what is asked for is in memory.

In memory: a few numbers a shard, the index of the shards read last (at most HELD bytes), and no texts. So a process needs
under 300 MB for 10 M samples, and 40 MB more for 1 B (100,000 shards of 10,000); the indexes lie in the cache, 32 bytes a
sample. Once, when the set is first met, all keys are sorted to find those that occur twice: some 24 bytes a sample, so 0.24 GB
for 10 M samples and 24 GB for 1 B. What was found then is kept too: the next start asks each shard for size and time only.
At 1 B samples two keys share their 64-bit hash with probability 0.03; the later one would be taken for a duplicate.
"""

from __future__ import annotations

import json
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from recap_eval.console import progress_bar
from recap_eval.data.items import file_stamp
from recap_eval.data.member import read_name, read_sample
from recap_eval.data.shard_index import RECORD, VERSION, Problem, index_shard
from recap_eval.data.shards import MANY, Sample
from recap_eval.errors import DataError
from recap_eval.files import digest_json, replacing

READERS = 4  # threads; they overlap the reading, while the walk itself holds Python's lock
HELD = 256 << 20  # bytes of indexes in memory


@dataclass(frozen=True)
class Facts:
    """What is known of a set without opening a shard.

    Args:
        counts: (S) samples in each shard.
        digests: (S) digests of the shards' contents; see `ShardIndex`.
        problems: What is wrong with shards and samples.
        dropped: (D, 2) shard and row of samples whose key occurred before.
    """

    counts: np.ndarray
    digests: tuple[str, ...]
    problems: tuple[Problem, ...]
    dropped: np.ndarray


class ShardSet:
    """Samples of many shards, numbered from 0 in the order of the shards.

    Args:
        paths: (S) shards.
        facts: What is known of them.
        cache: Folder of index files, or None.
        early: Records that are at hand already, by shard.
    """

    def __init__(
        self, paths: list[Path], facts: Facts, cache: Path | None = None, early: dict[int, np.ndarray] | None = None
    ) -> None:
        self.paths, self.facts, self._cache, self._early = paths, facts, cache, early or {}
        self.sizes = facts.counts - np.bincount(facts.dropped[:, 0], minlength=len(paths))
        self.starts = np.concatenate([[0], np.cumsum(self.sizes)]).astype(np.int64)
        self._held: OrderedDict[int, np.ndarray] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def keys(self) -> Keys:
        """The samples' 64-bit keys, read from the indexes when asked for."""
        return Keys(self)

    def records(self, shard: int) -> np.ndarray:
        """Return a shard's records, duplicates left out: (n,) of RECORD."""
        if shard in self._held:
            self._held.move_to_end(shard)
            return self._held[shard]
        dropped = self.facts.dropped
        rows = np.delete(self.all_records(shard), dropped[dropped[:, 0] == shard, 1])
        self._hold(shard, rows)
        return rows

    def all_records(self, shard: int) -> np.ndarray:
        """Return a shard's records, duplicates and all.

        Raises:
            DataError: It is not what it was when the set was opened.
        """
        rows = self._early.pop(shard, None)
        if rows is None:
            rows = index_shard(self.paths[shard], self._cache).records
        if len(rows) != self.facts.counts[shard]:
            raise DataError(f"{self.paths[shard]} changed while it was in use.", "Start again.")
        return rows

    def _hold(self, shard: int, rows: np.ndarray) -> None:
        self._held[shard] = rows
        self._bytes += rows.nbytes
        while self._bytes > HELD and len(self._held) > 1:
            self._bytes -= self._held.popitem(last=False)[1].nbytes

    def place(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return shard and row in it of each sample, two (B,) arrays."""
        shard = np.searchsorted(self.starts, index, side="right") - 1
        return shard, index - self.starts[shard]

    def sample(self, index: int) -> Sample:
        """Return one sample; its texts are read now, its image when asked for.

        Raises:
            DataError: The shard is gone, or is not what was indexed.
        """
        shard, row = self.place(np.array([index]))
        return read_sample(self.paths[int(shard[0])], self.records(int(shard[0]))[int(row[0])])

    def __getitem__(self, index: int) -> Sample:
        return self.sample(index)

    def __iter__(self) -> Iterator[Sample]:
        return (self.sample(index) for index in range(len(self)))

    def ledger(self) -> dict[str, Any]:
        """Return what the set lacks: samples, problems in words, how many keys occurred again."""
        lines = [problem.line() for problem in self.facts.problems]
        for folder in {path.parent for path in self.paths}:  # a ledger travels, and folders are nobody's business elsewhere
            lines = [line.replace(f"{folder}/", "") for line in lines]
        return {"samples": len(self), "lost": lines, "duplicates": len(self.facts.dropped)}


class Keys:
    """The keys of a set as if they were one array of uint64.

    Args:
        shards: The set.
    """

    def __init__(self, shards: ShardSet) -> None:
        self._shards = shards

    def __len__(self) -> int:
        return len(self._shards)

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        """Return the (B,) uint64 keys of (B,) samples."""
        shard, row = self._shards.place(index)
        out = np.empty(len(index), dtype=np.uint64)
        for number in np.unique(shard):
            here = shard == number
            out[here] = self._shards.records(int(number))["key"][row[here]]
        return out


def open_shards(
    paths: list[Path], cache: Path | None = None, skip_bad: bool = False, absent: tuple[Problem, ...] = ()
) -> ShardSet:
    """Index shards, or recall what was found in them.

    Args:
        paths: The shards, in order, at least one.
        cache: Folder of index files, or None.
        skip_bad: Leave out what is damaged or there twice, listed in the ledger, instead of stopping.
        absent: Shards that could not be had, for the ledger.

    Raises:
        DataError: A shard is unreadable or cut short, a text in it is, two samples share a key; or nothing is left.
    """
    early: dict[int, np.ndarray] = {}
    facts = _recall(paths, cache)
    if facts is None:
        facts = _index_all(paths, cache, skip_bad, early)
        _remember(paths, cache, facts)
    facts = replace(facts, problems=absent + facts.problems)
    found = ShardSet(paths, facts, cache, early)
    if facts.problems and (not skip_bad or not len(found)):
        raise facts.problems[0].error()
    if len(facts.dropped) and not skip_bad:
        raise _duplicate(found)
    return found


def _index_all(paths: list[Path], cache: Path | None, skip_bad: bool, early: dict[int, np.ndarray]) -> Facts:
    """Index all shards; the records of as many as may be held are left in `early`."""
    found: list[tuple[int, str]] = []
    problems: list[Problem] = []
    keys, room = [], HELD
    with (
        progress_bar(len(paths), f"indexing {paths[0].parent}", "shard", disable=len(paths) < MANY) as bar,
        _readers() as pool,
    ):
        for number, index in enumerate(pool.map(partial(index_shard, cache=cache), paths)):
            if index.problems and not skip_bad:
                raise index.problems[0].error()
            room -= index.records.nbytes
            if room >= 0:
                early[number] = index.records
            found.append((len(index.records), index.digest))
            problems += index.problems
            keys.append(index.records["key"].copy())
            bar.update()
    counts = np.array([count for count, _ in found], dtype=np.int64)
    return Facts(counts, tuple(digest for _, digest in found), tuple(problems), _repeated(keys))


@contextmanager
def _readers() -> Iterator[ThreadPoolExecutor]:
    """Give a pool that, on an error or Ctrl-C, does not begin what still waits."""
    pool = ThreadPoolExecutor(READERS)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _repeated(keys: list[np.ndarray]) -> np.ndarray:
    """Return (D, 2) shard and row of every key that occurred before."""
    ordered = np.sort(np.concatenate(keys))
    twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    if not len(twice):
        return np.empty((0, 2), dtype=np.int64)
    found = [(shard, int(row)) for shard, part in enumerate(keys) for row in np.flatnonzero(np.isin(part, twice))]
    seen: set[int] = set()
    later = []
    for shard, row in found:
        key = int(keys[shard][row])
        if key in seen:
            later.append((shard, row))
        seen.add(key)
    return np.array(later, dtype=np.int64).reshape(-1, 2)


def _duplicate(found: ShardSet) -> DataError:
    shard, row = (int(number) for number in found.facts.dropped[0])
    record = found.all_records(shard)[row]
    first = next(number for number in range(shard + 1) if record["key"] in found.records(number)["key"])
    name, _ = read_name(found.paths[shard], record)
    many = f" ({len(found.facts.dropped):,} such keys)" if len(found.facts.dropped) > 1 else ""
    return DataError(
        f"Key {name} occurs in {found.paths[first]} and in {found.paths[shard]}{many}.", "Keep one data set to a folder."
    )


def _memory(paths: list[Path], cache: Path | None) -> tuple[Path, str] | None:
    """Return the file in which the facts of these shards, as they are now, are kept, and their digest."""
    stamps = [file_stamp(path) for path in paths]
    if cache is None or None in stamps:
        return None
    digest = digest_json([VERSION, RECORD.itemsize, stamps])
    return cache / f"set-{digest_json([str(path.absolute()) for path in paths])[:16]}.npz", digest


def _recall(paths: list[Path], cache: Path | None) -> Facts | None:
    memory = _memory(paths, cache)
    if memory is None:
        return None
    try:
        with np.load(memory[0], allow_pickle=False) as file:
            head = json.loads(str(file["head"]))
            if head["stamps"] != memory[1]:
                return None
            problems = tuple(Problem(**problem) for problem in head["problems"])
            return Facts(file["counts"], tuple(file["digests"].tolist()), problems, file["dropped"])
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None


def _remember(paths: list[Path], cache: Path | None, facts: Facts) -> None:
    memory = _memory(paths, cache)
    if memory is None:
        return
    head = {"stamps": memory[1], "problems": [asdict(problem) for problem in facts.problems]}
    try:
        with replacing(memory[0]) as part, part.open("wb") as stream:
            digests, text = np.array(facts.digests), np.array(json.dumps(head))
            np.savez(stream, head=text, counts=facts.counts, digests=digests, dropped=facts.dropped)
    except DataError:
        return
