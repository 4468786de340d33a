"""ImageNet-1K's validation set and the sets made to test models trained on it, each in the layout it is published in.

Classes are WordNet ids ("wnids"); a class's index is its place among the 1,000 ids sorted, its name the one of OpenAI's list
(Radford et al. 2021) as open_clip ships it. Two names occur twice there, "missile" and "sunglasses": the images of those four
classes tie between two right-sounding classes and count one half. The list is kept so, as in all published figures.
"""

from __future__ import annotations

import csv
from importlib.resources import files
from pathlib import Path

from recap_eval.data.items import NAMELESS, FileImage, ImageItem, LabelledImages
from recap_eval.data.labelled import class_folders, labelled_images
from recap_eval.data.shards import IMAGE_SUFFIXES
from recap_eval.errors import DataError
from recap_eval.files import digest_json, read_json

PLACE = "imagenet"
VAL = ("val", "ILSVRC/Data/CLS-LOC/val")  # sorted by hand or by the usual script; as Kaggle's archive unpacks
SOLUTION = "LOC_val_solution.csv"
OPENAI_1000 = "02f159a1661b0cf5e199dfe443f138c8d286bbea24fd9523e607330978561de3"  # digest of the 1,000 names
SORT_HINT = f"Sort the images into folders named by wnid (n01440764, …), or put Kaggle's {SOLUTION} beside them."


def class_names() -> list[str]:
    """Return OpenAI's 1,000 class names, by class index.

    Raises:
        DataError: open_clip ships another list than the one that results name "openai-1000".
    """
    from open_clip import IMAGENET_CLASSNAMES

    names = list(IMAGENET_CLASSNAMES)
    if digest_json(names) != OPENAI_1000:
        raise DataError("open_clip's class names are not OpenAI's 1,000.", "Install the release in constraints.txt.")
    return names


def synsets(subset: str = "") -> list[str]:
    """Return the wnids of ImageNet-1K by class index, or those of ImageNet-"a" or -"r", as timm ships them.

    Raises:
        DataError: timm ships no such list.
    """
    name = f"imagenet_{subset}_synsets.txt" if subset else "imagenet_synsets.txt"
    try:
        return (files("timm") / "data" / "_info" / name).read_text(encoding="utf-8").split()
    except OSError as error:
        raise DataError(f"This timm ships no {name}.", "Install the release in constraints.txt.") from error


def find_val(place: Path) -> Path | None:
    """Return the folder of validation images in an ImageNet folder, None if there is none."""
    return next((place / name for name in VAL if (place / name).is_dir()), None)


def missing_val(root: Path) -> list[str]:
    """Return what a data root lacks of ImageNet's validation set."""
    return [] if find_val(root / PLACE) else [f"{PLACE}/{VAL[0]}"]


