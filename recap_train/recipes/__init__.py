"""Recipes as data: a model's shape and how to train it. A JSON file holds one recipe, or a family made of shared parts."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from recap_eval.errors import UserError, unknown_name
from recap_eval.files import digest_json, read_json
from recap_train.recipes.layers import flat, lay, parts_of

FOLDER = Path(__file__).parent
TRAIN_DEFAULTS: dict[str, Any] = {
    "batch_size": 256,
    "lr": 1e-3,
    "warmup": 0.02,
    "betas": [0.9, 0.95],
    "weight_decay": 0.2,
    "crop_min_area": 0.4,
}
# What a recipe may say besides, and what holds where it does not. A recipe that is silent about them keeps the digest that it
# had before they existed.
TRAIN_OPTIONS: dict[str, Any] = {"eps": 1e-8, "grad_clip": None, "lr_schedule": "cosine", "no_decay": []}
TRAIN_FURTHER = {"lr_per_256", "samples_seen", "warmup_samples"} | TRAIN_OPTIONS.keys()
LR_SCHEDULES = ("cosine", "constant")
STAGE_SETTINGS = {"image_size", "samples_seen", "warmup_samples", "batch_size", "lr_per_256"}
TOKENIZERS = ("words", "open_clip", "hf")
UNSTATED = "default (unstated)"
SEE = "recap-train list"


@dataclass(frozen=True)
class Recipe:
    """What is trained and how.

    Args:
        name: Its name in tables.
        model_cfg: open_clip's model config.
        preprocess_cfg: Mean and standard deviation of the pixels, and what else open_clip's preprocessing takes.
        tokenizer: "words" for one trained on the captions, "open_clip" for the config's own, "hf" for one that transformers
            loads, from a folder or by the config's `hf_tokenizer_name`.
        train: Optimiser and augmentation, see TRAIN_DEFAULTS and TRAIN_FURTHER.
        summary: One line for lists.
        sources: Where each constant comes from, by its dotted path.
        stages: Settings by stage, in order; empty where a recipe has one stage only. `recap_train.stages` makes a recipe of
            each.
        stage: The stage that this recipe is of; empty where it is the whole.
    """

    name: str
    model_cfg: dict[str, Any]
    preprocess_cfg: dict[str, Any]
    tokenizer: str
    train: dict[str, Any]
    summary: str = ""
    sources: dict[str, str] = field(default_factory=dict)
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    stage: str = ""

    @property
    def digest(self) -> str:
        """Digest of all that the recipe says."""
        said = [self.model_cfg, self.preprocess_cfg, self.tokenizer, self.train]
        return digest_json([*said, self.stages] if self.stages else said)

    @property
    def image_size(self) -> int:
        """Pixels a side."""
        return int(self.model_cfg["vision_cfg"]["image_size"])

    @property
    def interpolation(self) -> str:
        """How images are resized, in training as in evaluation: "bicubic" (open_clip's default) or "bilinear"."""
        return str(self.preprocess_cfg.get("interpolation", "bicubic"))

    def constants(self) -> dict[str, Any]:
        """Return every constant by its dotted path."""
        tree: dict[str, Any] = {"model_cfg": self.model_cfg, "preprocess_cfg": self.preprocess_cfg}
        tree |= {"tokenizer": self.tokenizer, "train": self.train} | ({"stages": self.stages} if self.stages else {})
        return {".".join(place): value for place, value in flat(tree).items()}


def _families() -> dict[str, Path]:
    """Return the file of each recipe that is one of a family."""
    found: dict[str, Path] = {}
    for path in sorted(FOLDER.glob("*.json")):
        found |= {name: path for name in read_json(path).get("recipes", {})}
    return found


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with the package."""
    alone = [path.stem for path in sorted(FOLDER.glob("*.json")) if "recipes" not in read_json(path)]
    return [*_families(), *alone]


def load_recipe(name: str) -> Recipe:
    """Return a recipe by name, from a JSON file, or the default training of an open_clip model config.

    Raises:
        UserError: No recipe, file or open_clip config of that name, or a recipe without a part it needs.
    """
    if (family := _families().get(name)) is not None:
        return _of_family(family, name)
    path = Path(name) if name.endswith(".json") else FOLDER / f"{name}.json"
    return _from_file(path) if path.is_file() else _of_open_clip(name)


def _of_family(path: Path, name: str) -> Recipe:
    family = read_json(path)
    tree, sources = lay(parts_of(family, name, path), path)
    _check(path, tree["tokenizer"], tree["train"], tree["stages"])
    summary = family["recipes"][name]["summary"]
    parts = (tree["model_cfg"], tree["preprocess_cfg"], tree["tokenizer"], tree["train"])
    return Recipe(name, *parts, summary, sources, tree["stages"])


def _of_open_clip(name: str) -> Recipe:
    import open_clip

    config = open_clip.get_model_config(name)
    if config is None:
        raise unknown_name("recipe or model", name, recipe_names() + open_clip.list_models(), SEE)
    vision = config["vision_cfg"]
    foreign = {"multimodal_cfg", "hf_tokenizer_name", "hf_model_name", "timm_model_name"}
    if found := sorted(foreign & (config.keys() | vision.keys() | config["text_cfg"].keys())):
        raise UserError(
            f"{name} is not trained here yet: its config has {found[0]}.", f"A plain ViT is, such as ViT-B-16. {SEE}"
        )
    if not isinstance(vision.get("image_size", 224), int):
        raise UserError(f"{name} has images that are not square.", f"Choose another model. {SEE}")
    config["vision_cfg"] = {"image_size": 224} | vision
    mean_std = {"mean": list(open_clip.OPENAI_DATASET_MEAN), "std": list(open_clip.OPENAI_DATASET_STD)}
    recipe = Recipe(name, config, mean_std, "open_clip", dict(TRAIN_DEFAULTS), "a model config of open_clip")
    return _sourced(recipe, "open_clip's config", frozenset(f"train.{key}" for key in TRAIN_DEFAULTS))


def _from_file(path: Path) -> Recipe:
    record = read_json(path)
    try:
        tokenizer, train, stages = record["tokenizer"], TRAIN_DEFAULTS | record["train"], record.get("stages", {})
        _check(path, tokenizer, train, stages)
        parts = (record["model_cfg"], record["preprocess_cfg"], tokenizer, train)
        recipe = Recipe(path.stem, *parts, str(record.get("source", path)), {}, stages)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is not a recipe: {error} is missing.", f"Model it on {FOLDER / 'scenes-tiny.json'}."
        ) from error
    return _sourced(recipe, path.name, frozenset(f"train.{key}" for key in TRAIN_DEFAULTS.keys() - record["train"].keys()))


def _check(path: Path, tokenizer: str, train: dict[str, Any], stages: dict[str, dict[str, Any]]) -> None:
    if tokenizer not in TOKENIZERS:
        raise unknown_name(f"tokenizer in {path}", tokenizer, TOKENIZERS, ", ".join(TOKENIZERS))
    known = TRAIN_DEFAULTS.keys() | TRAIN_FURTHER
    if unknown := sorted(train.keys() - known):
        raise unknown_name("training setting", unknown[0], known, ", ".join(sorted(known)))
    if (shape := train.get("lr_schedule", "cosine")) not in LR_SCHEDULES:
        raise unknown_name("lr_schedule", str(shape), LR_SCHEDULES, ", ".join(LR_SCHEDULES))
    for stage, settings in stages.items():
        if odd := sorted(STAGE_SETTINGS ^ settings.keys()):
            raise UserError(
                f"{path}, stage {stage}: {odd[0]} is missing or unknown.", f"A stage has {', '.join(sorted(STAGE_SETTINGS))}."
            )


def _sourced(recipe: Recipe, file: str, unstated: frozenset[str] = frozenset()) -> Recipe:
    """Name the file as the source of a recipe's constants, and our default as that of those it leaves open."""
    for key in recipe.constants():
        recipe.sources[key] = UNSTATED if key in unstated else file
    return recipe


def at_image_size(recipe: Recipe, size: int | None) -> Recipe:
    """Return the recipe for images of another size; its position embedding is made for that size.

    Raises:
        UserError: The size is no multiple of the patch size.
    """
    if size is None or size == recipe.image_size:
        return recipe
    patch = recipe.model_cfg["vision_cfg"].get("patch_size", 16)
    if size % patch:
        near = max(patch, round(size / patch) * patch)
        raise UserError(f"--image-size {size} is no multiple of the patch size {patch}.", f"The nearest is {near}.")
    config = copy.deepcopy(recipe.model_cfg)
    config["vision_cfg"]["image_size"] = size
    return replace(recipe, model_cfg=config)
