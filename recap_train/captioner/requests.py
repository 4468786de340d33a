"""From the words of a command to what a stage is made of."""

from __future__ import annotations

import argparse
import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap_eval.artifact import find_artifact
from recap_eval.errors import DataError, UserError
from recap_eval.files import digest_file, digest_json
from recap_eval.models.hub import fetch_files
from recap_eval.models.shipped import place_of
from recap_train.captioner.recipe import CaptionerRecipe
from recap_train.captioner.rows import Rows

if TYPE_CHECKING:
    from recap_train.captioner.opening import Opened

KINDS = ("*.safetensors", "*.json", "*.jinja", "*.model")  # files of a model that are read


def settings_of(recipe: CaptionerRecipe, stage: str, args: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """Return a stage's constants with what the user changes in them, and a sentence for each change.

    Raises:
        UserError: LoRA is asked for, and the stage trains no language model.
    """
    settings = dict(recipe.stages[stage])
    if args.lora and "lora" not in settings:
        raise UserError(f"Stage {stage} trains the projector alone.", "Leave --lora out.")
    told = []
    if args.lora and args.lr is not None:
        settings["lora"] = settings["lora"] | {"lr": args.lr}
        told.append(f"lora.lr is {args.lr:g} (changed; the recipe has {recipe.stages[stage]['lora']['lr']:g})")
    for name in ("batch_size", *(() if args.lora else ("lr",))):
        value = getattr(args, name)
        if value is not None and value != settings[name]:
            told.append(f"{name} is {value:g} (changed; the recipe has {settings[name]:g})")
            settings[name] = value
    return settings, told


def rows_of(args: argparse.Namespace, prompt: str) -> Rows:
    """Return the data set that --data names: a JSON of conversations, HQ-Edit's parquet, or shards.

    Raises:
        UserError, DataError: It is none of these, or cannot be read.
    """
    from recap_train.captioner.conversations import read_conversations
    from recap_train.captioner.described import read_described, read_edits

    place = Path(args.data)
    if place.suffix == ".json":
        return read_conversations(place, args.images, args.max_bad if args.skip_bad else 0.0)
    for name in ("images", "skip_bad"):
        if getattr(args, name):
            raise UserError(f"--{name.replace('_', '-')} is of JSON files, whose rows name images by path.", "Leave it out.")
    if files := _parquet(place):
        return read_edits(files, prompt)
    return read_described(place, caption_key(args), prompt)


def caption_key(args: argparse.Namespace) -> str:
    """Return which texts of shards are the captions.

    Raises:
        UserError: It is not said, and the data are no scenes, which say it themselves.
        DataError: There is no data.
    """
    from recap_train.training_data import declared_roles

    if isinstance(args.data, Path) and not args.data.exists():
        raise DataError(f"{args.data} does not exist.", "Check the path; scenes can be made with: recap-eval scenes OUT")
    declared = declared_roles(args.data).get("recaption")
    key = args.caption_key or declared
    if key is None:
        raise UserError("Which member holds the captions is not named.", "Name it: --caption-key txt|json:FIELD")
    return str(key)


def _parquet(place: Path) -> list[Path]:
    """Return the parquet files that a path, a folder or a pattern stands for; none for scenes, which hold some of their own."""
    if place.is_dir():
        return [] if (place / "scenes.json").is_file() else sorted(place.glob("*.parquet"))
    found = [Path(name) for name in sorted(glob.glob(str(place)))]  # noqa: PTH207
    return [path for path in found if path.suffix == ".parquet"]


def start_of(args: argparse.Namespace, recipe: CaptionerRecipe) -> tuple[Opened, dict[str, str]]:
    """Return what a stage starts from, and the digest of each part.

    Raises:
        UserError: Nothing is named, or two things at once.
        DataError: It cannot be had.
    """
    from recap_train.captioner.opening import open_llava, put_together

    parts = {"language_model": args.language_model, "vision_tower": args.vision_tower}
    named = {name: value for name, value in parts.items() if value is not None}
    init = args.init or (None if named else recipe.model_cfg.get("init"))
    if init is not None and named:
        raise UserError("--init names a whole LLaVA, and a part of one is named beside it.", "Name one or the other.")
    if init is not None:
        folder, revision = _found(init)
        opened = open_llava(str(folder), args.chat_template, recipe.model_cfg["pads"])
        opened.origin["init"] = _short(init)
        return opened, {"init": revision}
    lacking = [name.replace("_", "-") for name in parts if name not in named]
    if lacking:
        likely = recipe.model_cfg.get(lacking[0].replace("-", "_"))
        raise UserError(
            "What the stage starts from is not named.",
            f"Name the stage before: --init DIR; or put one together: --{lacking[0]} {likely or 'DIR'}",
        )
    places = {name: _found(value) for name, value in named.items()}
    opened = put_together(
        str(places["language_model"][0]), str(places["vision_tower"][0]), recipe, args.chat_template, args.seed
    )
    opened.origin.update({name: _short(value) for name, value in named.items()})
    return opened, {name: revision for name, (_, revision) in places.items()}


def _found(name: str) -> tuple[Path, str]:
    """Return the folder of a model, and the digest of its files or its commit on the hub."""
    place = place_of(name)
    if not place.is_dir():
        place = fetch_files(name, KINDS)
        return place, place.name
    artifact = find_artifact(place)
    if artifact is not None:
        return place, artifact.revision
    files = sorted({path for kind in KINDS for path in place.glob(kind)})
    return place, digest_json({path.name: digest_file(path) for path in files})


def _short(name: str) -> str:
    """Return a model's name without the folders before it, which are nobody's business elsewhere."""
    return Path(name).name if Path(name).expanduser().exists() else name
