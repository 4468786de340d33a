"""What a user's words for an input stand for: shards, parquet files, or a folder of images."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from recap_caption.sources.base import NO_ROLE, Part, Reading, Source, plain_key
from recap_caption.sources.pictures import Pictures, list_images
from recap_caption.sources.shards import Shards
from recap_caption.sources.tables import Tables
from recap_eval.captions.generations import GENERATION, captions_of, newest
from recap_eval.data.root import default_cache
from recap_eval.data.shard_places import find_shards, is_pattern
from recap_eval.errors import DataError, UserError

PRESETS: dict[str, dict[str, str]] = {  # where presets of roles say more than which text is which
    "recap-coco-30k": {"key": "image_id", "url": "coco_url", "image": "image"},
}
KNOWN = "Known are folders of *.tar, of *.parquet and of images, and patterns of such files; quote patterns."
UNSAID = "Say it: --caption-preset datacomp|recap-datacomp|scenes, --original-key txt|json:FIELD|parquet:COLUMN or none"


def find_source(words: Sequence[str], reading: Reading) -> Source:
    """Return the input that words stand for.

    Raises:
        UserError: A role is of another form than the input.
        DataError: There is nothing, or it is not clear what is meant.
    """
    source = _find(words, reading)
    reading.check(source.form)
    if odd := next((name for name in source.names if plain_key(name) != name), None):
        raise DataError(f"The name of {plain_key(odd)} is no UTF-8.", "Rename it.")
    return source


def _find(words: Sequence[str], reading: Reading) -> Source:
    if len(words) == 1 and is_pattern(words[0]):
        return Shards(find_shards(words[0], default_cache())[0], reading)
    folders = [Path(word).expanduser() for word in words]
    files = _files(words)
    if not files and len(words) == 1 and folders[0].is_dir() and (names := list_images(folders[0])):
        return Pictures(folders[0], names, reading)
    if not files:
        raise DataError(f"{words[0]} holds nothing that can be captioned.", KNOWN)
    kinds = {path.suffix.lower() for path in files}
    if len(kinds) > 1:
        raise DataError(f"The input holds {' and '.join(sorted(kinds))} files.", "Name one kind, by a pattern in quotes.")
    return Shards(files, reading) if kinds == {".tar"} else Tables(files, _names(files), reading)


def _files(words: Sequence[str]) -> list[Path]:
    found: dict[Path, None] = {}
    for word in words:
        place = Path(word).expanduser()
        here = _in_folder(place) if place.is_dir() else sorted(Path(name) for name in glob.glob(str(place), recursive=True))  # noqa: PTH207
        if not here and not place.is_dir():
            raise DataError(f"{word} is not there.", KNOWN)
        for path in here:
            if path.suffix.lower() not in (".tar", ".parquet") or not path.is_file():
                raise DataError(f"{path} is neither a shard nor a parquet file.", KNOWN)
            found[path] = None
    return newest(found)


def _in_folder(folder: Path) -> list[Path]:
    """Return a folder's shards, or else its parquet files at any depth.

    Raises:
        DataError: There are images beside the parquet files: which is meant is not guessed.
    """
    if tars := sorted(folder.glob("*.tar")):  # beside them lie img2dataset's own parquet files
        return tars
    tables = sorted(path for path in captions_of(folder).rglob("*.parquet") if not path.name.startswith("."))
    if tables and list_images(folder):
        raise DataError(
            f"{folder} holds parquet files and images.", f"Name the files, '{folder}/*.parquet', or a folder of images only."
        )
    return tables


def _names(files: list[Path]) -> list[str]:
    shared = Path(os.path.commonpath([path.parent for path in files]))
    return [path.relative_to(shared).as_posix() for path in files]


def check_names(parts: Iterable[Part]) -> None:
    """Check that every part's output has a name of its own.

    Raises:
        DataError: Two have one name, or a name that stands for something else.
    """
    counts = Counter(part.name for part in parts)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise DataError(f"Two inputs are called {twice[0]!r}.", "Outputs are named like inputs: caption each folder by itself.")
    if odd := [name for name in counts if re.search(GENERATION, f"{name}.parquet") or name.startswith(".")]:
        raise DataError(f"An input is called {odd[0]!r}, which is no name for an output.", "Rename it.")


def check_said(reading: Reading, source: Source) -> None:
    """Check that it was said which text is the original, where there are texts.

    Raises:
        UserError: It was not.
    """
    if reading.original is None and source.has_texts:
        raise UserError("Which text is the original caption is not said.", UNSAID)


def check_found(reading: Reading, source: Source, part: Part) -> None:
    """Check that the texts that were named are there, by a part's samples.

    Raises:
        DataError: No sample has one.
    """
    opened = source.open(part)
    opened.close()
    for name, role in reading.roles.items():
        if opened.items and all(getattr(item, name) is None for item in opened.items):
            raise DataError(f"No sample of {part.name} has {role}.", f"Name another text, or {NO_ROLE}: --original-key …")
