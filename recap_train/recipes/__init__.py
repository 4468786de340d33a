"""Recipes as data: a model's shape and how to train it, one JSON file each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recap_eval.errors import UserError, unknown_name
from recap_eval.files import digest_json, read_json

FOLDER = Path(__file__).parent
TRAIN_DEFAULTS: dict[str, Any] = {
    "batch_size": 256,
    "lr": 1e-3,
    "warmup": 0.02,
    "betas": [0.9, 0.95],
    "weight_decay": 0.2,
    "crop_min_area": 0.4,
    "interpolation": "bicubic",
}
LATER = {"interpolation": "bicubic"}  # settings that came later: at these values the digest is what it was without them
SEE = "recap-train clip --help"


@dataclass(frozen=True)
class Recipe:
    """What is trained and how.

    Args:
        name: Its name in tables.
        model_cfg: open_clip's model config.
        preprocess_cfg: Mean and standard deviation of the pixels, and what else open_clip's preprocessing takes.
        tokenizer: "words" for one trained on the captions, "open_clip" for the config's own.
        train: Optimiser and augmentation, see TRAIN_DEFAULTS.
    """

    name: str
    model_cfg: dict[str, Any]
    preprocess_cfg: dict[str, Any]
    tokenizer: str
    train: dict[str, Any]

    @property
    def digest(self) -> str:
        """Digest of all that the recipe says."""
        train = {name: value for name, value in self.train.items() if name not in LATER or value != LATER[name]}
        return digest_json([self.model_cfg, self.preprocess_cfg, self.tokenizer, train])

    @property
    def image_size(self) -> int:
        """Pixels a side."""
        return int(self.model_cfg["vision_cfg"]["image_size"])


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def load_recipe(name: str) -> Recipe:
    """Return a recipe by name, from a JSON file, or the default training of an open_clip model config.

    Raises:
        UserError: No recipe, file or open_clip config of that name, or a recipe without a part it needs.
    """
    path = Path(name) if name.endswith(".json") else FOLDER / f"{name}.json"
    if path.is_file():
        return _from_file(path)
    import open_clip

    config = open_clip.get_model_config(name)
    if config is None:
        raise unknown_name("model", name, recipe_names() + open_clip.list_models(), SEE)
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
    return Recipe(name, config, mean_std, "open_clip", dict(TRAIN_DEFAULTS))


def _from_file(path: Path) -> Recipe:
    record = read_json(path)
    try:
        tokenizer, train = record["tokenizer"], TRAIN_DEFAULTS | record["train"]
        unknown = sorted(set(train) - set(TRAIN_DEFAULTS))
        if unknown:
            raise unknown_name("training setting", unknown[0], TRAIN_DEFAULTS, SEE)
        return Recipe(path.stem, record["model_cfg"], record["preprocess_cfg"], tokenizer, train)
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{path} is not a recipe: {error} is missing.", f"Model it on {FOLDER / 'scenes-tiny.json'}."
        ) from error
