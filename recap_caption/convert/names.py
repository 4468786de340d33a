"""What tensors are called: in LLaVA's own checkpoints, in transformers' native layout, and in the layout of models on the hub.

The original: `LlavaLlamaForCausalLM`, whose vision tower may be within the checkpoint or not. Both layouts load in
transformers 5; the hub's also in transformers 4 and in vLLM, whose CLIP still has `vision_model` in its names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

HUB, NATIVE = "hub", "transformers"
LAYOUTS = (HUB, NATIVE)
TOWER = "model.vision_tower.vision_tower.vision_model."
PROJECTOR = "model.mm_projector."
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
BY_VOCABULARY = (EMBEDDING, HEAD)  # a row for every token

PREFIXES = (  # the first that fits: original → (hub, native)
    (TOWER, ("vision_tower.vision_model.", "model.vision_tower.")),
    (f"{PROJECTOR}0.", ("multi_modal_projector.linear_1.", "model.multi_modal_projector.linear_1.")),
    (f"{PROJECTOR}2.", ("multi_modal_projector.linear_2.", "model.multi_modal_projector.linear_2.")),
    ("lm_head.", ("language_model.lm_head.", "lm_head.")),
    ("model.", ("language_model.model.", "model.language_model.")),
)
# Computed anew by every library, or of variants that do not read it.
DROPPED = re.compile(r"\.rotary_emb\.inv_freq$|\.embeddings\.position_ids$|^model\.image_newline$")

Shape = tuple[int, ...]


def renamed(name: str, layout: str) -> str:
    """Return what a tensor of an original checkpoint is called in a layout."""
    for prefix, names in PREFIXES:
        if name.startswith(prefix):
            return names[LAYOUTS.index(layout)] + name.removeprefix(prefix)
    raise KeyError(name)


def is_dropped(name: str) -> bool:
    """Tell whether a tensor of an original checkpoint has no counterpart."""
    return DROPPED.search(name) is not None


def tower_name(name: str) -> str | None:
    """Return what a CLIP's tensor is called within a LLaVA checkpoint; None if it is none of its image side."""
    inner = name.removeprefix("vision_model.")
    known = ("embeddings.", "pre_layrnorm.", "encoder.", "post_layernorm.")
    return TOWER + inner if inner.startswith(known) else None


def expected_shapes(text: Mapping[str, Any], vision: Mapping[str, Any], rows: int) -> dict[str, Shape]:
    """Return the tensors that a whole checkpoint has, the vision tower's among them, by original name.

    Args:
        text: The language model's configuration.
        vision: The vision tower's.
        rows: Rows of the embedding.
    """
    wide, seen = int(text["hidden_size"]), int(vision["hidden_size"])
    projector = _linear(f"{PROJECTOR}0", wide, seen, True) | _linear(f"{PROJECTOR}2", wide, wide, True)
    return _language(text, rows) | projector | _tower(vision)


def _linear(name: str, out: int, into: int, bias: bool) -> dict[str, Shape]:
    return {f"{name}.weight": (out, into)} | ({f"{name}.bias": (out,)} if bias else {})


def _norm(name: str, width: int) -> dict[str, Shape]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _language(text: Mapping[str, Any], rows: int) -> dict[str, Shape]:
    wide, inner, heads = int(text["hidden_size"]), int(text["intermediate_size"]), int(text["num_attention_heads"])
    size = int(text.get("head_dim") or wide // heads)
    queries, keys = heads * size, int(text.get("num_key_value_heads") or heads) * size
    attention, mlp = bool(text.get("attention_bias")), bool(text.get("mlp_bias"))
    found: dict[str, Shape] = {EMBEDDING: (rows, wide), "model.norm.weight": (wide,)}
    found |= {} if text.get("tie_word_embeddings") else {HEAD: (rows, wide)}
    for number in range(int(text["num_hidden_layers"])):
        at = f"model.layers.{number}"
        found |= {f"{at}.input_layernorm.weight": (wide,), f"{at}.post_attention_layernorm.weight": (wide,)}
        for name, out, into in (("q", queries, wide), ("k", keys, wide), ("v", keys, wide), ("o", wide, queries)):
            found |= _linear(f"{at}.self_attn.{name}_proj", out, into, attention)
        for name, out, into in (("gate", inner, wide), ("up", inner, wide), ("down", wide, inner)):
            found |= _linear(f"{at}.mlp.{name}_proj", out, into, mlp)
    return found


def _tower(vision: Mapping[str, Any]) -> dict[str, Shape]:
    wide, inner, patch = (int(vision[name]) for name in ("hidden_size", "intermediate_size", "patch_size"))
    places = (int(vision["image_size"]) // patch) ** 2 + 1
    found: dict[str, Shape] = {
        f"{TOWER}embeddings.class_embedding": (wide,),
        f"{TOWER}embeddings.patch_embedding.weight": (wide, int(vision["num_channels"]), patch, patch),
        f"{TOWER}embeddings.position_embedding.weight": (places, wide),
    }
    found |= _norm(f"{TOWER}pre_layrnorm", wide) | _norm(f"{TOWER}post_layernorm", wide)  # sic
    for number in range(int(vision["num_hidden_layers"])):
        at = f"{TOWER}encoder.layers.{number}"
        found |= _norm(f"{at}.layer_norm1", wide) | _norm(f"{at}.layer_norm2", wide)
        for name in ("q", "k", "v", "out"):
            found |= _linear(f"{at}.self_attn.{name}_proj", wide, wide, True)
        found |= _linear(f"{at}.mlp.fc1", inner, wide, True) | _linear(f"{at}.mlp.fc2", wide, inner, True)
    return found
