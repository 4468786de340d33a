"""A LLaVA of a few hundred thousand random weights in its real layout, for servers that load models."""

from __future__ import annotations

from pathlib import Path

TEMPLATE = (
    "{% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>\n{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endfor %}"
)
PIXELS, PATCH = 28, 14


def make_llava(folder: Path, pixels: int = PIXELS, vision: dict | None = None, text: dict | None = None) -> Path:
    """Save a tiny LLaVA with its tokenizer, processor and chat template; `vision` and `text` say where it is larger."""
    import torch
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )  # fmt: skip

    torch.manual_seed(0)
    tokenizer = _tokenizer()
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    seen = CLIPVisionConfig(**size | {"image_size": pixels, "patch_size": PATCH} | (vision or {}))
    special = {name: getattr(tokenizer, name) for name in ("eos_token_id", "bos_token_id", "pad_token_id")}
    said = {"vocab_size": len(tokenizer), "num_key_value_heads": 2, "max_position_embeddings": 2048}
    told = LlamaConfig(**size | said | special | (text or {}))
    image = tokenizer.convert_tokens_to_ids("<image>")
    config = LlavaConfig(vision_config=seen, text_config=told, image_token_index=image, image_seq_length=(pixels // PATCH) ** 2)
    model = LlavaForConditionalGeneration(config).eval()
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    shapes = {"size": {"shortest_edge": pixels}, "crop_size": {"height": pixels, "width": pixels}}
    LlavaProcessor(
        CLIPImageProcessor(**shapes), tokenizer, patch_size=PATCH, vision_feature_select_strategy="default",
        num_additional_image_tokens=1, chat_template=TEMPLATE,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def _tokenizer():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<s>", "</s>", "<image>"]
    words = {word: number for number, word in enumerate([*special, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    tokenizer = Tokenizer(models.BPE(words, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", padding_side="left",
        extra_special_tokens={"image_token": "<image>"},
    )  # fmt: skip
    return fast
