"""Text towers of open_clip models as models of transformers: other names for the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap_eval.errors import UserError
from recap_eval.files import read_json
from recap_train.diffusion.frozen import still
from recap_train.weights import CONFIG, WEIGHTS

if TYPE_CHECKING:
    import torch

LAYER = {  # ours by theirs, in a layer
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
THIRDS = ("q_proj", "k_proj", "v_proj")  # as open_clip stacks them
EPSILON = 1e-5  # of open_clip's layer norms


def as_transformers(folder: Path) -> tuple[Any, int]:
    """Return the text tower of a CLIP in open_clip's local form, and the number of tokens that it reads.

    Raises:
        UserError: It has parts that neither CLIPTextModel nor SiglipTextModel has.
    """
    from safetensors.torch import load_file

    config = read_json(folder / CONFIG)["model_cfg"]
    state = load_file(folder / WEIGHTS)
    prefix = "text." if "text.token_embedding.weight" in state else ""
    model = _model(config, state[f"{prefix}token_embedding.weight"], state[f"{prefix}positional_embedding"], folder)
    tower = {name.removeprefix(prefix): weight for name, weight in state.items() if name.startswith(prefix)}
    lacking = model.load_state_dict(_renamed(tower, model), strict=False).missing_keys
    if strange := [name for name in lacking if "position_ids" not in name and ".head." not in f".{name}"]:
        raise UserError(f"The text tower of {folder} does not fit: it lacks {strange[0]}.", "Name another text encoder.")
    return still(model), int(model.config.max_position_embeddings)


def _model(config: dict[str, Any], words: torch.Tensor, places: torch.Tensor, folder: Path) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, SiglipTextConfig, SiglipTextModel

    text = config["text_cfg"]
    if text.get("embed_cls") or text.get("ls_init_value") or text.get("hf_model_name"):
        raise UserError(f"The text tower of {folder} has parts that transformers' have not.", "Name another text encoder.")
    width = words.shape[1]
    shape = {
        "vocab_size": words.shape[0], "max_position_embeddings": places.shape[0], "hidden_size": width,
        "intermediate_size": int(width * text.get("mlp_ratio", 4.0)), "num_hidden_layers": text["layers"],
        "num_attention_heads": text["heads"], "layer_norm_eps": text.get("norm_kwargs", {}).get("eps", EPSILON),
        "hidden_act": "quick_gelu" if config.get("quick_gelu") else "gelu",
    }  # fmt: skip
    if text.get("no_causal_mask"):
        return SiglipTextModel(SiglipTextConfig(**shape, projection_size=width, pad_token_id=0))
    return CLIPTextModel(CLIPTextConfig(**shape, projection_dim=width, pad_token_id=0, bos_token_id=0, eos_token_id=1))


def _renamed(tower: dict[str, torch.Tensor], model: Any) -> dict[str, torch.Tensor]:
    """Return the weights under the names of a model of transformers."""
    found = {
        "embeddings.token_embedding.weight": tower["token_embedding.weight"],
        "embeddings.position_embedding.weight": tower["positional_embedding"],
        "final_layer_norm.weight": tower["ln_final.weight"],
        "final_layer_norm.bias": tower["ln_final.bias"],
    }
    for number in range(model.config.num_hidden_layers):
        there, here = f"transformer.resblocks.{number}.", f"encoder.layers.{number}."
        for part in ("weight", "bias"):
            found |= {f"{here}{name}.{part}": tower[f"{there}{theirs}.{part}"] for name, theirs in LAYER.items()}
            stacked = tower[f"{there}attn.in_proj_{part}"].chunk(3)
            found |= {f"{here}self_attn.{name}.{part}": one.clone() for name, one in zip(THIRDS, stacked, strict=True)}
    outer = "text_model." if any(name.startswith("text_model.") for name in model.state_dict()) else ""
    return {f"{outer}{name}": weight.contiguous() for name, weight in found.items()}
