"""Image folders with a folder for each class: PLACE/CLASS/*.jpg."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recap_eval.data.items import NAMELESS, FileImage, ImageItem, LabelledImages
from recap_eval.data.shards import IMAGE_SUFFIXES
from recap_eval.errors import DataError
from recap_eval.files import digest_json, read_json

OTHER_IMAGES = (".avif", ".bmp", ".gif", ".heic", ".jp2", ".pgm", ".ppm", ".tif", ".tiff")
DEFAULT_TEMPLATES = "openai-80"
LAYOUT = f"Lay images out as PLACE/CLASS/NAME with an ending of {', '.join(IMAGE_SUFFIXES)}."


def folder(root: Path, place: str, classes: str = "") -> LabelledImages:
    """Read any image folder with a folder for each class.

    Args:
        root: The data root.
        place: The folder below it that holds the class folders.
        classes: A file below it with the class names: a JSON object from folder to name, or a JSON list or lines of text in the
            order of the sorted folders. Without it the folders' names are the classes, "_" read as a space.

    Returns:
        The images in the order of folders and names, with the templates of Radford et al. 2021 unless the row names others.

    Raises:
        DataError: No such folder, no class folder, a class folder without an image or with one that is not read, or a file of
            class names that does not fit the folders.
    """
    from recap_eval.data.templates import load_templates

    folders = class_folders(root / place)
    names = [path.name for path in folders]
    words = read_class_names(root / classes, names) if classes else [name.replace("_", " ") for name in names]
    images, labels = labelled_images(folders, range(len(folders)))
    settings = {"classes": digest8(words), "templates": DEFAULT_TEMPLATES}
    return LabelledImages(NAMELESS, images, labels, words, load_templates(DEFAULT_TEMPLATES)[1], settings)


def digest8(value: Any) -> str:
    """Return eight hex digits of a value's digest, to tell lists of classes or templates apart."""
    return digest_json(value)[:8]


def class_folders(place: Path) -> list[Path]:
    """Return the folders in a folder, hidden ones left out, sorted by name.

    Raises:
        DataError: No such folder, or no folder in it.
    """
    if not place.is_dir():
        raise DataError(f"{place} is not a folder.", LAYOUT)
    found = [path for path in place.iterdir() if path.is_dir() and not path.name.startswith(".")]
    if not found:
        raise DataError(f"{place} holds no class folder.", LAYOUT)
    return sorted(found, key=lambda path: path.name)


def labelled_images(folders: list[Path], labels: range | list[int]) -> tuple[list[ImageItem], list[int]]:
    """Return the images of class folders, and for each the label of its folder.

    Raises:
        DataError: See `images_of`.
    """
    images: list[ImageItem] = []
    found: list[int] = []
    for path, label in zip(folders, labels, strict=True):
        own = images_of(path)
        images += own
        found += [label] * len(own)
    return images, found


def images_of(class_folder: Path) -> list[FileImage]:
    """Return the images of one class folder, keyed "FOLDER/NAME" and sorted by name; other files and hidden ones are passed by.

    Raises:
        DataError: No image, or a folder or an image of another kind, which would be left out without a word.
    """
    found = []
    for path in sorted(class_folder.iterdir(), key=lambda path: path.name):
        suffix = path.suffix.lower()
        if path.name.startswith("."):
            continue
        if suffix in IMAGE_SUFFIXES:
            found.append(FileImage(f"{class_folder.name}/{path.name}", path))
        elif suffix in OTHER_IMAGES or path.is_dir():
            what = "a folder in a class folder" if path.is_dir() else "an image of a kind that is not read"
            raise DataError(f"{path} is {what}.", LAYOUT)
    if not found:
        raise DataError(f"Class folder {class_folder} holds no image.", "Restore its images, or remove the folder.")
    return found


def read_class_names(path: Path, folders: list[str]) -> list[str]:
    """Return the class name of each folder.

    Args:
        path: A JSON object from folder to name, or a JSON list or lines of text in the order of the folders.
        folders: The folders' names, sorted.

    Raises:
        DataError: The file is unreadable, or its classes are not those of the folders.
    """
    found = read_json(path) if path.suffix.lower() == ".json" else read_lines(path)
    names = list(found.values()) if isinstance(found, dict) else found
    if not isinstance(names, list) or not all(isinstance(name, str) and name.strip() for name in names):
        raise DataError(f"{path} is no list of class names.", 'Write ["cat", "dog"] or {"n001": "cat", "n002": "dog"}.')
    if isinstance(found, dict) and (strange := sorted(found.keys() ^ set(folders))):
        where = f"names the folder {strange[0]}, which is not there" if strange[0] in found else f"has no name for {strange[0]}"
        raise DataError(f"{path} ({len(found)} classes) {where} ({len(folders)} folders).", "Give each folder one name.")
    if len(names) != len(folders):
        raise DataError(f"{path} has {len(names)} classes, but there are {len(folders)} folders.", "Give each folder one name.")
    return [found[name] for name in folders] if isinstance(found, dict) else names


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file, stripped; empty ones at its end do not count.

    Raises:
        DataError: It is missing or not UTF-8, holds nothing, or has an empty line between others.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").strip().split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"Cannot read {path} ({error}).", "Restore the file, in UTF-8.") from error
    lines = [line.strip() for line in lines]
    if "" in lines:
        what = "is empty" if lines == [""] else f"has an empty line ({lines.index('') + 1})"
        raise DataError(f"{path} {what}.", "Write one name a line.")
    return lines
