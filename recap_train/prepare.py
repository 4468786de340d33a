"""The command `recap-train prepare`: image-text shards, once, into small images and texts that training reads without decoding.

OUT/manifest.json     what it is and how it was made, with digests; written last
OUT/images.npy        (N, S, S, 3) uint8, each whole image resized to a square with antialiasing
OUT/texts.parquet     key, sha256, width, height, and every text beside an image: txt, json:FIELD
OUT/parts/            one pair of files a shard while it is made; gone when it is done

Killed at any moment, the same command goes on with the shards that are not done. While the parts are put together the images
take twice their room.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recap_eval.console import progress_bar
from recap_eval.data.images import naming, open_image
from recap_eval.data.items import file_stamp
from recap_eval.data.scenes.locate import scenes_folder
from recap_eval.data.scenes.write import MANIFEST as SCENES_MANIFEST
from recap_eval.data.scenes.write import ROLES, check_manifest
from recap_eval.data.shards import Sample, list_shards, read_shard
from recap_eval.errors import DataError, UserError
from recap_eval.files import CHUNK, digest_file, read_json, replacing, write_json
from recap_train.prepared import IMAGES, KIND, MANIFEST, SCHEMA_VERSION, TEXTS, open_manifest

if TYPE_CHECKING:
    import pyarrow as pa

PARTS, PARTIAL = "parts", "partial.json"
PIXELS = ".pixels"  # ending of the images of a part: their bytes, nothing else
UNREADABLE = "unreadable images"  # in the metadata of a part
NO_CAPTIONS = ("exif", "error_message", "key", "status")  # texts in img2dataset's KEY.json that say nothing of the image
RESIZED = "whole image to a square, bicubic with antialiasing (PIL), JPEG decoded at the next larger scale of 1/8 to 1"


@dataclass(frozen=True)
class Preparation:
    """What is to be prepared.

    Args:
        data: A folder of shards, or of scenes (whose training split is then taken).
        size: Pixels a side of the prepared images.
        out: The folder of the prepared set.
        workers: Threads that decode.
        skip_bad: Leave out unreadable images, counted, instead of stopping.
    """

    data: Path
    size: int
    out: Path
    workers: int
    skip_bad: bool


def prepare(what: Preparation) -> tuple[dict[str, Any], bool]:
    """Prepare a data set, or go on where an earlier call stopped, or find it done.

    Returns:
        The manifest, and whether it was there already.

    Raises:
        UserError: The folder holds something else.
        DataError: A shard or an image is unreadable.
    """
    folder, roles = _source(what.data)
    shards = list_shards(folder)
    asked = {"size": what.size, "skip_bad": what.skip_bad, "shards": [_stamp(path) for path in shards]}
    if _claim(what.out, asked):
        return open_manifest(what.out), True
    start = time.perf_counter()
    parts = list(_make_parts(shards, what))
    manifest = _assemble(what, parts, roles) | {"seconds": round(time.perf_counter() - start, 2), "made_of": asked}
    write_json(what.out / MANIFEST, manifest)
    shutil.rmtree(what.out / PARTS)
    (what.out / PARTIAL).unlink()
    return manifest, False


def _source(data: Path) -> tuple[Path, dict[str, str]]:
    """Return the folder of the shards, and the roles that they declare themselves."""
    folder = scenes_folder(data)
    if not (folder / SCENES_MANIFEST).is_file():
        return data, {}
    check_manifest(folder)
    return folder / "train", dict(ROLES)


def _stamp(path: Path) -> list[Any]:
    """Return what a shard is known by: name, size and time of change."""
    _, size, changed = (file_stamp(path) or f"{path}\0\0").split("\0")
    return [path.name, int(size), int(changed)]


def _claim(out: Path, asked: dict[str, Any]) -> bool:
    """Return True if this very set is done; refuse a folder that holds anything else."""
    if (out / MANIFEST).is_file():
        if open_manifest(out)["made_of"] == asked:
            shutil.rmtree(out / PARTS, ignore_errors=True)  # it may have been killed between the manifest and its last steps
            (out / PARTIAL).unlink(missing_ok=True)
            return True
        raise UserError(
            f"{out} holds a set prepared of other shards or otherwise.", "Choose another --out, or delete that folder."
        )
    if (out / PARTIAL).is_file():
        if read_json(out / PARTIAL) == asked:
            return False
        raise UserError(
            f"{out} holds the beginning of another set, or its shards have changed since.",
            "Delete it, or choose another --out.",
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is not empty and holds no prepared set.", "Choose a new or an empty folder.")
    write_json(out / PARTIAL, asked)
    return False


def _make_parts(shards: Sequence[Path], what: Preparation) -> Iterator[Path]:
    """Yield the part of each shard, without its ending; make those that are not there."""
    with (
        progress_bar(sum(path.stat().st_size for path in shards), "prepare", "B", unit_scale=True) as bar,
        ThreadPoolExecutor(what.workers) as pool,
    ):
        made, start = 0, time.perf_counter()
        for shard in shards:
            part = what.out / PARTS / shard.stem
            if not part.with_suffix(".parquet").is_file():
                made += _make_part(shard, part, what, pool)
                bar.set_postfix_str(f"{made / (time.perf_counter() - start):.0f} images/s")
            bar.update(shard.stat().st_size)
            yield part


def _make_part(shard: Path, part: Path, what: Preparation, pool: ThreadPoolExecutor) -> int:
    """Decode a shard's images and write them, one after the other, then their texts; returns how many."""
    samples, kept, facts, bad = read_shard(shard), [], [], []
    small = pool.map(partial(_small, size=what.size, skip_bad=what.skip_bad), samples)
    with replacing(part.with_suffix(PIXELS)) as path, path.open("wb") as stream:
        for sample, found in zip(samples, small, strict=True):
            if isinstance(found, str):
                bad.append(found)
                continue
            stream.write(found[0])
            kept.append(sample)
            facts.append(found[1])
    _write_texts(part.with_suffix(".parquet"), _text_table(kept, facts), bad)
    return len(kept)


