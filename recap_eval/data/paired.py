"""True and false captions of images: ARO's VG-Attribution and VG-Relation, SugarCrepe; and Winoground's quads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar

from recap_eval.data.annotations import check_unique, find_images, read_lines, take
from recap_eval.data.items import NAMELESS, Box, CaptionPairs, CaptionQuads, FileImage, ImageItem
from recap_eval.data.parquet import RowGroups, images_in, parquet_files, read_columns
from recap_eval.errors import DataError
from recap_eval.files import read_json

T = TypeVar("T")
ARO_FORM = (
    "a list of {image_path, bbox_x, bbox_y, bbox_w, bbox_h, true_caption, false_caption, and attributes or relation_name}"
)
CREPE_FORM = "an object of {filename, caption, negative_caption} (add_att.json, …)"
QUAD_FORM = "lines {id, image_0, image_1, caption_0, caption_1, collapsed_tag} (examples.jsonl)"
CREPES = ("replace_obj", "replace_att", "replace_rel", "swap_obj", "swap_att", "add_obj", "add_att")
NUMBER = (int, float)


def vg_attribution(root: Path, json: str, images: str) -> CaptionPairs:
    """Read ARO's VG-Attribution (Yuksekgonul et al. 2023): two attributes swapped; kinds are the pairs of attributes.

    Args:
        root: The data root.
        json: `visual_genome_attribution.json`.
        images: Folder of the images; of each, the box of the two objects is what counts.

    Raises:
        DataError: The annotations are of another form, or images are absent.
    """
    return _aro(root / json, root / images, {"attributes": list}, lambda pair: "_".join(map(str, pair[:2])))


def vg_relation(root: Path, json: str, images: str) -> CaptionPairs:
    """Read ARO's VG-Relation: two objects swapped around a relation; kinds are the relations.

    Args:
        root: The data root.
        json: `visual_genome_relation.json`.
        images: Folder of the images; of each, the box of the two objects is what counts.

    Raises:
        DataError: The annotations are of another form, or images are absent.
    """
    return _aro(root / json, root / images, {"relation_name": str}, str)


def _aro(path: Path, folder: Path, named: Mapping[str, type], kind_of: Callable[[Any], str]) -> CaptionPairs:
    entries = read_json(path)
    if not isinstance(entries, list) or not entries:
        raise DataError(f"{path} is of another form: no list of cases.", f"Expected: {ARO_FORM}")
    texts = {"image_path": str, "true_caption": str, "false_caption": str}
    sides = {"bbox_x": NUMBER, "bbox_y": NUMBER, "bbox_w": NUMBER, "bbox_h": NUMBER}
    rows, groups = [], []
    for number, entry in enumerate(entries):
        place = f"{path}: case {number}"
        name, true, false, x, y, width, height, kind = take(entry, texts | sides | dict(named), place, ARO_FORM)
        if not (all(map(isfinite, (x, y, width, height))) and width >= 1 and height >= 1):
            raise DataError(f"{place} has an empty box, {width} x {height}.", "Get the file again.")
        box = (round(x), round(y), round(x + width), round(y + height))
        rows.append(((name, box), true.strip(), false.strip()))
        groups.append(kind_of(kind))
    return _pairs(rows, groups, folder, path)


def _pairs(
    rows: Sequence[tuple[tuple[str, Box | None], str, str]], groups: list[str], folder: Path, told_by: Path
) -> CaptionPairs:
    """Build pairs whose rows share an image where name and box are the same."""
    number = {part: i for i, part in enumerate(dict.fromkeys(part for part, _, _ in rows))}
    paths = find_images(folder, [(name,) for name, _ in number], told_by)
    images: list[ImageItem] = [
        FileImage(f"{name}@{','.join(map(str, box))}" if box else name, path, box)
        for (name, box), path in zip(number, paths, strict=True)
    ]
    return CaptionPairs(NAMELESS, images, [(number[part], true, false) for part, true, false in rows], groups)


def sugar_crepe(root: Path, folder: str, images: str) -> CaptionPairs:
    """Read the seven kinds of SugarCrepe (Hsieh et al. 2023): captions of COCO val2017 against plausible wrong ones.

    Cases are taken in turn from each kind, so that the first images (`--limit`) hold cases of all of them.

    Args:
        root: The data root.
        folder: The folder of the seven JSON files.
        images: Folder of COCO's val2017 images.

    Raises:
        DataError: A file is absent or of another form, or images are absent.
    """
    cases = [[(kind, *case) for case in _crepe(root / folder / f"{kind}.json")] for kind in CREPES]
    ordered = in_turn(cases)
    rows = [((name, None), true, false) for _, name, true, false in ordered]
    return _pairs(rows, [kind for kind, *_ in ordered], root / images, root / folder)


def _crepe(path: Path) -> list[tuple[str, str, str]]:
    entries = read_json(path)
    if not isinstance(entries, dict) or not entries:
        raise DataError(f"{path} is of another form: no object of cases.", f"Expected: {CREPE_FORM}")
    names = {"filename": str, "caption": str, "negative_caption": str}
    found = [take(entry, names, f"{path}: case {key}", CREPE_FORM) for key, entry in entries.items()]
    return [(name, true.strip(), false.strip()) for name, true, false in found]


def in_turn(groups: Sequence[Sequence[T]]) -> list[T]:
    """Return the members of groups, one of each in turn until all are taken."""
    turns = range(max(map(len, groups), default=0))
    return [group[turn] for turn in turns for group in groups if turn < len(group)]


def winoground(root: Path, folder: str) -> CaptionQuads:
    """Read Winoground (Thrush et al. 2022): examples.jsonl beside images/NAME.png, or its parquet files with all in them.

    Cases are taken in turn from each kind (collapsed_tag), so that the first ones (`--limit`) hold all of them.

    Args:
        root: The data root.
        folder: The folder of either form.

    Raises:
        DataError: The data is of neither form, or images are absent.
    """
    path = root / folder / "examples.jsonl"
    keys, images, captions, kinds = _winoground_lines(path) if path.is_file() else _winoground_parquet(root / folder)
    check_unique(keys, root / folder)
    places: dict[str, list[int]] = {}
    for number, kind in enumerate(kinds):
        places.setdefault(kind, []).append(number)
    order = in_turn(list(places.values()))
    chosen = [images[2 * number + side] for number in order for side in (0, 1)]
    return CaptionQuads(NAMELESS, chosen, [captions[number] for number in order], [kinds[number] for number in order])


Quads = tuple[list[str], list[ImageItem], list[tuple[str, str]], list[str]]


def _winoground_lines(path: Path) -> Quads:
    names = {"image_0": str, "image_1": str, "caption_0": str, "caption_1": str, "collapsed_tag": str}
    found = [take(entry, names, place, QUAD_FORM) for place, entry in read_lines(path)]
    if not found:
        raise DataError(f"{path} holds no case.", f"Expected: {QUAD_FORM}")
    keys = [name for first, second, *_ in found for name in (first, second)]
    paths = find_images(path.parent / "images", [(f"{key}.png", key) for key in keys], path)
    images: list[ImageItem] = [FileImage(key, place) for key, place in zip(keys, paths, strict=True)]
    return keys, images, [(one.strip(), two.strip()) for _, _, one, two, _ in found], [kind for *_, kind in found]


def _winoground_parquet(folder: Path) -> Quads:
    images: list[ImageItem] = []
    cases: list[tuple[Any, ...]] = []
    groups = RowGroups()
    for path in parquet_files(folder):
        ids, *texts = read_columns(path, ["id", "caption_0", "caption_1", "collapsed_tag"])
        sides = [images_in(path, f"image_{side}", [f"ex_{i}_img_{side}" for i in ids], groups) for side in (0, 1)]
        images += [image for pair in zip(*sides, strict=True) for image in pair]
        cases += zip(*texts, strict=True)
    if bare := [number for number, case in enumerate(cases) if not all(isinstance(text, str) for text in case)]:
        raise DataError(f"{folder}: row {bare[0]} lacks a caption or its kind.", "Get the data again.")
    captions = [(one.strip(), two.strip()) for one, two, _ in cases]
    return [image.key for image in images], images, captions, [kind for *_, kind in cases]


def missing_winoground(root: Path) -> list[str]:
    """Return what a data root lacks of Winoground, which comes in two forms."""
    folder = root / "winoground"
    there = (folder / "examples.jsonl").is_file() or next(folder.rglob("*.parquet"), None)
    return [] if there else ["winoground/examples.jsonl"]
