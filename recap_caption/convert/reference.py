"""The original model's forward pass, in plain torch, out of the original checkpoint: what a converted model must agree with.

Written from the published definitions (CLIP's vision transformer, LLaVA-1.5's projector, LLaMA) and from nothing of
transformers' modules. It reads a layer's weights when it comes to that layer, so it needs little memory, and is for checking,
not for use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from recap_caption.convert.names import EMBEDDING, HEAD, PROJECTOR, TOWER
from recap_caption.convert.original import Original
from recap_eval.errors import DataError

if TYPE_CHECKING:
    import torch

Read = Callable[[str], "torch.Tensor"]


def original_logits(
    read: Read, original: Original, vision: Mapping[str, Any], ids: list[int], place: int, pixels: torch.Tensor
) -> torch.Tensor:
    """Return the (L, V) logits of a text with an image in it.

    Args:
        read: Returns a tensor by its original name.
        original: The checkpoint's configuration.
        vision: The vision tower's.
        ids: Tokens of the text.
        place: How many of them come before the image.
        pixels: (1, 3, S, S) the image, normalised.

    Raises:
        DataError: The language model scales its rotary positions, which this does not know.
    """
    import torch

    with torch.no_grad():
        seen = _project(read, _tower(read, vision, pixels, original))
        words = read(EMBEDDING)[torch.tensor(ids)]
        states = torch.cat([words[:place], seen.to(words.dtype), words[place:]])
        head = read(EMBEDDING if original.text.get("tie_word_embeddings") else HEAD)
        return _language(read, original.text, states) @ head.T


def _linear(read: Read, name: str, states: torch.Tensor, bias: bool = True) -> torch.Tensor:
    from torch.nn.functional import linear

    return linear(states, read(f"{name}.weight"), read(f"{name}.bias") if bias else None)


def _heads(states: torch.Tensor, count: int) -> torch.Tensor:
    """Return (L, H·D) states as (H, L, D)."""
    return states.reshape(len(states), count, -1).transpose(0, 1)


def _attend(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, causal: bool) -> torch.Tensor:
    """Return (L, H·D) attention of (H, L, D) heads."""
    import torch

    scores = queries @ keys.transpose(1, 2) * queries.shape[-1] ** -0.5
    if causal:
        hidden = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        scores = scores.masked_fill(hidden, torch.finfo(scores.dtype).min)
    shares = torch.softmax(scores.float(), -1).to(queries.dtype)
    return (shares @ values).transpose(0, 1).reshape(queries.shape[1], -1)


# The image.


def _tower(read: Read, vision: Mapping[str, Any], pixels: torch.Tensor, original: Original) -> torch.Tensor:
    """Return the (P, W) states of the layer that is projected."""
    import torch
    from torch.nn.functional import conv2d

    patches = conv2d(pixels, read(f"{TOWER}embeddings.patch_embedding.weight"), stride=int(vision["patch_size"]))
    first = read(f"{TOWER}embeddings.class_embedding")[None]
    states = torch.cat([first, patches[0].flatten(1).T]) + read(f"{TOWER}embeddings.position_embedding.weight")
    states = _normed(read, f"{TOWER}pre_layrnorm", states, vision)
    layers = int(vision["num_hidden_layers"])
    last = original.layer if original.layer >= 0 else layers + 1 + original.layer
    for number in range(last):
        states = _clip_layer(read, f"{TOWER}encoder.layers.{number}", states, vision)
    return states if original.select == "full" else states[1:]


def _normed(read: Read, name: str, states: torch.Tensor, vision: Mapping[str, Any]) -> torch.Tensor:
    from torch.nn.functional import layer_norm

    weight = read(f"{name}.weight")
    return layer_norm(states, weight.shape, weight, read(f"{name}.bias"), float(vision["layer_norm_eps"]))


def _clip_layer(read: Read, at: str, states: torch.Tensor, vision: Mapping[str, Any]) -> torch.Tensor:
    inner, heads = _normed(read, f"{at}.layer_norm1", states, vision), int(vision["num_attention_heads"])
    queries, keys, values = (_heads(_linear(read, f"{at}.self_attn.{name}_proj", inner), heads) for name in "qkv")
    states = states + _linear(read, f"{at}.self_attn.out_proj", _attend(queries, keys, values, causal=False))
    inner = _linear(read, f"{at}.mlp.fc1", _normed(read, f"{at}.layer_norm2", states, vision))
    return states + _linear(read, f"{at}.mlp.fc2", _activate(str(vision["hidden_act"]), inner))


def _activate(name: str, states: torch.Tensor) -> torch.Tensor:
    import torch
    from torch.nn.functional import gelu

    if name not in ("quick_gelu", "gelu"):
        raise DataError(f"The vision tower's activation {name!r} is not checked here.", "Convert without --check.")
    return states * torch.sigmoid(1.702 * states) if name == "quick_gelu" else gelu(states)


def _project(read: Read, states: torch.Tensor) -> torch.Tensor:
    from torch.nn.functional import gelu

    return _linear(read, f"{PROJECTOR}2", gelu(_linear(read, f"{PROJECTOR}0", states)))


# The text.


def _language(read: Read, text: Mapping[str, Any], states: torch.Tensor) -> torch.Tensor:
    if text.get("rope_scaling"):
        raise DataError(
            "The language model scales its rotary positions, which is not checked here.", "Convert without --check."
        )
    turns = _turns(text, len(states), states.dtype)
    for number in range(int(text["num_hidden_layers"])):
        states = _llama_layer(read, f"model.layers.{number}", states, text, turns)
    return _rms(states, read("model.norm.weight"), text)


def _rms(states: torch.Tensor, weight: torch.Tensor, text: Mapping[str, Any]) -> torch.Tensor:
    import torch

    wide = states.float()
    wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + float(text.get("rms_norm_eps", 1e-6)))
    return weight * wide.to(states.dtype)


def _turns(text: Mapping[str, Any], length: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Return cosine and sine, (L, D) each, by which positions turn the halves of each head against each other."""
    import torch

    size = int(text.get("head_dim") or int(text["hidden_size"]) // int(text["num_attention_heads"]))
    pace = float(text.get("rope_theta", 10000.0)) ** (-torch.arange(0, size, 2).float() / size)
    angle = torch.arange(length).float()[:, None] * pace
    angle = torch.cat([angle, angle], 1)
    return angle.cos().to(dtype), angle.sin().to(dtype)


def _llama_layer(
    read: Read, at: str, states: torch.Tensor, text: Mapping[str, Any], turns: tuple[torch.Tensor, torch.Tensor]
) -> torch.Tensor:
    from torch.nn.functional import silu

    bias, heads = bool(text.get("attention_bias")), int(text["num_attention_heads"])
    groups = heads // int(text.get("num_key_value_heads") or heads)
    inner = _rms(states, read(f"{at}.input_layernorm.weight"), text)
    queries, keys, values = (
        _heads(_linear(read, f"{at}.self_attn.{name}_proj", inner, bias), count)
        for name, count in (("q", heads), ("k", heads // groups), ("v", heads // groups))
    )
    keys, values = (_turned(keys, turns).repeat_interleave(groups, 0), values.repeat_interleave(groups, 0))
    states = states + _linear(read, f"{at}.self_attn.o_proj", _attend(_turned(queries, turns), keys, values, True), bias)
    inner, more = _rms(states, read(f"{at}.post_attention_layernorm.weight"), text), bool(text.get("mlp_bias"))
    gate, up = (_linear(read, f"{at}.mlp.{name}_proj", inner, more) for name in ("gate", "up"))
    return states + _linear(read, f"{at}.mlp.down_proj", silu(gate) * up, more)


def _turned(heads: torch.Tensor, turns: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    import torch

    left, right = heads.chunk(2, -1)
    return heads * turns[0] + torch.cat([-right, left], -1) * turns[1]