@dataclass(frozen=True)
class _Facts:
    """What is kept of an image besides its pixels: width and height as it was, and the sha256 of its file."""

    width: int
    height: int
    sha256: str


def _small(sample: Sample, size: int, skip_bad: bool) -> tuple[bytes, _Facts] | str:
    """Return an image in small, or what is wrong with it."""
    payload = sample.read_image()
    try:
        return _decode(payload, sample, size)
    except DataError as error:
        if not skip_bad:
            raise
        return error.what


def _decode(payload: bytes, sample: Sample, size: int) -> tuple[bytes, _Facts]:
    from PIL.Image import Resampling

    with naming(sample.where):
        image = open_image(payload)
        width, height = image.size
        image.draft("RGB", (size, size))  # a JPEG is decoded at 1/2, 1/4 or 1/8 where that is still larger
        pixels = image.convert("RGB").resize((size, size), Resampling.BICUBIC).tobytes()
    stated = sample.meta.get("sha256")
    return pixels, _Facts(width, height, str(stated or hashlib.sha256(payload).hexdigest()))


def _text_table(samples: Sequence[Sample], rows: Sequence[_Facts]) -> pa.Table:
    import pyarrow as pa

    columns: dict[str, Any] = {
        "key": pa.array([sample.key for sample in samples], pa.string()),
        "sha256": pa.array([row.sha256 for row in rows], pa.string()),
        "width": pa.array([row.width for row in rows], pa.int32()),
        "height": pa.array([row.height for row in rows], pa.int32()),
    }
    fields = {name: None for sample in samples for name, value in sample.meta.items() if isinstance(value, str | None)}
    texts = {f"json:{name}": [_said(sample, name) for sample in samples] for name in sorted(fields) if name not in NO_CAPTIONS}
    if any(sample.text is not None for sample in samples):
        texts["txt"] = [sample.text for sample in samples]
    return pa.table(columns | {name: pa.array(values, pa.large_string()) for name, values in texts.items()})


def _said(sample: Sample, field: str) -> str | None:
    """Return a field's text, "" where it is null, None where it is not there or no text."""
    value = sample.meta.get(field, 0)
    return "" if value is None else value if isinstance(value, str) else None


def _write_texts(path: Path, table: pa.Table, bad: Sequence[str]) -> None:
    import pyarrow.parquet as pq

    with replacing(path) as part:
        pq.write_table(table.replace_schema_metadata({UNREADABLE: "\n".join(bad)}), part, compression="zstd")


def _assemble(what: Preparation, parts: Sequence[Path], roles: dict[str, str]) -> dict[str, Any]:
    """Put the parts together, images and texts, and return the manifest."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = [pq.read_table(part.with_suffix(".parquet")) for part in parts]
    bad = [
        line for table in tables for line in (table.schema.metadata or {}).get(UNREADABLE.encode(), b"").decode().splitlines()
    ]
    texts = pa.concat_tables([table.replace_schema_metadata(None) for table in tables], promote_options="default")
    if not len(texts):
        raise DataError(f"No image of {what.data} can be read.", "Check the shards.")
    _check_keys(texts["key"].to_pylist())
    _write_texts(what.out / TEXTS, texts, [])
    shape = (len(texts), what.size, what.size, 3)
    _join_images(what.out / IMAGES, parts, shape)
    files = {
        name: {"bytes": (what.out / name).stat().st_size, "sha256": digest_file(what.out / name)} for name in (IMAGES, TEXTS)
    }
    return {
        "schema_version": SCHEMA_VERSION, "kind": KIND, "n": len(texts), "size": what.size, "resized": RESIZED,
        "roles": roles, "columns": texts.column_names, "bad": len(bad), "first_bad": bad[:20], "files": files,
    }  # fmt: skip


def _check_keys(keys: list[str]) -> None:
    seen: set[str] = set()
    for key in keys:
        if key in seen:
            raise DataError(f"Key {key} occurs twice in the shards.", "Keep one data set to a folder.")
        seen.add(key)


def _join_images(path: Path, parts: Sequence[Path], shape: tuple[int, ...]) -> None:
    """Write one .npy of all parts: a header, then the bytes of each."""
    with replacing(path) as whole, whole.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for part in parts:
            with part.with_suffix(PIXELS).open("rb") as source:
                shutil.copyfileobj(source, stream, CHUNK)
