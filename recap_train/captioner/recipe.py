"""Recipes of captioners: families of parts whose every constant names its source, and what the sources leave open."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recap_eval.errors import UserError, unknown_name
from recap_eval.files import read_json
from recap_train.recipes import TRAIN_DEFAULTS, TRAIN_FURTHER, Recipe
from recap_train.recipes.layers import lay, parts_of

FOLDER = Path(__file__).parent / "recipes"
WHOLE = "whole"  # the one stage of a recipe that trains everything from nothing
SECTIONS = ("model_cfg", "preprocess_cfg", "train", "stages")


@dataclass(frozen=True)
class CaptionerRecipe(Recipe):
    """A recipe whose model_cfg is a LLaVA's; see the files under `recipes/`.

    Args:
        unknown: What the paper leaves open, and what is taken instead: a sentence each.
    """

    unknown: tuple[str, ...] = field(default=())

    @property
    def image_size(self) -> int:
        """Pixels a side."""
        return int(self.model_cfg["image_size"])


def families() -> dict[str, Path]:
    """Return the file of each shipped recipe."""
    return {name: path for path in sorted(FOLDER.glob("*.json")) for name in read_json(path)["recipes"]}


def stages_of(recipe: CaptionerRecipe) -> list[str]:
    """Return the stages of a recipe, in order."""
    return [*((WHOLE,) if recipe.train else ()), *recipe.stages]


def load_captioner_recipe(name: str) -> CaptionerRecipe:
    """Return a recipe by name, or the one recipe of a JSON file of the same form.

    Raises:
        UserError: No such recipe, or one that lacks a constant.
        DataError: The file cannot be read.
    """
    known = families()
    if name.endswith(".json"):
        path = Path(name)
        name = _only(path)
    elif name in known:
        path = known[name]
    else:
        raise unknown_name("recipe", name, known, f"recap-train list; {', '.join(known)}")
    record = read_json(path)
    tree, sources = lay(parts_of(record, name, path), path, SECTIONS)
    _check(tree, path)
    own = record["recipes"][name]
    parts = (tree["model_cfg"], tree.get("preprocess_cfg", {}), "", tree.get("train", {}), own.get("summary", ""), sources)
    return CaptionerRecipe(name, *parts, tree.get("stages", {}), "", tuple(own.get("unknown", ())))


def _only(path: Path) -> str:
    record = read_json(path)
    names = list(record.get("recipes", ()) if isinstance(record, dict) else ())
    if len(names) != 1:
        raise UserError(f"{path} holds {len(names)} recipes, not one.", f"Model it on {FOLDER / 'llava.json'}.")
    return str(names[0])


MODEL = ("image_size", "prompt", "caption_tokens", "vocab_size", "vision", "text", "vision_feature_layer")


def _check(tree: dict[str, Any], path: Path) -> None:
    """Refuse a recipe to be trained whole that lacks a constant, or has one that means nothing."""
    if "train" not in tree:
        return
    lacking = [f"model_cfg.{key}" for key in MODEL if key not in tree.get("model_cfg", {})]
    lacking += [f"preprocess_cfg.{key}" for key in ("mean", "std") if key not in tree.get("preprocess_cfg", {})]
    lacking += [f"train.{key}" for key in TRAIN_DEFAULTS if key not in tree["train"]]
    if lacking:
        raise UserError(f"{path} lacks {lacking[0]}.", f"Model it on {FOLDER / 'llava.json'}.")
    known = TRAIN_DEFAULTS.keys() | TRAIN_FURTHER | {"ema"}
    if strange := sorted(tree["train"].keys() - known):
        raise unknown_name(f"training setting in {path}", strange[0], known, ", ".join(sorted(known)))
    if (side := tree["model_cfg"]["image_size"]) % (patch := tree["model_cfg"]["vision"]["patch_size"]):
        raise UserError(f"{path}: images of {side} px are no whole patches of {patch} px.", "Change one of them.")
