"""Reads a split of scenes back, in the forms that tasks take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recap_eval.data.items import CaptionedImages, CaptionPairs, DataId, LabelledImages
from recap_eval.data.scenes.world import KINDS
from recap_eval.data.scenes.write import PRESETS, check_manifest
from recap_eval.data.shards import Sample, read_shards
from recap_eval.errors import DataError

CLASSES = [" ".join(kind) for kind in KINDS]


def _world_name(manifest: dict[str, Any]) -> str:
    from dataclasses import asdict

    for name, world in PRESETS.items():
        if asdict(world) == manifest["world"]:
            return f"scenes-{name}"
    return f"scenes-{manifest['digest'][:8]}"


def _truth(path: Path) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is not a readable parquet file ({error}).", "Make the scenes again.") from error
    return rows


def _load(root: Path, split: str) -> tuple[list[Sample], list[dict[str, Any]], dict[str, Any]]:
    manifest = check_manifest(root)
    samples, rows = read_shards(root / split), _truth(root / f"{split}.parquet")
    found = {sample.key: sample for sample in samples}
    absent = [row["key"] for row in rows if row["key"] not in found]
    if absent or len(found) != len(rows):
        name = f"image {absent[0]}" if absent else f"{len(found) - len(rows)} images without a row in {split}.parquet"
        raise DataError(f"{root / split} does not match {split}.parquet: {name}.", "Make the scenes again.")
    return [found[row["key"]] for row in rows], rows, manifest


def _source(manifest: dict[str, Any], split: str) -> DataId:
    size = manifest["world"]["size"]
    return DataId(_world_name(manifest), split, "", f"drawn scenes of {size} px, a laboratory and not web data")


def read_split(root: Path, split: str) -> tuple[list[Sample], list[dict[str, Any]], DataId]:
    """Read a split's images and rows of ground truth, in the same order, and which data they are.

    Raises:
        DataError: Files are missing, corrupt or do not match each other.
    """
    samples, rows, manifest = _load(root, split)
    return samples, rows, _source(manifest, split)


def labelled(root: Path, split: str = "test") -> LabelledImages:
    """Read a split for zero-shot classification into the 64 kinds (colour and shape of the main thing).

    Raises:
        DataError: Files are missing, corrupt or do not match each other.
    """
    samples, rows, manifest = _load(root, split)
    labels = [row["label"] for row in rows]
    return LabelledImages(_source(manifest, split), list(samples), labels, CLASSES)


def captioned(root: Path, column: str, split: str = "test") -> CaptionedImages:
    """Read a split for retrieval.

    Args:
        root: The folder of the scenes.
        column: "captions" (five short ones an image) or "long_caption" (one).
        split: Which split.

    Raises:
        DataError: Files are missing, corrupt or do not match each other.
    """
    samples, rows, manifest = _load(root, split)
    captions = [row[column] if isinstance(row[column], list) else [row[column]] for row in rows]
    return CaptionedImages(_source(manifest, split), list(samples), captions)


def paired(root: Path, kind: str, split: str = "test") -> CaptionPairs:
    """Read a split's swapped pairs.

    Args:
        root: The folder of the scenes.
        kind: "attribute" or "relation".
        split: Which split.

    Raises:
        DataError: Files are missing, corrupt or do not match each other.
    """
    samples, rows, manifest = _load(root, split)
    pairs = [[pair for pair in row["pairs"] if pair["kind"] == kind] for row in rows]
    used = [index for index, found in enumerate(pairs) if found]
    flat = [(new, pair["positive"], pair["negative"]) for new, old in enumerate(used) for pair in pairs[old]]
    images = [samples[index] for index in used]
    return CaptionPairs(_source(manifest, split), list(images), flat, [kind] * len(flat))
