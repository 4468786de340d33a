"""Finds scenes under a data root: the root itself, or its folder `scenes`."""

from __future__ import annotations

from pathlib import Path

from recap_eval.data.items import CaptionedImages, CaptionPairs, LabelledImages
from recap_eval.data.scenes.write import MANIFEST

FOLDER = "scenes"


def scenes_folder(root: Path) -> Path:
    """Return where a data root keeps its scenes, whether they are there or not."""
    return root if (root / MANIFEST).is_file() else root / FOLDER


def missing(root: Path) -> list[str]:
    """Return what a data root lacks of scenes: nothing, or their manifest."""
    return [] if (scenes_folder(root) / MANIFEST).is_file() else [f"{FOLDER}/{MANIFEST}"]


def labelled(root: Path) -> LabelledImages:
    """Read the test split for zero-shot classification."""
    from recap_eval.data.scenes import read

    return read.labelled(scenes_folder(root))


def captioned(root: Path, column: str) -> CaptionedImages:
    """Read the test split for retrieval; see `read.captioned`."""
    from recap_eval.data.scenes import read

    return read.captioned(scenes_folder(root), column)


def paired(root: Path, kind: str) -> CaptionPairs:
    """Read the test split's swapped pairs; see `read.paired`."""
    from recap_eval.data.scenes import read

    return read.paired(scenes_folder(root), kind)
