"""A prepared data set (`recap-train prepare`), and the feed that trains from it: no file is opened and no image decoded.

A batch is one look-up in the mapped images, one batched crop, and one look-up in the table of token ids. Order, coins and crop
boxes are those of the shards that the set was made of; the pixels are not quite, because the images were made small first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recap_eval.errors import DataError, UserError
from recap_eval.files import digest_file, digest_json, read_json
from recap_train.batch_crops import crop, crop_boxes
from recap_train.captions import Captions
from recap_train.crops import Crop
from recap_train.ledger import Ledger
from recap_train.loader import MEMORY, Batch
from recap_train.plan import Plan

if TYPE_CHECKING:
    import torch

MANIFEST, IMAGES, TEXTS = "manifest.json", "images.npy", "texts.parquet"
KIND, SCHEMA_VERSION = "prepared", 1
AGAIN = "Delete that folder and make it again: recap-train prepare"


def is_prepared(folder: Path) -> bool:
    """Return whether a folder holds a prepared data set."""
    path = folder / MANIFEST
    return path.is_file() and read_json(path).get("kind") == KIND


def open_manifest(folder: Path, contents: bool = True) -> dict[str, Any]:
    """Read a prepared set's manifest and check its files.

    Args:
        folder: The prepared set.
        contents: Check the files' digests too, and not only their sizes.

    Raises:
        DataError: The manifest is of another kind, or a file is missing, cut short or changed; the message names it.
    """
    manifest: dict[str, Any] = read_json(folder / MANIFEST)
    if manifest.get("kind") != KIND or manifest.get("schema_version") != SCHEMA_VERSION:
        raise DataError(f"{folder / MANIFEST} is no prepared set of this version.", AGAIN)
    for name, facts in manifest["files"].items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != facts["bytes"]:
            raise DataError(f"{path} is missing or cut short.", AGAIN)
        if contents and digest_file(path) != facts["sha256"]:
            raise DataError(f"{path} is damaged: its digest is not the manifest's.", AGAIN)
    return manifest


@dataclass(frozen=True)
class Prepared:
    """A prepared data set; also the texts beside its images (`recap_train.captions.Texts`).

    Args:
        folder: Where it lies.
        manifest: What it says of itself.
    """

    folder: Path
    manifest: dict[str, Any]

    def __len__(self) -> int:
        """Return the number of images."""
        return int(self.manifest["n"])

    @property
    def size(self) -> int:
        """Pixels a side."""
        return int(self.manifest["size"])

    @cached_property
    def images(self) -> np.ndarray:
        """(N, S, S, 3) uint8, mapped."""
        return np.load(self.folder / IMAGES, mmap_mode="r")  # type: ignore[no-any-return]

    @cached_property
    def sizes(self) -> np.ndarray:
        """(N, 2) width and height of the images as they were."""
        return np.stack([self._read(name).to_numpy() for name in ("width", "height")], axis=1).astype(np.int64)

    @cached_property
    def keys(self) -> list[str]:
        """(N) sample keys."""
        return self._read("key").to_pylist()  # type: ignore[no-any-return]

    @cached_property
    def digests(self) -> list[str]:
        """(N) sha256 of the images, as KEY.json states it or of the file in the shard."""
        return self._read("sha256").to_pylist()  # type: ignore[no-any-return]

    def column(self, role: str) -> list[str | None]:
        """Return (N) texts that a role names; see `recap_train.captions.Texts.column`."""
        return self._read(role).to_pylist() if role in self.manifest["columns"] else [None] * len(self)

    def where(self, index: int) -> str:
        """Return a sample's name for messages."""
        return f"{self.folder}:{self.keys[index]}"

    def fingerprint(self, source: str) -> str:
        """Return the digest of what is trained on, given that of the shards: their pixels are others.

        Args:
            source: The fingerprint of the same samples and captions in shards.
        """
        return digest_json([source, self.size, self.manifest["files"][IMAGES]["sha256"]])

    def _read(self, column: str) -> Any:
        import pyarrow.parquet as pq

        return pq.read_table(self.folder / TEXTS, columns=[column])[column]


def open_prepared(folder: Path) -> Prepared:
    """Open and verify a prepared data set.

    Raises:
        DataError: A file of it is missing, cut short or damaged; the message names it.
    """
    return Prepared(folder, open_manifest(folder))


class TokenTable:
    """Token ids of texts, each text tokenised when it is first seen.

    Args:
        tokenize: Texts to (B, L) ids.
        limit: Bytes the table may hold; texts that do not fit are tokenised each time.
    """

    def __init__(self, tokenize: Callable[[list[str]], torch.Tensor], limit: int = MEMORY) -> None:
        self.tokenize, self._limit = tokenize, limit
        self._row: dict[str, int] = {}
        self._ids = np.empty((0, 0), dtype=np.int32)

    def ids(self, texts: Sequence[str]) -> torch.Tensor:
        """Return (B, L) token ids of B texts."""
        import torch

        new = [text for text in dict.fromkeys(texts) if text not in self._row]
        if new:
            self._learn(new)
        if all(text in self._row for text in new):
            return torch.from_numpy(self._ids[[self._row[text] for text in texts]]).long()
        return self.tokenize(list(texts)).long()

    def _learn(self, new: list[str]) -> None:
        made = self.tokenize(new).numpy().astype(np.int32)
        known, total = len(self._row), len(self._row) + len(new)
        if total * made.shape[1] * made.itemsize > self._limit:
            return
        if total > len(self._ids):
            grown = np.zeros((max(1024, 2 * total), made.shape[1]), dtype=np.int32)
            grown[:known] = self._ids[:known] if known else grown[:0]
            self._ids = grown
        self._ids[known:total] = made
        self._row |= {text: known + number for number, text in enumerate(new)}


@dataclass(frozen=True)
class PreparedFeed:
    """Everything that turns positions into batches, from a prepared set.

    Args:
        prepared: The images.
        captions: (N) captions.
        plan: What is seen when.
        tokens: Texts to ids.
        crop: What is cut out, and to which size.
    """

    prepared: Prepared
    captions: Sequence[Captions]
    plan: Plan
    tokens: TokenTable
    crop: Crop

    def __post_init__(self) -> None:
        if self.prepared.size < self.crop.size:
            raise UserError(
                f"{self.prepared.folder} holds images of {self.prepared.size} px, and the model takes {self.crop.size}.",
                f"Prepare them larger: recap-train prepare --size {round(self.crop.size * 9 / 8)}",
            )

    def for_worker(self, workers: int) -> PreparedFeed:
        """Return the same with one worker's share of the memory."""
        return replace(self, tokens=TokenTable(self.tokens.tokenize, MEMORY // workers))

    def batch(self, start: int, stop: int) -> Batch:
        """Make the batch of positions [start, stop)."""
        visit, ledger = self.plan.visit(start, stop), Ledger(seen=stop - start)
        keys, area, size = visit.keys, self.crop.min_area, self.crop.size
        boxes = crop_boxes(self.prepared.sizes[visit.index], area, keys, visit.epoch, self.plan.seed)
        pixels = crop(self.prepared.images[visit.index], boxes, size, self.crop.interpolation)
        shown = self.plan.mix.show([self.captions[index] for index in visit.index.tolist()], visit.choices, ledger.mix)
        return Batch(pixels, self.tokens.ids(shown), ledger, keys, visit.epoch)