def validation(root: Path, place: str = PLACE) -> LabelledImages:
    """Read ImageNet-1K's validation set, in folders named by wnid or flat with Kaggle's table of answers.

    Both give the same keys ("wnid/name") in the same order, so that results on either are on the same data.

    Args:
        root: The data root.
        place: The folder below it that holds `val`.

    Raises:
        DataError: No validation folder, a folder that is no wnid, folders with loose images, or an image without answer.
    """
    found = find_val(root / place)
    if found is None:
        raise DataError(f"{root / place} has no folder {VAL[0]}.", f"Put ImageNet's validation images there. {SORT_HINT}")
    loose = [path for path in found.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")]
    folders = any(path.is_dir() and not path.name.startswith(".") for path in found.iterdir())
    if loose and folders:
        raise DataError(f"{found} holds folders and loose images, such as {loose[0].name}.", SORT_HINT)
    return _flat(loose, root / place) if loose else _by_wnid(found, synsets(), class_names())


def by_wnid(root: Path, place: str, subset: str = "") -> LabelledImages:
    """Read a set in folders named by wnid: ImageNet-Sketch, or ImageNet-A and -R with their own 200 classes.

    The classifier has the classes of the official list, also where some of them have no folder.

    Args:
        root: The data root.
        place: The folder below it that holds the wnid folders.
        subset: "a" or "r" for the 200 classes of ImageNet-A or -R; empty for all 1,000.

    Raises:
        DataError: No such folder, or a folder in it that is none of these wnids or holds no image.
    """
    names = dict(zip(synsets(), class_names(), strict=True))
    ids = synsets(subset)
    return _by_wnid(root / place, ids, [names[wnid] for wnid in ids])


def by_index(root: Path, place: str) -> LabelledImages:
    """Read ImageNet-V2, whose folders are class indices from 0 to 999 without leading zeros (sorted as numbers, not as text).

    Args:
        root: The data root.
        place: The folder below it that holds the folders.

    Raises:
        DataError: No such folder, or a folder in it that is no class index or holds no image.
    """
    folders = class_folders(root / place)
    if strange := [path for path in folders if not (path.name.isdecimal() and int(path.name) < 1000)]:
        raise DataError(f"{strange[0]} is no class index from 0 to 999.", "Point to the folder that holds 0, 1, …, 999.")
    folders.sort(key=lambda path: int(path.name))
    images, labels = labelled_images(folders, [int(path.name) for path in folders])
    return LabelledImages(NAMELESS, images, labels, class_names())


def objectnet(root: Path, place: str) -> LabelledImages:
    """Read ObjectNet's images of the 113 classes that overlap with ImageNet's, as its archive unpacks.

    Follows CLIP_benchmark: the classes are ObjectNet's own 113 names in lower case, and the red border of one pixel stays
    (wise-ft cuts two pixels off each side). Folders of the other 200 classes are no part of the task.

    Args:
        root: The data root.
        place: The folder below it that holds `images` and `mappings`.

    Raises:
        DataError: A mapping is missing or damaged, a folder is not in it, or none of the 113 is there.
    """
    mappings = root / place / "mappings"
    labels = _mapping(mappings / "folder_to_objectnet_label.json")
    overlap = _mapping(mappings / "objectnet_to_imagenet_1k.json")
    if unknown := sorted(overlap.keys() - set(labels.values())):
        raise DataError(f"{mappings}: no folder has the label {unknown[0]!r}.", "Unpack ObjectNet's archive again.")
    chosen = sorted(name for name, label in labels.items() if label in overlap)
    folders = class_folders(root / place / "images")
    if strange := [path for path in folders if path.name not in labels]:
        raise DataError(f"{strange[0]} is no class of ObjectNet.", f"Its classes are in {mappings}.")
    own = [path for path in folders if path.name in chosen]
    if not own:
        raise DataError(
            f"{root / place / 'images'} has none of the {len(chosen)} classes.", "Unpack ObjectNet's archive again."
        )
    images, found = labelled_images(own, [chosen.index(path.name) for path in own])
    return LabelledImages(NAMELESS, images, found, [labels[name].lower() for name in chosen])


def _mapping(path: Path) -> dict[str, str]:
    found = read_json(path)
    if not isinstance(found, dict) or not found:
        raise DataError(f"{path} is no mapping.", "Unpack ObjectNet's archive again.")
    return found


def _by_wnid(place: Path, ids: list[str], names: list[str]) -> LabelledImages:
    index = {wnid: number for number, wnid in enumerate(ids)}
    folders = class_folders(place)
    if strange := [path for path in folders if path.name not in index]:
        raise DataError(f"{strange[0]} is none of the {len(ids)} wnids of this set.", f"They are {ids[0]}, {ids[1]}, ….")
    images, labels = labelled_images(folders, [index[path.name] for path in folders])
    return LabelledImages(NAMELESS, images, labels, names)


def _flat(paths: list[Path], place: Path) -> LabelledImages:
    answers = _read_solution(paths[0].parent, place)
    if lost := sorted(path.name for path in paths if path.stem not in answers):
        raise DataError(f"{SOLUTION} has no answer for {lost[0]} ({len(lost)} such images).", SORT_HINT)
    index = {wnid: number for number, wnid in enumerate(synsets())}
    chosen = sorted((answers[path.stem], path.name, path) for path in paths)
    if strange := [wnid for wnid, _, _ in chosen if wnid not in index]:
        raise DataError(f"{SOLUTION}: {strange[0]!r} is no wnid of ImageNet-1K.", "Get the table again from Kaggle.")
    images: list[ImageItem] = [FileImage(f"{wnid}/{name}", path) for wnid, name, path in chosen]
    return LabelledImages(NAMELESS, images, [index[wnid] for wnid, _, _ in chosen], class_names())


def _read_solution(val: Path, place: Path) -> dict[str, str]:
    """Return wnids by image id from Kaggle's table: rows of ImageId and "wnid left top right bottom …"."""
    path = next((folder / SOLUTION for folder in (place, val.parent, val) if (folder / SOLUTION).is_file()), None)
    if path is None:
        raise DataError(f"{val} holds images without class folders, and there is no {place / SOLUTION}.", SORT_HINT)
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            return {row["ImageId"]: row["PredictionString"].split()[0] for row in csv.DictReader(stream)}
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, AttributeError, IndexError) as error:
        what = f"{path} is not a table of ImageId,PredictionString"
        raise DataError(f"{what} ({type(error).__name__}: {error}).", "Get it again from Kaggle.") from error
