"""What a checkpoint in LLaVA's original format says of itself, and what follows for a configuration that transformers reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from recap_eval.errors import DataError

ARCHITECTURE, MODEL_TYPE = "LlavaLlamaForCausalLM", "llava_llama"
WORKS = "Only LLaVA-1.5's architecture is converted: CLIP, a two-layer projector, LLaMA."
SELECT = {"patch": "default", "cls_patch": "full"}  # of LLaVA, of transformers

LANGUAGE = (  # fields of the language model that are taken over as they are; one that is absent has transformers' default
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
    "head_dim", "hidden_act", "max_position_embeddings", "initializer_range", "rms_norm_eps", "rope_theta", "rope_scaling",
    "attention_bias", "mlp_bias", "attention_dropout", "bos_token_id", "tie_word_embeddings",
)  # fmt: skip
NEEDED = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
CLIP = {  # transformers' CLIPVisionConfig where a file says nothing
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12, "num_channels": 3,
    "image_size": 224, "patch_size": 32, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5, "projection_dim": 512,
}  # fmt: skip
LARGE = {
    "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16, "patch_size": 14,
    "projection_dim": 768,
}  # fmt: skip
TOWERS = {  # the two that LLaVA-1.5 and LLaVA were trained with; by the last part of their names
    "clip-vit-large-patch14-336": CLIP | LARGE | {"image_size": 336},
    "clip-vit-large-patch14": CLIP | LARGE | {"image_size": 224},
}


@dataclass(frozen=True)
class Original:
    """An original checkpoint's configuration, read.

    Args:
        text: The language model's fields.
        tower: What it calls its vision tower.
        layer: The tower's layer that is projected, counted from its end.
        select: "default" (without the class token) or "full".
        pads: Whether images are padded to a square.
    """

    text: dict[str, Any]
    tower: str
    layer: int
    select: str
    pads: bool


def is_original(config: Mapping[str, Any]) -> bool:
    """Tell whether a config.json is of LLaVA's original format."""
    return ARCHITECTURE in (config.get("architectures") or []) or config.get("model_type") == MODEL_TYPE


def read_original(config: Mapping[str, Any], name: str) -> Original:
    """Read an original config.json.

    Args:
        config: Its contents.
        name: The checkpoint, for messages.

    Raises:
        DataError: It is of another architecture, or lacks a field.
    """
    if not is_original(config):
        kinds = config.get("architectures") or config.get("model_type") or "nothing of its architecture"
        raise DataError(f"{name} is no checkpoint in LLaVA's original format: its config.json says {kinds}.", WORKS)
    for field, known in (("mm_projector_type", ("mlp2x_gelu",)), ("mm_vision_select_feature", tuple(SELECT))):
        if config.get(field, known[0]) not in known:
            raise DataError(f"{name} has {field} {config[field]!r}.", WORKS)
    aspect = str(config.get("image_aspect_ratio") or "square")
    odd = [field for field in ("mm_use_im_start_end", "mm_use_im_patch_token", "mm_patch_merge_type") if _is_odd(config, field)]
    if odd or aspect.startswith("anyres"):
        raise DataError(f"{name} has {odd[0] if odd else 'image_aspect_ratio'} {config.get(odd[0]) if odd else aspect}.", WORKS)
    if absent := [field for field in (*NEEDED, "mm_vision_tower") if not config.get(field)]:
        raise DataError(f"{name}/config.json has no {absent[0]}.", "Get the whole checkpoint.")
    text = {field: config[field] for field in LANGUAGE if config.get(field) is not None}
    layer, select = int(config.get("mm_vision_select_layer", -2)), str(config.get("mm_vision_select_feature", "patch"))
    return Original(text, str(config["mm_vision_tower"]), layer, SELECT[select], aspect == "pad")


def _is_odd(config: Mapping[str, Any], field: str) -> bool:
    return config.get(field) not in (None, False, "flat")


def tower_config(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the configuration of a CLIP's image side, out of the config.json of a CLIP or of its image side alone.

    Raises:
        DataError: It is of something else.
    """
    kind = config.get("model_type")
    if kind not in ("clip", "clip_vision_model"):
        raise DataError(f"The vision tower {name} is {kind or 'of no kind that it names'}, not CLIP.", WORKS)
    found = config.get("vision_config") if kind == "clip" else config
    return CLIP | {field: found[field] for field in CLIP if found and found.get(field) is not None}


def known_tower(name: str) -> dict[str, Any] | None:
    """Return the configuration of a vision tower that LLaVA was trained with, by its name or the path to it."""
    return TOWERS.get(PurePosixPath(name.replace("\\", "/")).name)


def image_tokens(vision: Mapping[str, Any], select: str) -> int:
    """Return how many tokens an image becomes."""
    return (int(vision["image_size"]) // int(vision["patch_size"])) ** 2 + (select == "full")


def model_config(
    original: Original, vision: Mapping[str, Any], rows: int, image_id: int, pad_id: int, eos: list[int], dtype: str
) -> dict[str, Any]:
    """Return the config.json of the converted model, in words that transformers 4 and 5 and vLLM know.

    Args:
        original: The checkpoint's own configuration.
        vision: The vision tower's.
        rows: Rows of the embedding after conversion.
        image_id: The token that stands for an image.
        pad_id: The token for padding.
        eos: The tokens that end an answer.
        dtype: Of the weights.
    """
    text = original.text | {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": rows}
    text |= {"eos_token_id": eos, "pad_token_id": pad_id, "torch_dtype": dtype}
    return {
        "architectures": ["LlavaForConditionalGeneration"],
        "model_type": "llava",
        "image_token_index": image_id,
        "image_seq_length": image_tokens(vision, original.select),
        "pad_token_id": pad_id,
        "projector_hidden_act": "gelu",
        "multimodal_projector_bias": True,
        "vision_feature_layer": original.layer,
        "vision_feature_select_strategy": original.select,
        "tie_word_embeddings": bool(original.text.get("tie_word_embeddings", False)),
        "torch_dtype": dtype,
        "text_config": text,
        "vision_config": {"model_type": "clip_vision_model", **vision, "torch_dtype": dtype},
    }


def preprocessor_config(vision: Mapping[str, Any], pads: bool) -> dict[str, Any]:
    """Return the preprocessor_config.json: CLIP's own, after padding to a square with its mean colour where LLaVA pads."""
    side = int(vision["image_size"])
    return {
        "image_processor_type": "LlavaImageProcessor",
        "processor_class": "LlavaProcessor",
        "do_convert_rgb": True,
        "do_pad": pads,
        "do_resize": True,
        "size": {"shortest_edge": side},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": side, "width": side},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
    }


def processor_config(vision: Mapping[str, Any], select: str) -> dict[str, Any]:
    """Return the processor_config.json."""
    return {
        "processor_class": "LlavaProcessor",
        "image_token": "<image>",
        "patch_size": int(vision["patch_size"]),
        "num_additional_image_tokens": 1,
        "vision_feature_select_strategy": select,
    }
