"""Where every member of a shard lies, in 32 bytes a sample; kept in the cache, so that a tar is walked once.

An index holds byte ranges and 64-bit keys, no texts: 10 M samples take 320 MB on disk, 1 B take 32 GB, in a file a shard.
Walking a tar costs 0.1-0.2 ms of CPU a sample (tarfile, in one thread or four) and the reading of its headers and texts: half
an hour for 10 M samples, two days for 1 B, once.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recap_eval.data.items import file_stamp
from recap_eval.data.shards import AGAIN, Member, collect, no_image, not_a_tar, parse_sample
from recap_eval.errors import DataError
from recap_eval.files import digest_json, replacing
from recap_eval.hashrand import text_key

BLOCK = 512  # a tar's unit: members begin at multiples of it, so four bytes reach 2 TiB
VERSION = 1  # of the files in the cache
RANGES = ("image", "image_size", "text", "text_size", "meta", "meta_size")
RECORD = np.dtype([("key", "<u8"), *((name, "<u4") for name in RANGES)])


@dataclass(frozen=True)
class Problem:
    """What is wrong with a shard or a sample in it.

    Args:
        where: The shard's file name, or the shard's and the sample's.
        what: What is wrong, as an error says it.
        hint: What to do about it.
        samples: Samples lost by it; -1 if nobody knows.
    """

    where: str
    what: str
    hint: str
    samples: int

    def error(self) -> DataError:
        """Return it as an error."""
        return DataError(self.what, self.hint)

    def line(self) -> str:
        """Return it as a line of the ledger."""
        number = "an unknown number of" if self.samples < 0 else f"{self.samples:,}"
        return f"{self.where}: {self.what.rstrip('.')}; {number} samples lost"


@dataclass(frozen=True)
class ShardIndex:
    """One shard.

    Args:
        records: (N) of RECORD: `text_key` of the sample's key; image, KEY.txt and KEY.json as offsets in blocks of 512 bytes
            (0 where there is none) and sizes in bytes.
        digest: sha256 over keys, sizes of the images and contents of the texts (and so over the image digests that KEY.json
            states), in order.
        problems: What is wrong with it; its whole samples are in `records` all the same.
    """

    records: np.ndarray
    digest: str
    problems: tuple[Problem, ...]


def index_shard(path: Path, cache: Path | None) -> ShardIndex:
    """Return a shard's index, from the cache if the shard is as it was when indexed, else by a walk through the tar.

    Args:
        path: An uncompressed tar.
        cache: Folder of index files, or None.
    """
    stamp = file_stamp(path)
    kept = cache / f"{path.name}.{digest_json(str(path.absolute()))[:16]}.npz" if cache else None
    if kept is not None and stamp and (known := _recall(kept, stamp)) is not None:
        return known
    index = _walk(path)
    if kept is not None and stamp:
        _remember(kept, stamp, index)
    return index


def _walk(path: Path) -> ShardIndex:
    found, torn = collect(path)
    if torn is not None and found:
        found.popitem()  # of the last one, members may be missing
    state, rows, problems = hashlib.sha256(), [], []
    size = path.stat().st_size if path.exists() else 0
    for key, parts in found.items():
        if "image" not in parts:
            continue  # not a sample; img2dataset leaves none behind
        try:
            if parts["image"].offset + parts["image"].size > size:
                raise DataError(f"{path} is cut short at {key}.", AGAIN)
            parse_sample(path, key, parts)
            rows.append(_row(key, parts))
        except DataError as error:
            problems.append(Problem(f"{path.name}:{key}", error.what, error.hint, 1))
            continue
        texts = [hashlib.sha256(parts[name]).hexdigest() if name in parts else "" for name in (".txt", ".json")]
        state.update(f"{key}\0{parts['image'].size}\0{texts[0]}\0{texts[1]}\n".encode())
    if torn is not None:
        problems.insert(0, _of_shard(path, not_a_tar(path, torn), len(rows)))
    elif not rows and not problems:
        problems.append(_of_shard(path, no_image(path), 0))
    return ShardIndex(np.array(rows, dtype=RECORD), state.hexdigest(), tuple(problems))


def _row(key: str, parts: dict[str, Any]) -> tuple[int, ...]:
    row = [text_key(key)]
    for name in ("image", "@.txt", "@.json"):
        member = parts.get(name, Member(0, 0))
        row += [member.offset // BLOCK, member.size]
    return tuple(row)


def _of_shard(path: Path, error: DataError, whole: int) -> Problem:
    stated = stated_size(path)
    return Problem(path.name, error.what, error.hint, -1 if stated is None else max(0, stated - whole))


def stated_size(path: Path) -> int | None:
    """Return how many samples a shard should hold, by img2dataset's NAME_stats.json or open_clip's sizes.json beside it."""
    for name, field in ((f"{path.stem}_stats.json", "successes"), ("sizes.json", path.name)):
        try:
            return int(json.loads(path.with_name(name).read_text(encoding="utf-8"))[field])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


def _recall(kept: Path, stamp: str) -> ShardIndex | None:
    """Return an index from the cache; None if it is another file's, an older one's, or damaged."""
    try:
        with np.load(kept, allow_pickle=False) as file:
            head = json.loads(str(file["head"]))
            if head["version"] != VERSION or head["stamp"] != stamp:
                return None
            problems = tuple(Problem(**problem) for problem in head["problems"])
            return ShardIndex(file["records"], head["digest"], problems)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None


def _remember(kept: Path, stamp: str, index: ShardIndex) -> None:
    head = {"version": VERSION, "stamp": stamp, "digest": index.digest}
    head |= {"problems": [asdict(problem) for problem in index.problems]}
    try:
        with replacing(kept) as part, part.open("wb") as stream:
            np.savez(stream, records=index.records, head=np.array(json.dumps(head)))
    except DataError:
        return  # a cache that cannot be written costs time, never a run
