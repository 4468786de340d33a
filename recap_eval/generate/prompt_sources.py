"""Prompts by name: captions of the data sets that the readers of `recap_eval.data` know, original (`raw`) or recaption."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from recap_eval.data.items import CaptionedImages
from recap_eval.errors import DataError, UserError, unknown_name
from recap_eval.generate.prompt_files import Columns, read_prompts
from recap_eval.generate.prompts import Prompt, PromptSet, make_set

RAW, RECAP = "raw", "recap"


@dataclass(frozen=True)
class Preset:
    """A named set of prompts.

    Args:
        reader: MODULE:ATTR of a function (root, **options) that gives `CaptionedImages`.
        columns: Options of the reader, by the column a user may choose.
        options: Further options of the reader.
        needs: What the data root must hold, for the message.
        digests: Expected fingerprint by column, where the set is one that must not change.
    """

    reader: str
    columns: dict[str, dict[str, Any]]
    options: dict[str, Any] = field(default_factory=dict)
    needs: str = ""
    digests: dict[str, str] = field(default_factory=dict)


def _karpathy(split: str) -> Preset:
    options = {"json": "coco/dataset_coco.json", "images": "coco", "split": split}
    return Preset("recap_eval.data.captioned:karpathy", {RAW: {}}, options, "coco/dataset_coco.json")


PRESETS = {
    "scenes": Preset(
        "recap_eval.data.scenes.locate:captioned",
        {RAW: {"column": "captions"}, RECAP: {"column": "long_caption"}},
        needs="scenes: recap-eval scenes DIR",
    ),
    "recap-coco-30k": Preset(
        "recap_eval.data.long_captions:recap_coco",
        {RAW: {"column": "caption"}, RECAP: {"column": "recaption"}},
        {"folder": "recap-coco-30k"},
        "recap-coco-30k: recap-eval fetch recap-coco-30k",
    ),
    "coco-val": _karpathy("val"),
    "coco-test": _karpathy("test"),
    "coco-restval": _karpathy("restval"),
}


def find_prompts(word: str, root: Path, column: str | None = None, columns: Columns | None = None) -> PromptSet:
    """Return the prompts that a user means: a file of them, or a data set by name.

    Args:
        word: A path with a known suffix, or a name of `PRESETS`.
        root: The data root, for names.
        column: "raw" (the default: the first original caption) or "recap", for names.
        columns: Which columns of a file are meant.

    Raises:
        UserError: No such name, or a column that it has not.
        DataError: The file or the data is missing or damaged, or the prompts are not those that the name stands for.
    """
    if word not in PRESETS:
        if column is not None:
            raise UserError("--column goes with a data set by name.", "For a file: --prompt-column NAME")
        return _from_file(word, columns)
    if columns not in (None, Columns()):
        raise UserError(f"{word} takes no names of columns.", "Use --column raw or --column recap.")
    column = column or RAW
    found = _prompts(f"{word}-{column}", read_preset(word, root, column), {"preset": word, "column": column})
    return _locked(found, PRESETS[word].digests.get(column))


def read_preset(word: str, root: Path, column: str = RAW) -> CaptionedImages:
    """Return the images of a data set by name, with the captions of a column.

    Args:
        word: A name of `PRESETS`.
        root: The data root.
        column: "raw" or "recap".

    Raises:
        UserError: It has no such column.
        DataError: The data is missing or damaged.
    """
    preset = PRESETS[word]
    if column not in preset.columns:
        raise UserError(f"{word} has no column {column!r}.", f"It has: {', '.join(preset.columns)}.")
    module, _, attribute = preset.reader.partition(":")
    data: CaptionedImages = getattr(import_module(module), attribute)(root, **preset.options, **preset.columns[column])
    return data


def _from_file(word: str, columns: Columns | None) -> PromptSet:
    path = Path(word).expanduser()
    if path.suffix or path.exists():
        return read_prompts(path, columns)
    raise unknown_name("set of prompts", word, PRESETS, ", ".join(PRESETS) + ", or a file: .jsonl .csv .tsv .txt .parquet")


def _prompts(name: str, data: CaptionedImages, source: dict[str, Any]) -> PromptSet:
    pairs = zip(data.images, data.captions, strict=True)
    placed = [(f"{name}: image {image.key}", Prompt(image.key, own[0], image.key)) for image, own in pairs]
    return make_set(name, placed, source | {"captions": "the first of each image"})


def _locked(found: PromptSet, digest: str | None) -> PromptSet:
    if digest is not None and found.fingerprint != digest:
        raise DataError(
            f"{found.name} is not what this name stands for: its digest is {found.fingerprint[:12]}, not {digest[:12]}.",
            "Get the data again, or give a file of your own prompts.",
        )
    return found
