"""Images with long captions: Urban1K, Recap-COCO-30K, DOCCI, ShareGPT4V-1k; one caption an image, except by another column."""

from __future__ import annotations

from pathlib import Path

from recap_eval.data.annotations import check_unique, first_entries, read_lines, read_text, take
from recap_eval.data.captioned import captioned
from recap_eval.data.items import NAMELESS, CaptionedImages
from recap_eval.data.own import read_parquet
from recap_eval.errors import DataError

DOCCI_FORM = "lines {example_id, split, image_file, description} (docci_descriptions.jsonlines)"
SHARE_FORM = "a list of {image, conversations: [question, {value}]} (share-captioner_coco_lcs_sam_1246k_1107.json)"


def urban1k(root: Path, images: str, captions: str) -> CaptionedImages:
    """Read Urban1K (Zhang et al. 2024, Long-CLIP): N.jpg and N.txt; of each caption the first line, as its Urban1k.py does.

    Args:
        root: The data root.
        images: Folder of the images.
        captions: Folder of the captions.

    Raises:
        DataError: There is no caption, a caption is empty, or one of an image and its caption is absent.
    """
    folder, texts = root / images, root / captions
    stems = sorted((path.stem for path in texts.glob("*.txt")), key=lambda stem: (len(stem), stem))
    if not stems:
        raise DataError(f"{texts} holds no caption N.txt.", "Unpack Urban1k.zip there: image/N.jpg and caption/N.txt.")
    if extra := sorted({path.stem for path in folder.glob("*.jpg")} - set(stems)):
        raise DataError(f"{len(extra):,} images of {folder} have no caption; the first: {extra[0]}.jpg.", f"Looked in {texts}.")
    lines = [read_text(texts / f"{stem}.txt") for stem in stems]
    if empty := [stem for stem, text in zip(stems, lines, strict=True) if not text]:
        raise DataError(f"{texts / empty[0]}.txt is empty.", "Get the data again.")
    return captioned(folder, [(f"{stem}.jpg",) for stem in stems], [[text.split("\n")[0]] for text in lines], texts)


def recap_coco(root: Path, folder: str, column: str) -> CaptionedImages:
    """Read Recap-COCO-30K (Li et al. 2024, Recap-DataComp-1B): parquet files with the images in them.

    Args:
        root: The data root.
        folder: The folder that holds the parquet files, at any depth.
        column: "recaption" or "caption".

    Raises:
        DataError: A file is damaged or lacks a column, an image occurs twice or has no caption.
    """
    place = root / folder
    images, captions = read_parquet(place, image="image", text=column, key="image_id")
    check_unique([image.key for image in images], place)
    if bare := [image.key for image, own in zip(images, captions, strict=True) if not own]:
        raise DataError(f"{place}: image {bare[0]} has no text in {column!r}.", "Get the data again.")
    return CaptionedImages(NAMELESS, images, captions)


def docci(root: Path, lines: str, images: str, split: str) -> CaptionedImages:
    """Read DOCCI (Onoe et al. 2024): long descriptions written by people.

    Args:
        root: The data root.
        lines: `docci_descriptions.jsonlines`.
        images: Folder of the images.
        split: "train", "test", "qual_dev" or "qual_test".

    Raises:
        DataError: The descriptions are of another form or lack the split, or images are absent.
    """
    path = root / lines
    names = {"split": str, "image_file": str, "description": str}
    entries = [take(entry, names, place, DOCCI_FORM) for place, entry in read_lines(path)]
    chosen = [entry for entry in entries if entry[0] == split]
    if not chosen:
        known = ", ".join(sorted({entry[0] for entry in entries})) or "no line at all"
        raise DataError(f"{path} has no split {split!r}.", f"It has: {known}.")
    return captioned(root / images, [(name,) for _, name, _ in chosen], [[text] for _, _, text in chosen], path)


def sharegpt4v(root: Path, json: str, images: str, first: int) -> CaptionedImages:
    """Read the first entries of ShareGPT4V-PT (Chen et al. 2023), Long-CLIP's validation set: line breaks become spaces.

    Args:
        root: The data root.
        json: The annotations; only their beginning is read (the file has 1.5 GB).
        images: The folder that the images' paths start from.
        first: How many entries; Long-CLIP's train/sharegpt4v.py takes 1,000.

    Raises:
        DataError: The annotations are of another form or shorter, or images are absent (many people lack those of SAM).
    """
    path = root / json
    names, captions = [], []
    for number, entry in enumerate(first_entries(path, first)):
        place = f"{path}: entry {number}"
        name, turns = take(entry, {"image": str, "conversations": list}, place, SHARE_FORM)
        answer = take(turns[1] if len(turns) > 1 else None, {"value": str}, f"{place}, its answer", SHARE_FORM)[0]
        names.append((name,))
        captions.append([answer.replace("\n", " ")])
    return captioned(root / images, names, captions, path)
