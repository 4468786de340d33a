"""Writes a world of scenes: image-text shards in the layout of img2dataset, a ground-truth parquet, a manifest.

OUT/scenes.json          what was asked for, and digests of all that was written
OUT/train/00000.tar …    KEY.jpg, KEY.json (org_caption, re_caption, sha256, …), KEY.txt (the alt-text)
OUT/train.parquet …      one row an image: what is there, and everything that is said and asked about it
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import tarfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap_eval.console import progress_bar
from recap_eval.data.scenes import language, questions
from recap_eval.data.scenes.render import RESOLUTIONS, encode_jpeg, render
from recap_eval.data.scenes.world import COLOURS, GROUNDS, PLACES, SHAPES, SIZES, TEXTURES, Scene, draw_scenes
from recap_eval.errors import DataError, UserError
from recap_eval.files import canonical_json, digest_file, digest_json, read_json, replacing, write_json
from recap_eval.hashrand import Draws, text_key

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION = 1
MANIFEST, PARTIAL = "scenes.json", "scenes.partial.json"
SHARD_SIZE = 1000
SPLITS = ("train", "val", "test")
ROLES = {"original": "json:org_caption", "recaption": "json:re_caption"}
ALT_NOISE = {"missing": 0.05, "generic": 0.08, "wrong": 0.07, "spammy": 0.08, "partial": 0.12}


@dataclass(frozen=True)
class World:
    """Everything a world of scenes depends on.

    Args:
        n: Images in the training split.
        n_eval: Images in each of the validation and test splits.
        size: Width and height in pixels.
        seed: Any integer.
        alt_noise: Rate of each kind of noise in the alt-texts.
        recaption_error: Rate at which the recaptions get an attribute wrong.
    """

    n: int = 20_000
    n_eval: int = 1_000
    size: int = 32
    seed: int = 0
    alt_noise: dict[str, float] = field(default_factory=lambda: dict(ALT_NOISE))
    recaption_error: float = 0.03

    def __post_init__(self) -> None:
        see = "See: recap-eval scenes --help"
        if self.size not in RESOLUTIONS:
            raise UserError(f"No scenes of {self.size} px.", f"Choose --size from {', '.join(map(str, RESOLUTIONS))}.")
        if self.n < 1 or self.n_eval < 1:
            raise UserError("A world needs at least one image in each split.", see)
        rates = [*self.alt_noise.values(), self.recaption_error, sum(self.alt_noise.values())]
        if not all(0 <= rate <= 1 for rate in rates):
            raise UserError("Rates of noise and error must lie in [0, 1], and so must the sum of --alt-noise.", see)

    def count(self, split: str) -> int:
        """Return the number of images in a split."""
        return self.n if split == "train" else self.n_eval


PRESETS = {"v1": World()}


def describe(scene: Scene, world: World, split: str, index: int, stranger: Scene) -> dict[str, Any]:
    """Return the ground truth and every text of one scene, as one row of the parquet file."""

    def draws(stream: str) -> Draws:
        return Draws(world.seed, text_key(split), index, text_key(stream))

    alt = language.alt_text(scene, stranger, world.alt_noise, draws("alt"))
    recaption, wrong = language.recaption(scene, world.recaption_error, draws("recaption"))
    return {
        "label": scene.label,
        "objects": [
            {
                "colour": COLOURS[thing.colour],
                "shape": SHAPES[thing.shape],
                "size": SIZES[thing.size],
                "place": PLACES[thing.place],
            }
            for thing in scene.things
        ],
        "ground": GROUNDS[scene.ground],
        "texture": TEXTURES[scene.texture],
        "org_caption": alt.text,
        "org_kind": alt.kind,
        "re_caption": recaption,
        "re_errors": wrong,
        "captions": language.short_captions(scene, draws("short")),
        "long_caption": language.long_caption(scene, draws("long")),
        "pairs": questions.swapped_pairs(scene, draws("pairs")),
        "questions": questions.questions(scene, draws("questions")),
    }


def _add_member(tar: tarfile.TarFile, name: str, payload: bytes) -> None:
    member = tarfile.TarInfo(name)  # its defaults (time 0, no owner) are what makes the tar reproducible
    member.size = len(payload)
    tar.addfile(member, io.BytesIO(payload))


def write_shard(split: str, number: int, out: Path, world: World) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Write one shard, atomically.

    Returns:
        The shard's rows of ground truth, and its entry in the manifest: name, n, content digest, sha256 of the tar.
    """
    start, stop = number * SHARD_SIZE, min((number + 1) * SHARD_SIZE, world.count(split))
    scenes = draw_scenes(split, start, stop + 1, world.seed)
    rows, state = [], hashlib.sha256()
    path = out / split / f"{number:05d}.tar"
    with replacing(path) as part, tarfile.open(part, "w", format=tarfile.USTAR_FORMAT) as tar:
        for offset, (scene, stranger) in enumerate(pairwise(scenes)):
            index = start + offset
            jpeg = encode_jpeg(render(scene, world.size, world.seed, text_key(split), index))
            key = f"{number:05d}{offset:04d}"
            row: dict[str, Any] = {"key": key, "shard": path.name, "sha256": hashlib.sha256(jpeg).hexdigest()}
            row |= describe(scene, world, split, index, stranger)
            state.update(canonical_json(row).encode())
            meta = {name: row[name] for name in ("key", "sha256", "org_caption", "re_caption")}
            meta |= {"url": f"scenes:{split}/{key}", "status": "success", "width": world.size, "height": world.size}
            _add_member(tar, f"{key}.jpg", jpeg)
            _add_member(tar, f"{key}.json", json.dumps(meta).encode())
            _add_member(tar, f"{key}.txt", row["org_caption"].encode())
            rows.append(row)
    entry = {"name": path.name, "n": len(rows), "digest": state.hexdigest(), "sha256": digest_file(path)}
    return rows, entry


