"""Recipes of diffusion transformers and of auto-encoders: families of parts whose every constant names its source."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recap_eval.errors import UserError, unknown_name
from recap_eval.files import read_json
from recap_train.diffusion.process import process_named
from recap_train.recipes import Recipe
from recap_train.recipes.layers import lay, parts_of

FOLDER = Path(__file__).parent / "recipes"
TRANSFORMERS, AUTOENCODERS = "dit", "autoencoder"  # families
SECTIONS = ("model_cfg", "preprocess_cfg", "train")
OBJECTIVE = "model_cfg.objective"


@dataclass(frozen=True)
class ImageRecipe(Recipe):
    """A recipe whose model_cfg is our own; see the files under `recipes/`."""

    @property
    def image_size(self) -> int:
        """Pixels a side."""
        return int(self.model_cfg["image_size"])

    @property
    def latent_size(self) -> int:
        """Numbers a side of the latents."""
        return self.image_size // int(self.model_cfg["latent_factor"])


def names_of(family: str) -> list[str]:
    """Return the recipes of a family."""
    return list(read_json(FOLDER / f"{family}.json")["recipes"])


def load_image_recipe(name: str, family: str) -> ImageRecipe:
    """Return a recipe by name, or the one recipe of a JSON file of the same form.

    Args:
        name: A name of the family, or a file.
        family: `TRANSFORMERS` or `AUTOENCODERS`.

    Raises:
        UserError: No such recipe, or one that lacks a constant.
        DataError: The file cannot be read.
    """
    path = Path(name) if name.endswith(".json") else FOLDER / f"{family}.json"
    record = read_json(path)
    if name.endswith(".json"):
        name = _only(record, path)
    if name not in record["recipes"]:
        raise unknown_name("recipe", name, record["recipes"], f"recap-train list; {', '.join(record['recipes'])}")
    tree, sources = lay(parts_of(record, name, path), path, SECTIONS)
    _check(tree, family, path)
    parts = (tree["model_cfg"], tree["preprocess_cfg"], "", tree["train"])
    return ImageRecipe(name, *parts, record["recipes"][name].get("summary", ""), sources)


def _only(record: dict[str, Any], path: Path) -> str:
    names = list(record.get("recipes", ()) if isinstance(record, dict) else ())
    if len(names) != 1:
        raise UserError(f"{path} holds {len(names)} recipes, not one.", f"Model it on {FOLDER / 'dit.json'}.")
    return str(names[0])


def _check(tree: dict[str, Any], family: str, path: Path) -> None:
    """Hold a recipe against the shipped ones: the same sections, and every constant that they have."""
    shipped = read_json(FOLDER / f"{family}.json")
    name = next(reversed(shipped["recipes"]))
    model, _ = lay(parts_of(shipped, name, FOLDER), FOLDER, SECTIONS)
    for section in SECTIONS:
        if lacking := sorted(model[section].keys() - tree.get(section, {}).keys()):
            raise UserError(f"{path}: {section}.{lacking[0]} is missing.", f"Model it on {FOLDER / f'{family}.json'}.")


def with_objective(recipe: ImageRecipe, name: str | None) -> ImageRecipe:
    """Return the recipe with another objective; its source says that it was changed.

    Raises:
        UserError: There is none of that name.
    """
    if name is not None:
        process_named(name)
    if name is None or name == recipe.model_cfg["objective"]:
        return recipe
    sources = recipe.sources | {OBJECTIVE: f"changed; the recipe has {recipe.model_cfg['objective']}"}
    return replace(recipe, model_cfg=recipe.model_cfg | {"objective": name}, sources=sources)
