"""LLaVAs of some thousand random weights in the original format, and a tokenizer with LLaMA-3's special tokens."""

from __future__ import annotations

import json
from pathlib import Path

SIDE, PATCH = 28, 14
SPECIAL = ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
TEXT = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "max_position_embeddings": 2048, "hidden_act": "silu", "bos_token_id": 0,
    "tie_word_embeddings": False,
}  # fmt: skip
VISION = {
    "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 2, "num_channels": 3,
    "image_size": SIDE, "patch_size": PATCH, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5, "projection_dim": 16,
}  # fmt: skip
LLAVA = {
    "architectures": ["LlavaLlamaForCausalLM"], "model_type": "llava_llama", "mm_vision_select_layer": -2,
    "mm_vision_select_feature": "patch", "mm_projector_type": "mlp2x_gelu", "image_aspect_ratio": "pad", "mm_hidden_size": 24,
    "mm_use_im_start_end": False, "mm_use_im_patch_token": False, "torch_dtype": "bfloat16", "use_cache": True,
}  # fmt: skip


def make_tokenizer(folder: Path) -> int:
    """Save a byte-level tokenizer; returns how many tokens it has."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = {word: number for number, word in enumerate([*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    inner = Tokenizer(models.BPE(words, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(list(SPECIAL))
    inner.post_processor = processors.TemplateProcessing(
        single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", 0)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<|begin_of_text|>", eos_token="<|end_of_text|>",
    ).save_pretrained(folder)  # fmt: skip
    return len(words)


def make_weights(rows: int, dtype: str = "float32", text: dict | None = None) -> dict:
    """Return all tensors of an original LLaVA, the vision tower's among them."""
    import torch

    from recap_caption.convert.names import expected_shapes

    generator = torch.Generator().manual_seed(7)
    shapes = expected_shapes(text or TEXT, VISION, rows)
    return {
        name: (0.3 * torch.randn(shape, generator=generator) + name.endswith("norm.weight")).to(getattr(torch, dtype))
        for name, shape in shapes.items()
    }


def make_tower(folder: Path, weights: dict, dtype: str = "float32") -> Path:
    """Save the vision tower as a CLIP of its own, with a text side that is not wanted."""
    import torch
    from safetensors.torch import save_file

    from recap_caption.convert.names import TOWER

    folder.mkdir(parents=True, exist_ok=True)
    own = {name.removeprefix(TOWER): tensor for name, tensor in weights.items() if name.startswith(TOWER)}
    tensors = {f"vision_model.{name}": tensor.to(getattr(torch, dtype)).contiguous() for name, tensor in own.items()}
    tensors |= {"text_model.embeddings.token_embedding.weight": torch.ones(3, 2), "logit_scale": torch.ones(1)}
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "clip", "vision_config": VISION}))
    return folder


def save_weights(folder: Path, weights: dict, form: str = "safetensors", shards: int = 1) -> None:
    """Save tensors as published checkpoints are saved."""
    import torch
    from safetensors.torch import save_file

    stem, end = {"safetensors": ("model", ".safetensors"), "bin": ("pytorch_model", ".bin")}[form]
    names = [f"{stem}{end}"] if shards == 1 else [f"{stem}-{n:05d}-of-{shards:05d}{end}" for n in range(1, shards + 1)]
    groups = [dict(list(weights.items())[number::shards]) for number in range(shards)]
    for name, group in zip(names, groups, strict=True):
        if form == "bin":
            torch.save(group, folder / name)
        else:
            save_file({key: tensor.contiguous() for key, tensor in group.items()}, folder / name, {"format": "pt"})
    if shards > 1:
        places = {key: name for name, group in zip(names, groups, strict=True) for key in group}
        (folder / f"{stem}{end}.index.json").write_text(json.dumps({"metadata": {"total_size": 0}, "weight_map": places}))


def make_original(
    folder: Path, form: str = "safetensors", shards: int = 1, tower: bool = True, extra_rows: int = 0, dtype: str = "float32"
) -> dict:
    """Save a tiny LLaVA in the original format, its tokenizer in folder/../tokenizer and its tower in folder/../tower.

    Returns its tensors, by original name.
    """
    from recap_caption.convert.names import TOWER

    folder.mkdir(parents=True)
    rows = make_tokenizer(folder.parent / "tokenizer") + extra_rows
    weights = make_weights(rows, dtype)
    make_tower(folder.parent / "tower", weights)
    kept = weights if tower else {name: tensor for name, tensor in weights.items() if not name.startswith(TOWER)}
    save_weights(folder, kept, form, shards)
    config = {**TEXT, **LLAVA, "vocab_size": rows, "mm_vision_tower": "openai/clip-vit-tiny-of-tests"}
    (folder / "config.json").write_text(json.dumps(config))
    return weights
