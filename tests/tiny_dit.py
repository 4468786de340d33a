"""A tiny auto-encoder, text encoder and transformer with random weights, and runs of a few steps with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

TINY = {"image_size": 32, "latent_factor": 2, "layers": 2, "heads": 2, "head_width": 8, "patch_size": 4}
TRAIN = {"batch_size": 16, "lr": 1e-3, "ema": 0.9}


def tiny_recipe(objective: str = "epsilon", **train):
    """Return a recipe of a network of some thousand weights."""
    from recap_train.diffusion.recipe import load_image_recipe

    recipe = load_image_recipe("dit-scenes", "dit")
    model = recipe.model_cfg | TINY | {"objective": objective}
    return replace(recipe, model_cfg=model, train=recipe.train | TRAIN | train)


def tiny_vae(folder: Path, seed: int = 0) -> Path:
    """Save an auto-encoder of 32 px to 16 x 16 x 4."""
    from diffusers import AutoencoderKL

    torch.manual_seed(seed)
    AutoencoderKL(
        block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4, latent_channels=4, sample_size=32,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, mid_block_add_attention=False,
        scaling_factor=0.8,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def tiny_parts(folder: Path, clip: Path):
    """Return what stands in front of a tiny transformer: an auto-encoder, and a CLIP's text tower."""
    from recap_train.diffusion.run import Parts

    return Parts(str(tiny_vae(folder / "vae")), str(clip))


def tiny_run(data: Path, out: Path, world: Path, p: float = 0.5, samples: int = 96, **other):
    """Describe a run of six steps; `world` says which captions are which."""
    from recap_train.engine import Engine
    from recap_train.mixing import Mix
    from recap_train.run import Run
    from recap_train.training_data import declared_roles

    facts = {"recipe": tiny_recipe(), "engine": Engine(ema=0.9), "roles": declared_roles(world)} | other
    return Run(data, mix=Mix(p, dropout=0.1), samples_seen=samples, seed=0, out=out, name=out.name, precision="fp32",
               skip_bad=False, **facts)  # fmt: skip


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Return the weights of a pipeline's transformer."""
    from safetensors.torch import load_file

    return load_file(folder / "transformer" / "diffusion_pytorch_model.safetensors")
