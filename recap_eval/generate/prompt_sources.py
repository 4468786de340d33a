"""Prompts by name: captions of the data sets of presets.py, original (`raw`) or recaption, or of a file."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from recap_eval.console import warn
from recap_eval.data.coco import locked
from recap_eval.data.coco_ids import Lock, coco_id, digest_of_ids
from recap_eval.data.items import CaptionedImages
from recap_eval.errors import DataError, UserError, unknown_name
from recap_eval.generate.presets import ALIASES, PRESETS, RAW, preset_name
from recap_eval.generate.prompt_files import Columns, read_prompts
from recap_eval.generate.prompts import Prompt, PromptSet, make_set


def find_prompts(word: str, root: Path, column: str | None = None, columns: Columns | None = None) -> PromptSet:
    """Return the prompts that a user means: a file of them, or a data set by name.

    Args:
        word: A path with a known suffix, or a name of `PRESETS`, or another spelling of one.
        root: The data root, for names.
        column: "raw" (the default: an original caption) or "recap", for names.
        columns: Which columns of a file are meant.

    Raises:
        UserError: No such name, or a column that it has not.
        DataError: The file or the data is missing or damaged, or its images are not those that the name stands for.
    """
    name = preset_name(word)
    if name not in PRESETS:
        if column is not None:
            raise UserError("--column goes with a data set by name.", "For a file: --prompt-column NAME")
        return _from_file(word, columns)
    if columns not in (None, Columns()):
        raise UserError(f"{word} takes no names of columns.", "Use --column raw or --column recap.")
    column = column or RAW
    data = read_preset(name, root, column)
    source = {"preset": name, "column": column, "captions": PRESETS[name].captions} | _ids_of(data, PRESETS[name].lock)
    return _prompts(f"{name}-{column}", data, source)


def read_preset(word: str, root: Path, column: str = RAW) -> CaptionedImages:
    """Return the images of a data set by name, with the captions of a column; those of COCO in ascending order of their ids.

    Args:
        word: A name of `PRESETS`, or another spelling of one.
        root: The data root.
        column: "raw" or "recap".

    Raises:
        UserError: It has no such column.
        DataError: The data is missing or damaged, or its images are not those that the name stands for.
    """
    name = preset_name(word)
    preset = PRESETS[name]
    if column not in preset.columns:
        raise UserError(f"{name} has no column {column!r}.", f"It has: {', '.join(preset.columns)}.")
    module, _, attribute = preset.reader.partition(":")
    try:
        data: CaptionedImages = getattr(import_module(module), attribute)(root, **preset.options, **preset.columns[column])
    except DataError as error:
        raise DataError(error.what, f"{error.hint} How to get {name}: {preset.get.format(root=root)}") from error
    return data if preset.lock is None else _held(name, data, preset.lock)


def _held(name: str, data: CaptionedImages, lock: Lock) -> CaptionedImages:
    data, holds = locked(name, data, lock)
    if not holds:
        warn(f"{name}: its {len(data.images):,} images are not the {lock.n:,} of COCO that are presumed; results name theirs")
    return data


def _ids_of(data: CaptionedImages, lock: Lock | None) -> dict[str, Any]:
    """Return which images of COCO these are, for the record: their digest, and whether it is the lock's."""
    if lock is None:
        return {}
    digest = digest_of_ids(number for image in data.images if (number := coco_id(image.key)) is not None)
    return {"ids": digest, "locked": digest == lock.digest}


def _from_file(word: str, columns: Columns | None) -> PromptSet:
    path = Path(word).expanduser()
    if path.suffix or path.exists():
        return read_prompts(path, columns)
    see = ", ".join(PRESETS) + ", or a file: .jsonl .csv .tsv .txt .parquet"
    raise unknown_name("set of prompts", word, [*PRESETS, *ALIASES], see)


def _prompts(name: str, data: CaptionedImages, source: dict[str, Any]) -> PromptSet:
    pairs = zip(data.images, data.captions, strict=True)
    placed = [(f"{name}: image {image.key}", Prompt(image.key, own[0], image.key)) for image, own in pairs]
    return make_set(name, placed, source)
