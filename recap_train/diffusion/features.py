"""A precomputed set (`recap-train precompute`), and the feed that trains from it: neither images nor texts are encoded again.

Order, coins, noise and times are those of the shards that it was made of, and both ways round to half precision; so a run may
be begun one way and go on the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recap_eval.errors import DataError, UserError
from recap_eval.files import digest_file, digest_json, read_json
from recap_eval.hashrand import text_key
from recap_train.captions import Captions, recaption_roles
from recap_train.diffusion.encoded import Encoded, Encoders
from recap_train.ledger import Ledger
from recap_train.plan import KeyTable, Plan

if TYPE_CHECKING:
    from recap_train.loader import Batches
    from recap_train.run import Run
    from recap_train.training_data import TrainingData

MANIFEST, EMPTY = "manifest.json", "empty.npy"
KIND, SCHEMA_VERSION = "features", 1
MOMENTS, STATES, ROWS = ".moments.npy", ".states.npy", ".parquet"  # of a part
AGAIN = "Delete that folder and make it again: recap-train precompute"
SMALL = 2 << 30  # bytes of a set whose digests are checked whenever it is opened; of a larger one, sizes are
MAPPED = 512  # files that are held open


def fingerprint_with(source: str, encoders: Encoders) -> str:
    """Return the digest of samples as they are trained on: they and what encodes them."""
    return digest_json(["encoded", source, encoders.autoencoder.digest, encoders.text.digest])


@dataclass(frozen=True)
class EncodedData:
    """Samples that are encoded batch by batch; see `TrainingData`.

    Args:
        data: The samples.
        encoders: What encodes them.
    """

    data: TrainingData
    encoders: Encoders

    @property
    def fingerprint(self) -> str:
        """Digest of images, captions and encoders."""
        return fingerprint_with(self.data.fingerprint, self.encoders)

    @property
    def source(self) -> str:
        """The fingerprint of the samples themselves."""
        return self.data.source

    def __len__(self) -> int:
        return len(self.data)

    def keys(self) -> KeyTable:
        """Return the 64-bit keys of all samples."""
        return self.data.keys()

    def sizes(self) -> np.ndarray | None:
        """Return (S,) samples in each shard, if they lie in shards."""
        return self.data.sizes()

    def name(self, index: int) -> str:
        """Return a sample's key as text."""
        return self.data.name(index)

    def captions_at(self, index: int) -> Captions:
        """Return a sample's captions."""
        return self.data.captions_at(index)

    def ledger(self) -> dict[str, Any]:
        """Return what the set itself lacks."""
        return self.data.ledger()

    def feed(self, run: Run, plan: Plan, tokenizer: Any) -> Batches:
        """Return what makes the run's batches of pixels and token ids."""
        return self.data.feed(run, plan, tokenizer)


def is_features(folder: Path) -> bool:
    """Return whether a folder holds a precomputed set."""
    path = folder / MANIFEST
    return path.is_file() and read_json(path).get("kind") == KIND


def open_manifest(folder: Path) -> dict[str, Any]:
    """Read a precomputed set's manifest and check its files.

    Raises:
        DataError: A file is missing, cut short or changed; the message names it.
    """
    manifest: dict[str, Any] = read_json(folder / MANIFEST)
    if manifest.get("kind") != KIND or manifest.get("schema_version") != SCHEMA_VERSION:
        raise DataError(f"{folder / MANIFEST} is no precomputed set of this version.", AGAIN)
    contents = sum(facts["bytes"] for facts in manifest["files"].values()) <= SMALL
    for name, facts in manifest["files"].items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != facts["bytes"]:
            raise DataError(f"{path} is missing or cut short.", AGAIN)
        if contents and digest_file(path) != facts["sha256"]:
            raise DataError(f"{path} is damaged: its digest is not the manifest's.", AGAIN)
    return manifest


