"""What readers of foreign layouts share: fields of annotations that are there, and image files that are there.

Annotations are checked as they are read, and every image file that they name is looked for before anything is embedded:
a data set of which a part is missing gives another figure, not a worse one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from recap_eval.errors import DataError

BLOCK = 1 << 20  # characters of a long JSON list read at a time
LONGEST = 1 << 24  # of one of its entries
GAP = " \t\r\n,"  # what stands between two


def take(entry: object, names: Mapping[str, type | tuple[type, ...]], place: str, form: str) -> list[Any]:
    """Return the named fields of a JSON object, in the order of `names`.

    Args:
        entry: What the annotations hold.
        names: Field name to the type, or types, it may have.
        place: Where the entry stands, for the message.
        form: The form that is expected, for the hint.

    Raises:
        DataError: It is no object, or a field is missing or of another type.
    """
    hint = f"Expected: {form}"
    if not isinstance(entry, dict):
        raise DataError(f"{place} is of another form: no JSON object, but {_named(entry)}.", hint)
    for name, kind in names.items():
        if name not in entry:
            raise DataError(f"{place} is of another form: it has no {name!r}.", hint)
        if not isinstance(entry[name], kind) or isinstance(entry[name], bool):
            raise DataError(f"{place} is of another form: its {name!r} is {_named(entry[name])}.", hint)
    return [entry[name] for name in names]


def _named(value: object) -> str:
    words = {dict: "an object", list: "a list", str: "a text", int: "a number", float: "a number", bool: "true or false"}
    return words.get(type(value), "null")


def read_lines(path: Path) -> Iterator[tuple[str, object]]:
    """Read a file of one JSON value a line, blank lines left out; yields where each stands, and the value.

    Raises:
        DataError: The file is missing, unreadable, or a line is not JSON.
    """
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{path}: line {number}"
        try:
            yield place, json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{place} is not JSON ({error}).", "Get the file again; it may be cut short.") from error


def read_text(path: Path) -> str:
    """Read a text file.

    Raises:
        DataError: It is missing, unreadable or not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist.", "Check the path.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not readable text ({error}).", "Get the file again.") from error


def first_entries(path: Path, n: int) -> list[object]:
    """Return the first `n` objects of a long JSON list without reading the rest.

    Raises:
        DataError: The file is missing, is not a JSON list, or breaks off before.
    """
    try:
        with path.open(encoding="utf-8") as stream:
            found = list(islice(_entries(stream), n))
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist.", "Check the path.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not readable text ({error}).", "Get the file again.") from error
    if len(found) < n:
        raise DataError(f"{path} is no JSON list of {n:,} entries: only {len(found):,} can be read.", "Get the file again.")
    return found


def _entries(stream: TextIO) -> Iterator[object]:
    """Yield the objects of a JSON list as they are read; end where it ends, breaks off or is no JSON."""
    decode, text = json.JSONDecoder().raw_decode, stream.read(BLOCK)
    if not text.lstrip().startswith("["):
        return
    at = text.index("[") + 1
    while True:
        while text[at : at + 1] and text[at] in GAP:
            at += 1
        try:
            value, at = decode(text, at)
        except json.JSONDecodeError:
            more = stream.read(BLOCK) if len(text) - at < LONGEST else ""
            if not more:
                return
            text, at = text[at:] + more, 0
            continue
        yield value


def find_images(folder: Path, names: Sequence[Sequence[str]], told_by: Path) -> list[Path]:
    """Return where images lie; each folder is listed once, no file is opened.

    Args:
        folder: The folder that names start from.
        names: For each image the names under which it may lie, the first found counts.
        told_by: The annotations, for the message.

    Raises:
        DataError: Images are absent; the message says how many of how many, the first, and where it was looked for.
    """
    is_there = _listing()
    found = [next((folder / name for name in choices if is_there(folder / name)), None) for choices in names]
    absent = [choices for choices, path in zip(names, found, strict=True) if path is None]
    if absent:
        places = " and ".join(dict.fromkeys(str((folder / name).parent) for name in absent[0]))
        raise DataError(
            f"{len(absent):,} of {len(names):,} images of {told_by} are not there; the first: {Path(absent[0][0]).name}.",
            f"Looked in {places}. Unpack the images there.",
        )
    return [path for path in found if path is not None]


def _listing() -> Callable[[Path], bool]:
    known: dict[str, set[str]] = {}

    def is_there(path: Path) -> bool:
        folder, name = os.path.split(path)
        if folder not in known:
            known[folder] = _names_in(folder)
        return name in known[folder]

    return is_there


def _names_in(folder: str) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries}
    except (FileNotFoundError, NotADirectoryError):
        return set()
    except OSError as error:
        raise DataError(f"Cannot list {folder}: {error.strerror}.", "Check its permissions.") from error


def check_unique(keys: Sequence[str], told_by: Path) -> None:
    """Refuse annotations that name an image twice: its captions would count as wrong for each other.

    Raises:
        DataError: Two keys are equal.
    """
    seen: set[str] = set()
    for key in keys:
        if key in seen:
            raise DataError(f"{told_by} names image {key} twice.", "Keep one entry an image, with all its captions.")
        seen.add(key)
