"""`recap-train dit --dry-run`: constants with their sources, size, work, time and cost, before anything is spent."""

from __future__ import annotations

import argparse
import json
from typing import Any

from recap_train.diffusion.recipe import ImageRecipe
from recap_train.dry_run import constants
from recap_train.estimate import Assumptions, duration

TOKENS, WIDTH = 77, 768  # of OpenAI's ViT-L/14, whose text tower is Stable Diffusion's


def told(args: argparse.Namespace, recipe: ImageRecipe) -> int:
    """Print a dry run; returns 0."""
    precision = "fp32" if args.precision == "fp32" else "bf16"
    facts = collect(recipe, args.samples_seen, Assumptions(args.gpu, args.gpus, args.assume_mfu, args.gpu_price, precision))
    print(json.dumps(facts) if args.json else render(facts))
    return 0


def collect(recipe: ImageRecipe, samples: int | None, assumed: Assumptions) -> dict[str, Any]:
    """Return everything a dry run says.

    Args:
        recipe: The recipe, changes made.
        samples: Samples to see; None if that is not said.
        assumed: What time and cost are worked out from.
    """
    parameters, flops = size_of(recipe)
    facts = {
        "name": recipe.name,
        "constants": [row for row in constants(recipe) if row["source"]],
        "parameters": parameters,
        "flops": flops,
    }
    facts |= {"tokens": TOKENS, "gpu": assumed.facts()["title"], "gpus": assumed.gpus, "mfu": assumed.mfu}
    if samples is None:
        return facts
    return (
        facts
        | {"samples": samples, "steps": samples // recipe.train["batch_size"]}
        | {"duration": duration({"network": flops}, samples, assumed)}
    )


def size_of(recipe: ImageRecipe) -> tuple[int, int]:
    """Return the network's parameters and the operations of a forward pass on one image, for a text of TOKENS tokens."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from recap_train.diffusion.transformer import transformer_config

    with torch.device("meta"):
        from diffusers import PixArtTransformer2DModel

        network: Any = PixArtTransformer2DModel(**transformer_config(recipe, WIDTH))
        side, channels = recipe.latent_size, recipe.model_cfg["latent_channels"]
        latents, time = torch.empty(1, channels, side, side), torch.zeros(1)
        states, present = torch.empty(1, TOKENS, WIDTH), torch.ones(1, TOKENS)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(latents, encoder_hidden_states=states, timestep=time, encoder_attention_mask=present)
    return sum(weight.numel() for weight in network.parameters()), int(counter.get_total_flops())


def render(facts: dict[str, Any]) -> str:
    """Return a dry run's facts to be read by a person."""
    width = max(len(row["name"]) for row in facts["constants"])
    lines = [f"Dry run of {facts['name']}: nothing is written, nothing is trained.", ""]
    lines += [f"  {row['name']:<{width}}  {row['value']!s:<18}  {row['source']}" for row in facts["constants"]]
    lines += [
        "",
        f"{facts['parameters'] / 1e6:.1f} M parameters, {facts['flops'] / 1e9:.1f} GFLOPs forward for {facts['tokens']} tokens",
    ]
    if "duration" not in facts:
        return "\n".join([*lines, "How many samples to see is not said: --samples-seen N"])
    found = facts["duration"]
    cost = f", cost {found['cost']:,.0f}" if "cost" in found else ""
    lines += [
        f"{facts['samples']:,} samples in {facts['steps']:,} steps: "
        f"{found['hours']:,.1f} hours on {facts['gpus']} x {facts['gpu']}"
    ]
    lines += [
        f"  ({found['gpu_hours']:,.0f} GPU hours{cost}; assumed {facts['mfu']:.0%} of the peak; worked out, not measured)"
    ]
    lines += ["  Encoders are not counted: recap-train precompute runs them once."]
    return "\n".join(lines)
