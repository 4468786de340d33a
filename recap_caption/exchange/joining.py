"""Published captions joined onto downloaded images: by sha256, and where that fails by URL, with a count of everything.

The images' hashes are found once and kept beside the output until it is done, so that a run that was stopped goes on without
reading the images' shards again.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recap_caption.exchange.published import SCORES
from recap_caption.exchange.told import CHANGED, NO_ROW, Told, tell
from recap_caption.rows import PUBLISHED
from recap_caption.sources.base import Item, Part, Source
from recap_eval.captions.joined import Asked, Images, Joined, find_rows
from recap_eval.console import progress_bar
from recap_eval.errors import DataError
from recap_eval.files import replacing
from recap_eval.hashrand import text_hashes

JOINS = ("sha256", "url", "key")
HINT = {
    "sha256": "img2dataset states it with --compute_hash sha256. Or join on what is there: --join-on url",
    "url": "Join on what is there: --join-on sha256",
    "key": "Join on what is there: --join-on sha256",
}


@dataclass(frozen=True)
class Index:
    """What images can be joined on: hashes of it, 0 where an image does not state it.

    Args:
        starts: (P + 1) number of the first image of each part, and of all.
        sha256: (N,) of their sha256, as stated.
        url: (N,) of their URLs.
        key: (N,) of their keys.
    """

    starts: np.ndarray
    sha256: np.ndarray
    url: np.ndarray
    key: np.ndarray

    def __len__(self) -> int:
        return int(self.starts[-1])


def index_images(source: Source, parts: Sequence[Part], kept: Path) -> Index:
    """Return what the images of a source can be joined on.

    Args:
        source: The images.
        parts: Their parts.
        kept: The file in which it is kept.
    """
    if (known := _recall(kept)) is not None:
        return known
    columns: dict[str, list[np.ndarray]] = {name: [] for name in JOINS}
    starts = [0]
    with progress_bar(len(parts), "reading what images state", "shard") as bar:
        for part in parts:
            opened = source.open(part)
            opened.close()
            for name, found in columns.items():
                found.append(text_hashes([getattr(item, name) or None for item in opened.items]))
            starts.append(starts[-1] + len(opened.items))
            bar.update()
    sha256, url, key = (np.concatenate([np.empty(0, np.uint64), *columns[name]]) for name in JOINS)
    index = Index(np.array(starts, dtype=np.int64), sha256, url, key)
    with replacing(kept) as temporary, temporary.open("wb") as stream:
        np.savez(stream, starts=index.starts, sha256=sha256, url=url, key=key)
    return index


def _recall(kept: Path) -> Index | None:
    try:
        with np.load(kept, allow_pickle=False) as file:
            return Index(*(file[name] for name in ("starts", *JOINS)))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


@dataclass(frozen=True)
class How:
    """How captions are joined onto images.

    Args:
        columns: Column of a caption file by what it holds: org_caption, re_caption, sha256 where there is one.
        join_on: "sha256", "url" or "key".
        accept_changed: Take the captions of a URL for its image although the image is another than was captioned.
        only: What columns must say in rows that count, such as the prompt.
    """

    columns: dict[str, str]
    join_on: str = "sha256"
    accept_changed: bool = False
    only: tuple[tuple[str, Any], ...] = ()


class JoinedCaptions:
    """Captions out of caption files.

    Args:
        index: The images.
        files: The caption files.
        how: How they are joined.
        folder: Where what was found is kept.

    Raises:
        DataError: No image states what is joined on, a file is damaged or lacks a column, or a key is another image's.
    """

    def __init__(self, index: Index, files: list[Path], how: How, folder: Path) -> None:
        self._index, self._how = index, how
        values = getattr(index, how.join_on)
        if len(index) and not values.any():
            raise DataError(f"No image states its {how.join_on}.", HINT[how.join_on])
        digests = index.sha256 if how.join_on == "key" and "sha256" in how.columns else None
        self.first = find_rows(files, self._asked(how.join_on), Images(values, digests), folder)
        self.second: Joined | None = None
        left = np.where(self.first.row_of < 0, index.url, 0).astype(np.uint64)
        if how.join_on == "sha256" and left.any():
            self.second = find_rows(files, self._asked("url"), Images(left), folder)

    def _asked(self, join_on: str) -> Asked:
        return Asked(join_on, tuple(dict.fromkeys(self._how.columns.values())), SCORES, self._how.only)

    def of(self, number: int, part: Part, items: Sequence[Item]) -> list[Told]:
        """Return what is told of a part's images; see `Captions.of`.

        Raises:
            DataError: The part is not what it was.
        """
        low, high = (int(self._index.starts[number + step]) for step in (0, 1))
        if len(items) != high - low:
            raise DataError(f"{part.name} is not what it was.", "Leave the images alone; delete --out and start again.")
        places = np.arange(low, high)
        later = [None] * len(items) if self.second is None else self.second.rows(places)
        return [self._tell(item, *rows) for item, *rows in zip(items, self.first.rows(places), later, strict=True)]

    def _tell(self, item: Item, first: dict[str, Any] | None, second: dict[str, Any] | None) -> Told:
        if first is not None:
            return self._row(first, self._how.join_on)
        if second is None:
            return Told(NO_ROW)
        stated = second.get(self._how.columns.get("sha256", ""))
        if item.sha256 and stated and not self._how.accept_changed:
            return Told(CHANGED)
        return self._row(second, "url")

    def _row(self, row: dict[str, Any], how: str) -> Told:
        columns = self._how.columns
        original, recaption = row[columns["org_caption"]], row[columns["re_caption"]]
        return tell(original, recaption, {name: _score(name, row[name]) for name in SCORES}, how)

    def report(self) -> dict[str, Any]:
        """Return what became of the rows; of rows by several prompts, those without an image are not told apart."""
        first, second = self.first.count, self.second.count if self.second else None
        of_changed = second.matched if second else 0
        known = self._index.sha256[self._index.sha256 != 0]
        elsewhere = {} if self._how.only else {"rows_not_downloaded": first.rows - first.matched - of_changed}
        return elsewhere | {
            "rows": first.rows,
            "rows_of_images_at_hand": first.matched,
            "rows_of_their_urls_only": of_changed,
            "rows_repeated": first.repeated,
            "images_whose_rows_differ": first.conflicting,
            "images_repeated": len(known) - len(np.unique(known)),
            "images_without_sha256": len(self._index) - len(known),
        }


def _score(name: str, value: float | None) -> float | int | None:
    """Return a score as the published schema has it: ratings are whole numbers."""
    return value if value is None or PUBLISHED[name] != "int64" else int(value)
