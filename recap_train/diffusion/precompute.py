"""`recap-train precompute`: moments of all images and states of all captions, once, into files that training reads.

OUT/manifest.json         what it is and how it was made, with digests; written last
OUT/00000.moments.npy     (n, 2C, h, w) float16 of a shard: means and log variances, never one draw
OUT/00000.states.npy      (tokens, D) float16, the states of its captions one after the other, without padding, each text once
OUT/00000.parquet         key, every caption, and which rows are its states; written last of the three
OUT/empty.npy             (L, D) float16 of the empty text

Killed at any moment, the same command goes on with the shards that are not done.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recap_eval.console import progress_bar
from recap_eval.errors import DataError, UserError
from recap_eval.files import digest_file, read_json, replacing, write_json
from recap_train.captions import Captions
from recap_train.diffusion.encoded import Encoders
from recap_train.diffusion.features import (
    EMPTY,
    KIND,
    MANIFEST,
    MOMENTS,
    ROWS,
    SCHEMA_VERSION,
    STATES,
    caption_slots,
    fingerprint_with,
    open_manifest,
)
from recap_train.diffusion.vae import no_tokens
from recap_train.ledger import Ledger
from recap_train.plan import Plan
from recap_train.requests import scenes_of
from recap_train.training_data import TrainingData, read_training_data

if TYPE_CHECKING:
    from recap_train.loader import Batches
    from recap_train.run import Run

PARTIAL = "partial.json"
PIECE = 10_000  # samples to a part, where the data lies in one piece


class InOrder(Plan):
    """A plan that sees the samples as they lie."""

    def _order(self, ranks: np.ndarray, epoch: int) -> np.ndarray:
        return ranks


@dataclass(frozen=True)
class Lying:
    """Samples as they lie.

    Args:
        data: The data set.
        plan: Sees them in order.
        feed: Reads their images.
    """

    data: TrainingData
    plan: InOrder
    feed: Batches

    def lengths(self) -> list[int]:
        """Return the number of samples in each part: a shard's, or PIECE of data that lies in one piece."""
        sizes, n = self.data.sizes(), len(self.data)
        return [min(PIECE, n - at) for at in range(0, n, PIECE)] if sizes is None else [int(size) for size in sizes]

    def read(self, start: int, stop: int) -> tuple[Any, list[int]]:
        """Return a batch of images, and which of the samples [start, stop) it holds."""
        batch = self.feed.batch(start, stop)
        there = np.isin(self.plan.keys[np.arange(start, stop)], batch.keys)
        return batch, (start + np.flatnonzero(there)).tolist()


@dataclass(frozen=True)
class Encoding:
    """What is to be encoded.

    Args:
        run: Names data, roles and image size; `run.out` is the folder of the set.
        encoders: What encodes it.
        size: Images, and texts, at a time.
    """

    run: Run
    encoders: Encoders
    size: int = 64


def precompute(what: Encoding) -> tuple[dict[str, Any], bool]:
    """Encode a data set, or go on where an earlier call stopped, or find it done.

    Returns:
        The manifest, and whether it was there already.

    Raises:
        UserError: The folder holds something else.
        DataError: A shard or an image is unreadable.
    """
    data, out = read_training_data(what.run), what.run.out
    asked: dict[str, Any] = {"fingerprint": fingerprint_with(data.fingerprint, what.encoders), "roles": _roles(what.run)}
    asked |= {"image_size": what.run.recipe.image_size, "skip_bad": what.run.skip_bad}
    if _claim(out, asked):
        return open_manifest(out), True
    begun = time.perf_counter()
    plan = InOrder(data.keys(), what.run.mix, what.run.seed)
    lying = Lying(data, plan, data.feed(what.run, plan, no_tokens))
    _write_empty(what)
    ledger, parts, files = Ledger(), [], [EMPTY]
    for part in _parts(what, lying, ledger):
        parts.append(part)
        files += [f"{part['name']}{ending}" for ending in (MOMENTS, STATES, ROWS)]
    ledger.check(what.run.loading.max_bad)
    manifest = asked | {
        "schema_version": SCHEMA_VERSION, "kind": KIND, "scenes": scenes_of(what.run.data) is not None, "source": data.source,
        "slots": caption_slots(what.run.roles),
        "autoencoder": what.encoders.autoencoder.digest, "text_encoder": what.encoders.text.digest,
        "n": sum(part["n"] for part in parts), "parts": parts,
        "ledger": data.ledger() | {"failed": sum(part["bad"] for part in parts)},
        "files": {name: {"bytes": (out / name).stat().st_size, "sha256": digest_file(out / name)} for name in files},
        "seconds": round(time.perf_counter() - begun, 2),
    }  # fmt: skip
    write_json(out / MANIFEST, manifest)
    (out / PARTIAL).unlink()
    return manifest, False


