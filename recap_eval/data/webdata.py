"""Data sets in CLIP_benchmark's webdataset layout (its `build_wds_dataset`), as the hub's clip-benchmark/wds_* have it.

    PLACE/test/nshards.txt, 0.tar, 1.tar, …     KEY.{webp,png,jpg,jpeg} with KEY.cls (class index) or KEY.txt (a caption a line)
    PLACE/classnames.txt                        a class name a line
    PLACE/zeroshot_classification_templates.txt a template a line, {c} for the class
    PLACE/dataset_type.txt                      "retrieval"; absent or "classification" otherwise

The number of shards is checked: after a failed download a peer measured the one shard that was there.
"""

from __future__ import annotations

from pathlib import Path

from recap_eval.data.items import NAMELESS, CaptionedImages, LabelledImages
from recap_eval.data.labelled import digest8, read_lines
from recap_eval.data.shards import Sample, read_tars
from recap_eval.data.templates import parse_templates
from recap_eval.errors import DataError

COUNT, TYPE, CLASSES = "nshards.txt", "dataset_type.txt", "classnames.txt"
TEMPLATES = "zeroshot_classification_templates.txt"
POINTER = b"version https://git-lfs"
TYPES = ("classification", "retrieval")  # each read by the function of its name
AGAIN = "Get the data set again; see: recap-eval list tasks"


def classification(root: Path, place: str, split: str = "test") -> LabelledImages:
    """Read a data set of classes, with its own templates where it brings some.

    Args:
        root: The data root.
        place: The data set's folder below it.
        split: Which of its splits.

    Raises:
        DataError: It is of another type, a file or shard is missing, an image has no label, or a label has no class name.
    """
    folder = root / place
    _check_type(folder, "classification")
    samples, classes = _read_split(folder / split), read_lines(folder / CLASSES)
    templates = parse_templates(read_lines(folder / TEMPLATES), str(folder / TEMPLATES)) if _has_templates(folder) else ()
    settings = {"classes": digest8(classes)} | ({"templates": f"own:{digest8(templates)}"} if templates else {})
    labels = [_label(sample, len(classes)) for sample in samples]
    return LabelledImages(NAMELESS, list(samples), labels, classes, templates, settings)


def retrieval(root: Path, place: str, split: str = "test") -> CaptionedImages:
    """Read a data set of captions, one a line of KEY.txt.

    Args:
        root: The data root.
        place: The data set's folder below it.
        split: Which of its splits.

    Raises:
        DataError: It is of another type, a file or shard is missing, or an image has no caption or an empty one.
    """
    folder = root / place
    _check_type(folder, "retrieval")
    samples = _read_split(folder / split)
    return CaptionedImages(NAMELESS, list(samples), [_captions(sample) for sample in samples])


def _check_type(folder: Path, wanted: str) -> None:
    path = folder / TYPE
    found = read_lines(path)[0].lower() if path.is_file() else "classification"
    if found not in TYPES:
        raise DataError(f"{path}: data of type {found!r} is not read.", f"Types that are: {', '.join(TYPES)}.")
    if found != wanted:
        what = f"{folder} is a data set for {found}, not for {wanted}."
        raise DataError(what, f"Its reader is recap_eval.data.webdata:{found}")


def _has_templates(folder: Path) -> bool:
    return (folder / TEMPLATES).is_file()


def _read_split(folder: Path) -> list[Sample]:
    return read_tars(_shards(folder), whole=True)


def _shards(folder: Path) -> list[Path]:
    """Return the shards that the split's count promises, in order."""
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder.", "A split lies at PLACE/SPLIT; " + AGAIN)
    (words, *_) = read_lines(folder / COUNT)
    if not words.isdecimal() or int(words) < 1:
        raise DataError(f"{folder / COUNT} holds {words!r}, not a number of shards.", AGAIN)
    shards = [folder / f"{number}.tar" for number in range(int(words))]
    there = {path.name for path in folder.glob("*.tar")}
    if lost := [path for path in shards if path.name not in there]:
        raise DataError(f"{lost[0]} is missing: {COUNT} promises {words} shards, {len(lost)} are not there.", AGAIN)
    if strange := sorted(there - {path.name for path in shards}):
        raise DataError(f"{folder / strange[0]} is not one of the {words} shards that {COUNT} promises.", AGAIN)
    for path in shards:
        _check_whole(path)
    return shards


def _check_whole(path: Path) -> None:
    try:
        with path.open("rb") as stream:
            is_pointer = stream.read(len(POINTER)) == POINTER
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror}.", AGAIN) from error
    if is_pointer:
        raise DataError(f"{path} is a git-lfs pointer and not the shard.", "In its folder: git lfs pull")


def _label(sample: Sample, classes: int) -> int:
    if sample.label is None:
        raise DataError(f"{sample.where} has no label: no {sample.key}.cls beside it.", AGAIN)
    if not 0 <= sample.label < classes:
        raise DataError(f"{sample.where} has label {sample.label}, but {CLASSES} has {classes} names.", AGAIN)
    return sample.label


def _captions(sample: Sample) -> list[str]:
    """Return the lines of KEY.txt, parted by line feeds alone: `splitlines` would also part captions at rarer characters."""
    lines = [line.removesuffix("\r") for line in (sample.text or "").rstrip("\r\n").split("\n")]
    if not all(line.strip() for line in lines):
        raise DataError(f"{sample.where} has no caption, or an empty one.", f"Put one caption a line into {sample.key}.txt.")
    return lines
