"""Images with short captions: COCO and Flickr30K, in Karpathy's splits and in COCO's own annotations.

All captions of an image are kept, as they stand: not lower-cased, not cut, only stripped of surrounding whitespace.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recap_eval.data.annotations import check_unique, find_images, read_text, take
from recap_eval.data.items import NAMELESS, CaptionedImages, FileImage
from recap_eval.errors import DataError
from recap_eval.files import read_json

KARPATHY_FORM = "images[] with filename, split, sentences[].raw (dataset_coco.json, …; BLIP's lists are another form)"
COCO_FORM = "images[] with id, file_name and annotations[] with id, image_id, caption (captions_val2017.json, …)"
LINE = re.compile(r"(.+?\.(?:jpe?g|png|webp)),(.*)", re.IGNORECASE)


def captioned(folder: Path, names: Sequence[Sequence[str]], captions: list[list[str]], told_by: Path) -> CaptionedImages:
    """Return images with their captions, once all files are there.

    Args:
        folder: The folder that names start from.
        names: (N) names under which each image may lie; the last is its key.
        captions: (N) its captions.
        told_by: The annotations, for messages.

    Raises:
        DataError: A file is absent, an image is named twice or has no caption.
    """
    keys = [choices[-1] for choices in names]
    check_unique(keys, told_by)
    if bare := [key for key, own in zip(keys, captions, strict=True) if not own]:
        raise DataError(f"{told_by}: image {bare[0]} has no caption ({len(bare):,} of {len(keys):,}).", "Get the file again.")
    paths = find_images(folder, names, told_by)
    images = [FileImage(key, path) for key, path in zip(keys, paths, strict=True)]
    return CaptionedImages(NAMELESS, list(images), [[text.strip() for text in own] for own in captions])


def karpathy(root: Path, json: str, images: str, split: str) -> CaptionedImages:
    """Read a split of Karpathy and Fei-Fei 2015 in its original form.

    Args:
        root: The data root.
        json: The annotations, `dataset_coco.json` or `dataset_flickr30k.json`.
        images: Folder of the images; those of COCO lie in val2014 and train2014 below it, or directly in it.
        split: "train", "restval" (COCO), "val" or "test".

    Raises:
        DataError: The annotations are of another form or lack the split, or images are absent.
    """
    path = root / json
    listed = take(read_json(path), {"images": list}, str(path), KARPATHY_FORM)[0]
    splits = [take(entry, {"split": str}, f"{path}: image {i}", KARPATHY_FORM)[0] for i, entry in enumerate(listed)]
    if split not in splits:
        known = ", ".join(sorted(set(splits))) or "no image at all"
        raise DataError(f"{path} has no split {split!r}.", f"It has: {known}.")
    chosen = [_karpathy_image(entry, f"{path}: image {i}") for i, entry in enumerate(listed) if splits[i] == split]
    return captioned(root / images, [names for names, _ in chosen], [captions for _, captions in chosen], path)


def _karpathy_image(entry: dict[str, Any], place: str) -> tuple[tuple[str, ...], list[str]]:
    name, sentences = take(entry, {"filename": str, "sentences": list}, place, KARPATHY_FORM)
    captions = [take(one, {"raw": str}, f"{place}: sentence {i}", KARPATHY_FORM)[0] for i, one in enumerate(sentences)]
    below = entry.get("filepath")
    return ((f"{below}/{name}", name) if isinstance(below, str) else (name,)), captions


def missing_coco(root: Path) -> list[str]:
    """Return what a data root lacks of Karpathy's COCO, whose images lie in coco/val2014 or directly in coco."""
    absent = [] if (root / "coco/dataset_coco.json").is_file() else ["coco/dataset_coco.json"]
    flat = next((root / "coco").glob("COCO_val2014_*"), None)
    return absent if flat or (root / "coco/val2014").is_dir() else [*absent, "coco/val2014"]


@dataclass(frozen=True)
class Annotated:
    """One image of COCO's annotations.

    Args:
        id: Its id.
        file: Name of its file.
        captions: Annotation id and caption, in the order of the file.
    """

    id: int
    file: str
    captions: list[tuple[int, str]]


def annotated(path: Path) -> list[Annotated]:
    """Return what COCO's own caption annotations hold, images in the order of their ids, as torchvision's CocoCaptions does.

    Args:
        path: The annotations, such as `captions_val2017.json`.

    Raises:
        DataError: They are of another form (those of boxes, say).
    """
    from pycocotools.coco import COCO  # type: ignore[import-untyped]

    document = read_json(path)
    listed, notes = take(document, {"images": list, "annotations": list}, str(path), COCO_FORM)
    for i, entry in enumerate(listed):
        take(entry, {"id": int, "file_name": str}, f"{path}: image {i}", COCO_FORM)
    for i, entry in enumerate(notes):
        take(entry, {"id": int, "image_id": int, "caption": str}, f"{path}: annotation {i}", COCO_FORM)
    index = COCO()
    index.dataset = document
    with redirect_stdout(io.StringIO()):
        index.createIndex()
    if strangers := sorted(index.imgToAnns.keys() - index.imgs.keys()):
        raise DataError(f"{path} has captions of image {strangers[0]}, which it does not list.", "Get the file again.")
    return [
        Annotated(i, str(index.imgs[i]["file_name"]), [(int(note["id"]), str(note["caption"])) for note in index.imgToAnns[i]])
        for i in sorted(index.imgs)
    ]


def coco_annotations(root: Path, json: str, images: str) -> CaptionedImages:
    """Read COCO's own caption annotations: all images, in the order of their ids, with all captions.

    Args:
        root: The data root.
        json: The annotations.
        images: Folder of the images.

    Raises:
        DataError: The annotations are of another form, or images are absent.
    """
    path = root / json
    entries = annotated(path)
    captions = [[text for _, text in entry.captions] for entry in entries]
    return captioned(root / images, [(entry.file,) for entry in entries], captions, path)


def image_lines(root: Path, lines: str, images: str) -> CaptionedImages:
    """Read lines "image,caption" under a heading, as in CLIP_benchmark's `flickr30k_test_karpathy.txt`.

    A caption is all after the image's name: it may hold commas, and quotation marks are its own.

    Args:
        root: The data root.
        lines: The file of lines.
        images: Folder of the images.

    Raises:
        DataError: A line is of another form, or images are absent.
    """
    path = root / lines
    found: dict[str, list[str]] = {}
    for number, line in enumerate(read_text(path).split("\n")[1:], start=2):
        if not line.strip():
            continue
        match = LINE.fullmatch(line.strip())
        if match is None:
            raise DataError(f"{path}: line {number} is of another form.", "Expected: a heading, then lines IMAGE.jpg,CAPTION")
        found.setdefault(match[1], []).append(match[2])
    if not found:
        raise DataError(f"{path} holds no caption.", "Expected: a heading, then lines IMAGE.jpg,CAPTION")
    return captioned(root / images, [(name,) for name in found], list(found.values()), path)