def open_features(folder: Path, encoders: Encoders) -> dict[str, Any]:
    """Open a precomputed set, proven to be of these encoders; returns its manifest.

    Raises:
        UserError: It was made by others.
        DataError: A file of it is missing or damaged.
    """
    manifest = open_manifest(folder)
    for name, option, ours in (
        ("autoencoder", "--autoencoder", encoders.autoencoder.digest),
        ("text_encoder", "--text-encoder", encoders.text.digest),
    ):
        if manifest[name] != ours:
            raise UserError(f"{folder} was made with another {option.removeprefix('--')}.", f"Name that one: {option}")
    return manifest


@dataclass(frozen=True)
class Features:
    """A precomputed set; see `TrainingData`.

    Args:
        manifest: What it says of itself.
        folder: Where it lies.
    """

    manifest: dict[str, Any]
    folder: Path
    _open: dict[str, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    @property
    def fingerprint(self) -> str:
        """Digest of images, captions and encoders: that of the same samples encoded batch by batch."""
        return str(self.manifest["fingerprint"])

    @property
    def source(self) -> str:
        """The fingerprint of the samples themselves."""
        return str(self.manifest["source"])

    @property
    def slots(self) -> list[str]:
        """The captions of a sample by their roles: original, recaption, recaption_2, …."""
        return list(self.manifest["slots"])

    def __len__(self) -> int:
        return int(self.sizes().sum())

    @cached_property
    def _rows(self) -> Any:
        """Return keys, and where the states of each caption lie, of all samples."""
        import pyarrow as pa

        columns = ["key", *(f"{what}:{slot}" for slot in self.slots for what in ("first", "rows"))]
        return pa.concat_tables([self._part_rows(part["name"], columns) for part in self.manifest["parts"]])

    def _part_rows(self, part: str, columns: list[str]) -> Any:
        import pyarrow.parquet as pq

        return pq.read_table(self.folder / f"{part}{ROWS}", columns=columns)

    def keys(self) -> KeyTable:
        """Return the 64-bit keys of all samples."""
        return np.array([text_key(key) for key in self._rows["key"].to_pylist()], dtype=np.uint64)

    def sizes(self) -> np.ndarray:
        """Return (S,) samples in each part."""
        return np.array([part["n"] for part in self.manifest["parts"]], dtype=np.int64)

    def name(self, index: int) -> str:
        """Return a sample's key as text."""
        return str(self._rows["key"][index].as_py())

    def captions_at(self, index: int) -> Captions:
        """Return a sample's captions; they are read from its part, since training needs none."""
        ends = np.cumsum(self.sizes())
        part = int(np.searchsorted(ends, index, side="right"))
        row = index - int(ends[part]) + int(self.sizes()[part])
        rows = self._part_rows(self.manifest["parts"][part]["name"], self.slots)
        original, *recaptions = (rows[slot][row].as_py() for slot in self.slots)
        return Captions(original, tuple(recaptions))

    def ledger(self) -> dict[str, Any]:
        """Return what was left out when it was made."""
        return dict(self.manifest["ledger"])

    def feed(self, run: Run, plan: Plan, tokenizer: Any) -> Batches:
        """Return what makes the run's batches.

        Raises:
            UserError: The mix is of captions whose states were not made.
        """
        if run.mix.mode == "concat":
            raise UserError("A precomputed set has no states of joined captions.", "Train --mix concat from the shards.")
        if run.roles and {name: run.roles[name] for name in caption_slots(run.roles)} != self.manifest["roles"]:
            raise UserError(f"{self.folder} was made with the roles {self.manifest['roles']}.", "Leave the roles out.")
        return FeatureFeed(self, plan)

    def places(self) -> np.ndarray:
        """Return (N, slots, 2) first row and number of rows of each caption's states, in their part."""
        columns = [self._rows[f"{what}:{slot}"].to_numpy() for slot in self.slots for what in ("first", "rows")]
        return np.stack(columns, axis=1).reshape(len(self), len(self.slots), 2)

    def array(self, name: str) -> np.ndarray:
        """Return a file of the set, mapped."""
        if name not in self._open:
            if len(self._open) >= MAPPED:
                self._open.pop(next(iter(self._open)))
            mapped = np.load(self.folder / name, mmap_mode="r")
            self._open[name] = mapped.view(np.ndarray)  # whose slices cost a fraction of a memmap's
        return self._open[name]


def caption_slots(roles: dict[str, str]) -> list[str]:
    """Return the roles that are captions, the original first."""
    return ["original", *recaption_roles(roles)]


@dataclass(frozen=True)
class FeatureFeed:
    """Everything that turns positions into encoded batches, from a precomputed set.

    Args:
        features: The set.
        plan: What is seen when.
    """

    features: Features
    plan: Plan

    @cached_property
    def _places(self) -> np.ndarray:
        return self.features.places()

    @cached_property
    def _firsts(self) -> np.ndarray:
        """(S + 1,) number of the first sample of each part, and of all samples."""
        return np.concatenate([[0], np.cumsum(self.features.sizes())])

    @cached_property
    def _marks(self) -> list[Captions]:
        """Captions that say their own slot, by which of them there are: the mix chooses among them as among texts."""
        slots = range(len(self.features.slots))
        marks = [[str(slot) if code >> slot & 1 else "" for slot in slots] for code in range(1 << len(slots))]
        return [Captions(one[0], tuple(one[1:])) for one in marks]

    def for_worker(self, workers: int) -> FeatureFeed:
        """Return the same: what is mapped is shared."""
        return self

    def batch(self, start: int, stop: int) -> Encoded:
        """Make the batch of positions [start, stop)."""
        import torch

        visit, ledger = self.plan.visit(start, stop), Ledger(seen=stop - start)
        part = np.searchsorted(self._firsts, visit.index, side="right") - 1
        places = self._places[visit.index]
        there = (places[:, :, 1] > 0) @ (1 << np.arange(places.shape[1]))
        shown = self.plan.mix.show([self._marks[code] for code in there.tolist()], visit.choices, ledger.mix)
        padded, present = padded_states(self._states(part.tolist(), places.tolist(), shown))
        moments = torch.from_numpy(self._moments(part, visit.index - self._firsts[part]))
        return Encoded(moments, torch.from_numpy(padded), torch.from_numpy(present), visit.keys, visit.epoch, ledger)

    def _array(self, part: int, ending: str) -> np.ndarray:
        return self.features.array(f"{self.features.manifest['parts'][part]['name']}{ending}")

    def _moments(self, part: np.ndarray, row: np.ndarray) -> np.ndarray:
        """Return (B, 2C, h, w) moments of rows of parts."""
        shape = self._array(int(part[0]), MOMENTS).shape[1:]
        found = np.empty((len(part), *shape), dtype=np.float16)
        for number in np.unique(part):
            rows = part == number
            found[rows] = self._array(int(number), MOMENTS)[row[rows]]
        return found

    def _states(self, part: list[int], places: list[list[list[int]]], shown: list[str]) -> list[np.ndarray]:
        """Return (L, D) states of the caption that each mark names, those of the empty text for none."""
        found = []
        for number, spans, mark in zip(part, places, shown, strict=True):
            if not mark:
                found.append(self.features.array(EMPTY))
                continue
            first, rows = spans[int(mark)]
            found.append(self._array(number, STATES)[first : first + rows])
        return found


def padded_states(states: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Put texts' states into one array.

    Args:
        states: B arrays (L_b, D).

    Returns:
        (B, L, D) with zeros behind the end of each, and (B, L) True where there is a token; L is the longest.
    """
    longest = max(len(one) for one in states)
    padded = np.zeros((len(states), longest, states[0].shape[1]), dtype=states[0].dtype)
    present = np.zeros((len(states), longest), dtype=bool)
    for row, one in enumerate(states):
        padded[row, : len(one)] = one
        present[row, : len(one)] = True
    return padded, present
