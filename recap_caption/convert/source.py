"""What is converted, found and opened: the checkpoint, its configuration, and its vision tower, wherever that lies."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recap_caption.convert.checkpoint import Checkpoint, read_config, stamps, weight_files
from recap_caption.convert.names import HUB, TOWER, is_dropped
from recap_caption.convert.original import Original, known_tower, read_original, tower_config
from recap_caption.convert.weights import Weights
from recap_eval.errors import DataError, UserError
from recap_eval.files import digest_file
from recap_eval.models.hub import fetch_files
from recap_eval.models.llava.tokenizer import DEFAULT_TEMPLATE, FILES, LLAMA_3, has_tokenizer

DESCRIBED = ("*.json", *FILES)
FORMS = (("model*.safetensors",), ("pytorch_model*.bin",))  # the first that a repository has


@dataclass(frozen=True)
class Conversion:
    """What is asked for.

    Args:
        model: A folder, or ORG/NAME on the hub.
        tokenizer: Likewise; None for the checkpoint's own, or LLaMA-3's if it brings none.
        chat_template: A shipped one's name, or a file.
        vision_tower: A CLIP's folder or ORG/NAME; None for the one that the checkpoint names.
        layout: Of the tensors' names: "hub" or "transformers".
    """

    model: str
    tokenizer: str | None = None
    chat_template: str = DEFAULT_TEMPLATE
    vision_tower: str | None = None
    layout: str = HUB


@dataclass(frozen=True)
class Source:
    """What is there.

    Args:
        name: What the checkpoint is called.
        folder: Where it lies.
        original: Its configuration.
        vision: The vision tower's.
        weights: The tensors.
        tokenizer: Where the tokenizer comes from.
        tower: Where the vision tower's weights lie; None if they are in the checkpoint.
    """

    name: str
    folder: Path
    original: Original
    vision: dict[str, Any]
    weights: Weights = field(repr=False)
    tokenizer: str
    tower: Path | None


def find_model(word: str) -> Path:
    """Return the folder of a checkpoint, fetched if it lies on the hub.

    Raises:
        DataError: It cannot be had.
    """
    folder = Path(word).expanduser()
    if folder.is_dir():
        return folder
    if folder.is_absolute() or word.startswith((".", "~")) or folder.exists():
        raise DataError(f"{word} is not a folder.", "Name a checkpoint's folder, or ORG/NAME on the hub.")
    for patterns in FORMS:
        found = fetch_files(word, [*DESCRIBED, *patterns])
        if any(list(found.glob(pattern)) for pattern in patterns):
            break
    return found


def open_source(asked: Conversion) -> Source:
    """Open a checkpoint and check it whole; no weights are read yet.

    Raises:
        UserError: What is asked for does not go together.
        DataError: Something is missing, damaged, or of another architecture.
    """
    folder = find_model(asked.model)
    name = _called(asked.model, folder)
    original = read_original(read_config(folder), name)
    own = Checkpoint(folder)
    within = any(one.startswith(TOWER) and not is_dropped(one) for one in own.tensors)
    vision, tower = _find_tower(original, asked.vision_tower, within)
    tower = None if within else tower
    weights = Weights(own, None if tower is None else Checkpoint(tower))
    weights.check(name, original.text, vision)
    tokenizer = asked.tokenizer or (str(folder) if has_tokenizer(folder) else LLAMA_3)
    return Source(name, folder, original, vision, weights, tokenizer, tower)


def origin(asked: Conversion, source: Source) -> dict[str, Any]:
    """Return what the record says of checkpoint and vision tower: names, and digests or the hub's commits."""
    word = asked.vision_tower or source.original.tower
    tower = {"weights": "in the checkpoint"} if source.tower is None else _known_by(word, source.tower)
    name = source.tower.resolve().name if source.tower and Path(word).expanduser().is_dir() else _plain(word)
    return {"from": source.name, **_known_by(asked.model, source.folder), "vision_tower": {"name": name, **tower}}


def _known_by(word: str, folder: Path) -> dict[str, Any]:
    """Return what tells weights from others: digests of files at hand, of the hub's the commit."""
    if not Path(word).expanduser().is_dir():
        return {"revision": folder.name}
    return {"sha256": {path.name: digest_file(path) for path in weight_files(folder)}}


def _plain(word: str) -> str:
    """Return a name without the folders of somebody's machine."""
    return Path(word).name if Path(word).expanduser().is_absolute() else word


def identity(asked: Conversion, folder: Path, template: str) -> list[Any]:
    """Return what decides a conversion, cheaply: files by name, size and time, and what is asked for."""
    places = [Path(word).expanduser() for word in (asked.model, asked.vision_tower) if word]
    files = [stamps(place) if place.is_dir() else folder.name for place in places]  # of the hub: the commit
    words = [Path(word).expanduser() for word in (asked.tokenizer,) if word]
    tokens = [digest_file(place / name) for place in [*words, folder] for name in FILES if (place / name).is_file()]
    return [files, tokens, asked.tokenizer, asked.vision_tower, asked.layout, template]


def _called(word: str, folder: Path) -> str:
    return folder.resolve().name if Path(word).expanduser().is_dir() else word


def _find_tower(original: Original, named: str | None, within: bool) -> tuple[dict[str, Any], Path | None]:
    """Return the vision tower's configuration, and its folder if that was looked at."""
    word = named or original.tower
    known = known_tower(word)
    if within and known and not named:
        return known, None
    place = Path(word).expanduser()
    if not place.is_dir() and (place.is_absolute() or word.startswith((".", "~"))):
        whose = "" if named else " that the checkpoint names"
        raise UserError(f"The vision tower{whose} is not there: {word}", "Name it: --vision-tower FOLDER or ORG/NAME")
    try:
        folder = place if place.is_dir() else _fetch_tower(word, within)
    except DataError as error:
        raise DataError(f"The vision tower cannot be had: {error.what}", f"{error.hint} Or: --vision-tower FOLDER") from error
    return tower_config(read_config(folder), word), folder


def _fetch_tower(word: str, within: bool) -> Path:
    if within:
        return fetch_files(word, ["config.json"])
    for patterns in FORMS:
        found = fetch_files(word, ["config.json", *patterns])
        if any(list(found.glob(pattern)) for pattern in patterns):
            break
    return found
