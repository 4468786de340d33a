"""A trained network as a pipeline in diffusers' own layout, which `DiffusionPipeline.from_pretrained` opens without our code.

OUT/model_index.json             PixArtAlphaPipeline and its parts
OUT/transformer, vae, text_encoder, tokenizer, scheduler

The weights are the moving average. A learned variance is in the transformer's output and is left out when sampling, since
PixArt's pipeline does so. Rectified flow is sampled by DPM-Solver++ with its settings for flows.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap_eval.errors import DataError
from recap_eval.files import read_json
from recap_train.diffusion.process import process_named
from recap_train.diffusion.transformer import transformer_config

if TYPE_CHECKING:
    from recap_train.diffusion.encoded import Encoders
    from recap_train.diffusion.recipe import ImageRecipe
    from recap_train.states import State

INDEX, TRANSFORMER = "model_index.json", "transformer"
PARTS = ("scheduler", "text_encoder", "tokenizer", TRANSFORMER, "vae")
OWN = frozenset({INDEX, *PARTS})
PLACE = "_name_or_path"  # in a part's configuration: where it was loaded from
UNCLIPPED = {"clip_sample": False}  # for schedulers made of this one's configuration: DDPM's default would clip the latents


def write_pipeline(folder: Path, recipe: ImageRecipe, state: State, encoders: Encoders) -> list[str]:
    """Write a pipeline into a folder.

    Args:
        folder: Where to; what an earlier call left there is replaced.
        recipe: The recipe.
        state: The network's weights by name, as `Spread.weights` gives them.
        encoders: What is in front of the network.

    Returns:
        The names of the files written, relative to the folder.

    Raises:
        DataError: They cannot be written.
    """
    from diffusers import DPMSolverMultistepScheduler, PixArtAlphaPipeline, PixArtTransformer2DModel

    network: Any = PixArtTransformer2DModel(**transformer_config(recipe, encoders.text.width))
    network.load_state_dict({name.removeprefix("model."): weight for name, weight in state.items()})
    said = process_named(recipe.model_cfg["objective"]).scheduler() | UNCLIPPED
    scheduler = DPMSolverMultistepScheduler.from_config(said)
    parts = (encoders.text.tokenizer, encoders.text.model, encoders.autoencoder.vae, network.eval(), scheduler)
    try:
        for part in PARTS:
            shutil.rmtree(folder / part, ignore_errors=True)
        _quietly(PixArtAlphaPipeline(*parts), folder)
        for part in PARTS:
            _forget_places(folder / part / "config.json")
    except (OSError, RuntimeError) as error:
        raise DataError(f"{folder} cannot be written: {error}.", "Free some space and give the same command again.") from error
    return files_of(folder)


def _quietly(pipeline: Any, folder: Path) -> None:
    """Save a pipeline without the libraries' bars."""
    from diffusers.utils import logging as diffusers
    from transformers.utils import logging as transformers

    for library in (diffusers, transformers):
        library.disable_progress_bar()
    pipeline.save_pretrained(folder, safe_serialization=True)


def _forget_places(config: Path) -> None:
    """Take out where a part was loaded from: the path is of this machine, and says nothing to others."""
    if config.is_file():
        record = read_json(config)
        if record.pop(PLACE, None) is not None:
            config.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def files_of(folder: Path) -> list[str]:
    """Return the files of a pipeline, relative to its folder."""
    found = [path for part in PARTS for path in sorted((folder / part).rglob("*")) if path.is_file()]
    return [INDEX, *(str(path.relative_to(folder)) for path in found)]
