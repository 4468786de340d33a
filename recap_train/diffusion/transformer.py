"""The network: diffusers' PixArtTransformer2DModel, begun as DiT and PixArt-alpha begin theirs.

It is a DiT with cross-attention on text tokens in every block, and plain diffusers opens it as part of a PixArt pipeline. Time
enters through one network for all blocks and a learned table a block (adaLN-single), not through a network a block (DiT).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch  # noqa: TID253

from recap_train.diffusion.process import process_named
from recap_train.diffusion.recipe import ImageRecipe
from recap_train.engine import Engine
from recap_train.parallel import World

DEVIATION = 0.02
FIELDS = ("layers", "heads", "head_width", "patch_size")


def transformer_config(recipe: ImageRecipe, text_width: int) -> dict[str, Any]:
    """Return the network's arguments.

    Args:
        recipe: The recipe.
        text_width: Numbers in a text token's state.
    """
    layers, heads, head_width, patch_size = (int(recipe.model_cfg[name]) for name in FIELDS)
    channels = int(recipe.model_cfg["latent_channels"])
    return {
        "num_layers": layers, "num_attention_heads": heads, "attention_head_dim": head_width, "patch_size": patch_size,
        "cross_attention_dim": heads * head_width, "sample_size": recipe.latent_size, "in_channels": channels,
        "out_channels": channels * process_named(recipe.model_cfg["objective"]).channels, "caption_channels": text_width,
        "norm_elementwise_affine": False, "norm_eps": 1e-6, "attention_bias": True, "activation_fn": "gelu-approximate",
        "norm_type": "ada_norm_single", "num_embeds_ada_norm": 1000, "use_additional_conditions": False,
    }  # fmt: skip


def build(recipe: ImageRecipe, text_width: int, seed: int) -> Any:
    """Return the network with its initial weights, which are a function of the seed."""
    from diffusers import PixArtTransformer2DModel

    torch.manual_seed(seed)
    network: Any = PixArtTransformer2DModel(**transformer_config(recipe, text_width))
    begin(network)
    return network


@torch.no_grad()
def begin(network: Any) -> None:
    """Draw a network's initial weights.

    Xavier-uniform matrices and no biases, the patch embedding as a matrix; networks of time and text with deviation 0.02; what
    cross-attention and the last layer give is 0 (DiT's `initialize_weights`, PixArt-alpha's `initialize`).
    """
    for module in network.modules():
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                module.bias.zero_()
    patches = network.pos_embed.proj
    torch.nn.init.xavier_uniform_(patches.weight.view(patches.weight.shape[0], -1))
    patches.bias.zero_()
    time = network.adaln_single
    for layer in (time.emb.timestep_embedder.linear_1, time.emb.timestep_embedder.linear_2, time.linear):
        torch.nn.init.normal_(layer.weight, std=DEVIATION)
    for layer in (network.caption_projection.linear_1, network.caption_projection.linear_2):
        torch.nn.init.normal_(layer.weight, std=DEVIATION)
    silent = [network.proj_out, *(block.attn2.to_out[0] for block in network.transformer_blocks)]
    for layer in silent:
        layer.weight.zero_()
        layer.bias.zero_()


@dataclass(frozen=True)
class Form:
    """How the network computes.

    Args:
        device: "cpu" or a GPU.
        bf16: Under bf16 autocast; the loss is in fp32 always.
    """

    device: str = "cpu"
    bf16: bool = False


class Denoiser(torch.nn.Module):
    """The network as it is trained.

    Args:
        model: diffusers' PixArtTransformer2DModel.
        form: How it computes.
    """

    def __init__(self, model: Any, form: Form) -> None:
        super().__init__()
        self.model, self.form = model, form

    def forward(self, latents: torch.Tensor, time: torch.Tensor, states: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Denoise.

        Args:
            latents: (B, C, h, w) at their times.
            time: (B,) from 0 to 1000.
            states: (B, L, D) of the texts' tokens.
            present: (B, L) True where there is a token.

        Returns:
            (B, C or 2C, h, w) float32.
        """
        with torch.autocast(self.form.device.partition(":")[0], torch.bfloat16, enabled=self.form.bf16):
            found = self.model(
                latents, encoder_hidden_states=states, timestep=time, encoder_attention_mask=present.to(latents.dtype),
                return_dict=False,
            )[0]  # fmt: skip
        return found.float()  # type: ignore[no-any-return]

    def blocks(self) -> list[torch.nn.Module]:
        """Return the transformer blocks: nearly all of the weights and the work."""
        return list(self.model.transformer_blocks)


def prepare(model: Any, precision: str, world: World, engine: Engine) -> Denoiser:
    """Return the network on its device, with what the engine asks for switched on."""
    if engine.grad_checkpointing:
        model.enable_gradient_checkpointing()
    denoiser = Denoiser(model, Form(world.device, precision == "bf16")).to(world.device)
    if engine.compile:  # block by block: one compilation serves all
        for block in denoiser.blocks():
            block.forward = torch.compile(block.forward)
    return denoiser.train()