def _roles(run: Run) -> dict[str, str]:
    return {name: run.roles[name] for name in caption_slots(run.roles)}


def _claim(out: Path, asked: dict[str, Any]) -> bool:
    """Return True if this very set is done; refuse a folder that holds anything else."""
    if (out / MANIFEST).is_file():
        known = read_json(out / MANIFEST)
        if all(known.get(name) == value for name, value in asked.items()):
            return True
        raise UserError(f"{out} holds another set.", "Choose another --out, or delete that folder.")
    if (out / PARTIAL).is_file():
        if read_json(out / PARTIAL) == asked:
            return False
        raise UserError(f"{out} holds the beginning of another set.", "Delete it, or choose another --out.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is not empty and holds no precomputed set.", "Choose a new or an empty folder.")
    write_json(out / PARTIAL, asked)
    return False


def _write_empty(what: Encoding) -> None:
    states, present = what.encoders.states(what.encoders.text.tokens([""]))
    _save(what.run.out / EMPTY, states[0][present[0]].cpu().numpy())


def _save(path: Path, array: np.ndarray) -> None:
    with replacing(path) as part, part.open("wb") as stream:
        np.save(stream, array)


def _parts(what: Encoding, lying: Lying, ledger: Ledger) -> Iterator[dict[str, Any]]:
    """Yield each part's entry in the manifest; make those that are not there."""
    import pyarrow.parquet as pq

    start = 0
    with progress_bar(len(lying.data), "precompute", "sample") as bar:
        for number, length in enumerate(lying.lengths()):
            name = f"{number:05d}"
            if length and not (what.run.out / f"{name}{ROWS}").is_file():
                _make_part(what, lying, (start, start + length), name)
            start += length
            bar.update(length)
            if length:
                n = pq.read_metadata(what.run.out / f"{name}{ROWS}").num_rows
                ledger.seen, ledger.failed = ledger.seen + n, ledger.failed + length - n
                yield {"name": name, "n": n, "bad": length - n}


def _make_part(what: Encoding, lying: Lying, span: tuple[int, int], name: str) -> None:
    """Encode the samples of a part and write its three files."""
    moments, kept = [], []
    for start in range(*span, what.size):
        batch, indices = lying.read(start, min(start + what.size, span[1]))
        kept += indices
        if indices:
            moments.append(what.encoders.moments(batch.pixels).cpu().numpy())
    if not kept:
        raise DataError(f"No image of shard {name} can be read.", "Leave the shard out.")
    captions = [lying.data.captions_at(index) for index in kept]
    states, places = _states(what, captions)
    whole, slots = what.run.out / name, caption_slots(what.run.roles)
    _save(whole.with_name(f"{name}{MOMENTS}"), np.concatenate(moments))
    _save(whole.with_name(f"{name}{STATES}"), states)
    _write_rows(whole.with_name(f"{name}{ROWS}"), [lying.data.name(index) for index in kept], captions, places, slots)


def _states(what: Encoding, captions: list[Captions]) -> tuple[np.ndarray, dict[str, tuple[int, int]]]:
    """Return the states of all texts, each once and without padding, and which rows are a text's; an empty one has none."""
    texts = sorted({text for one in captions for text in one.texts() if text.strip()}, key=lambda text: (len(text), text))
    rows: list[np.ndarray] = [np.zeros((0, what.encoders.text.width), dtype=np.float16)]
    places, total = {}, 0
    for start in range(0, len(texts), what.size):
        some = texts[start : start + what.size]
        states, present = (tensor.cpu().numpy() for tensor in what.encoders.states(what.encoders.text.tokens(some)))
        for text, one, there in zip(some, states, present, strict=True):
            rows.append(one[there])
            places[text] = (total, len(rows[-1]))
            total += len(rows[-1])
    return np.concatenate(rows), places


def _write_rows(
    path: Path, keys: list[str], captions: list[Captions], places: dict[str, tuple[int, int]], slots: list[str]
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, Any] = {"key": pa.array(keys, pa.string())}
    for number, slot in enumerate(slots):
        texts = [one.texts()[number] for one in captions]
        found = [places.get(text, (0, 0)) for text in texts]
        columns[slot] = pa.array(texts, pa.large_string())
        columns[f"first:{slot}"] = pa.array([first for first, _ in found], pa.int64())
        columns[f"rows:{slot}"] = pa.array([rows for _, rows in found], pa.int32())
    with replacing(path) as part:
        pq.write_table(pa.table(columns), part, compression="zstd")