def truth_schema() -> pa.Schema:
    """Return the arrow schema of the ground-truth parquet."""
    import pyarrow as pa

    text = pa.string()

    def records(*names: str) -> pa.DataType:
        return pa.list_(pa.struct([(name, text) for name in names]))

    return pa.schema(
        [
            ("key", text), ("shard", text), ("sha256", text), ("label", pa.int32()),
            ("objects", records("colour", "shape", "size", "place")), ("ground", text), ("texture", text),
            ("org_caption", text), ("org_kind", text), ("re_caption", text), ("re_errors", pa.int32()),
            ("captions", pa.list_(text)), ("long_caption", text),
            ("pairs", records("kind", "positive", "negative")),
            ("questions", records("kind", "question", "answer")),
        ]
    )  # fmt: skip


def _write_split(split: str, out: Path, world: World, workers: int) -> dict[str, Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    total = world.count(split)
    numbers = range((total + SHARD_SIZE - 1) // SHARD_SIZE)
    entries = []
    with (
        replacing(out / f"{split}.parquet") as part,
        pq.ParquetWriter(part, truth_schema()) as writer,
        progress_bar(total, f"scenes {split}", "img") as bar,
    ):
        for rows, entry in _shards(numbers, partial(write_shard, split, out=out, world=world), workers):
            writer.write_table(pa.Table.from_pylist(rows, schema=truth_schema()))
            entries.append(entry)
            bar.update(len(rows))
    return {"n": total, "digest": digest_json([entry["digest"] for entry in entries]), "shards": entries}


def _shards(numbers: range, job: partial[Any], workers: int) -> Iterator[Any]:
    """Run `job` on every shard number, results in order, in processes if more than one is asked for."""
    if workers <= 1 or len(numbers) == 1:
        yield from map(job, numbers)
        return
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    quiet = (signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent alone, which then ends the workers
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=signal.signal, initargs=quiet)
    try:
        yield from pool.map(job, numbers)
    finally:
        pool.shutdown(cancel_futures=True)


def check_manifest(out: Path) -> dict[str, Any]:
    """Read a world's manifest and check that every file it names is there.

    Raises:
        DataError: No manifest, or a file is missing.
    """
    manifest: dict[str, Any] = read_json(out / MANIFEST)
    for split, content in manifest["splits"].items():
        names = [f"{split}.parquet"] + [f"{split}/{shard['name']}" for shard in content["shards"]]
        for name in names:
            if not (out / name).is_file():
                raise DataError(f"{out / name} is missing.", f"Delete {out} and make it again: recap-eval scenes {out}")
    return manifest


def _claim(out: Path, world: World) -> bool:
    """Return True if this very world is there already; refuse a folder that holds anything else."""
    if (out / MANIFEST).exists():
        if check_manifest(out)["world"] == asdict(world):
            return True
        raise UserError(f"{out} holds another world of scenes.", "Choose another folder, or delete that one first.")
    if (out / PARTIAL).exists():
        return False
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is not empty and holds no scenes.", "Choose a new or an empty folder.")
    return False


def write_world(out: Path, world: World, workers: int | None = None) -> tuple[dict[str, Any], bool]:
    """Write a world of scenes into a folder, or find it there.

    The same world gives the same bytes in every tar, on any machine and with any number of workers.

    Args:
        out: A new or empty folder, or one that an earlier call began or finished.
        world: What to write.
        workers: Processes; all cores by default.

    Returns:
        The manifest, and whether it was there already.

    Raises:
        UserError: The folder holds something else.
    """
    if _claim(out, world):
        return check_manifest(out), True
    write_json(out / PARTIAL, asdict(world))
    splits = {split: _write_split(split, out, world, workers or os.cpu_count() or 1) for split in SPLITS}
    digest = digest_json({split: content["digest"] for split, content in splits.items()})
    manifest = {"schema_version": SCHEMA_VERSION, "world": asdict(world), "roles": ROLES, "digest": digest, "splits": splits}
    write_json(out / MANIFEST, manifest)
    (out / PARTIAL).unlink()
    return manifest, False
