"""A LLaVA of a recipe's own size, its weights drawn from a seed, and the processor that goes with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from recap_eval.errors import DataError
from recap_eval.models.llava.tokenizer import end_tokens
from recap_train.recipes import Recipe

ATTENTION = "eager"  # plain products: torch's fused attention is slow backwards at small heads (benchmarks/attention.py)


CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def padding_images(side: int, mean: Sequence[float] = CLIP_MEAN, std: Sequence[float] = CLIP_STD) -> Any:
    """Return transformers' image processor that pads to a square with the mean colour, as LLaVA-1.5 does, then resizes."""
    from transformers import LlavaImageProcessorPil

    return LlavaImageProcessorPil(
        do_pad=True, do_resize=True, size={"shortest_edge": side}, do_center_crop=True,
        crop_size={"height": side, "width": side}, do_normalize=True, image_mean=list(mean), image_std=list(std),
    )  # fmt: skip


def build_processor(recipe: Recipe, tokenizer: Any) -> Any:
    """Return transformers' LlavaProcessor of a recipe."""
    from transformers import LlavaProcessor

    config, pixels = recipe.model_cfg, recipe.preprocess_cfg
    images = padding_images(config["image_size"], pixels["mean"], pixels["std"])
    return LlavaProcessor(
        images, tokenizer, patch_size=config["vision"]["patch_size"], vision_feature_select_strategy="default",
        num_additional_image_tokens=1, chat_template=tokenizer.chat_template,
    )  # fmt: skip


def build_model(recipe: Recipe, tokenizer: Any, seed: int) -> Any:
    """Return transformers' LlavaForConditionalGeneration with its initial weights, which are a function of the seed."""
    import torch
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    config = recipe.model_cfg
    patches = (config["image_size"] // config["vision"]["patch_size"]) ** 2
    vision = CLIPVisionConfig(
        image_size=config["image_size"], projection_dim=config["vision"]["hidden_size"], **config["vision"]
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=512, tie_word_embeddings=True, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=end_tokens(tokenizer), pad_token_id=tokenizer.pad_token_id,
        num_key_value_heads=config["text"]["num_attention_heads"], **config["text"],
    )  # fmt: skip
    whole = LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=patches, vision_feature_layer=config["vision_feature_layer"],
        vision_feature_select_strategy="default", tie_word_embeddings=True,
    )  # fmt: skip
    whole._attn_implementation = ATTENTION
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(whole)
    _still_unused(model.model.vision_tower, config["vision_feature_layer"])
    ends = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": end_tokens(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
    }
    for name, value in (ends | {"do_sample": False}).items():
        setattr(model.generation_config, name, value)
    return model


def _still_unused(tower: Any, layer: int) -> None:
    """Take what comes after the projected layer out of the training: it has no gradient, and an optimiser no state of it."""
    for part in [tower.post_layernorm, *(tower.encoder.layers[layer + 1 :] if layer < -1 else [])]:
        part.requires_grad_(False)


@dataclass(frozen=True)
class Wording:
    """How a caption becomes tokens: the conversation up to it, and how many tokens it may have.

    Args:
        prefix: Token ids of the conversation up to the answer, the image's among them.
        tokenizer: Its tokenizer.
        most: Tokens of a caption at most, the one that ends it included.
    """

    prefix: tuple[int, ...]
    tokenizer: Any
    most: int

    def tokenize(self, texts: list[str]) -> Any:
        """Return (B, most) ids of captions, ended by the token that ends an answer, filled up with padding.

        Raises:
            DataError: A caption is longer.
        """
        import torch

        end, pad = self.tokenizer.eos_token_id, self.tokenizer.pad_token_id
        rows = torch.full((len(texts), self.most), pad, dtype=torch.long)
        for row, ids in enumerate(self.tokenizer(texts, add_special_tokens=False)["input_ids"]):
            if len(ids) >= self.most:
                raise DataError(
                    f"A caption has {len(ids) + 1} tokens, more than {self.most}: {texts[row][:60]!r}.",
                    "Train on shorter captions, or give a recipe.json with more caption_tokens.",
                )
            rows[row, : len(ids) + 1] = torch.tensor([*ids, end])
        return rows


def wording_of(recipe: Recipe, processor: Any) -> Wording:
    """Return how captions become tokens, after the prompt that the recipe names."""
    turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": recipe.model_cfg["prompt"]}]}
    text = processor.apply_chat_template([turn], add_generation_prompt=True, tokenize=False)
    patches = (recipe.model_cfg["image_size"] // recipe.model_cfg["vision"]["patch_size"]) ** 2
    ids = processor.tokenizer(text.replace("<image>", "<image>" * patches), add_special_tokens=False)["input_ids"]
    return Wording(tuple(ids), processor.tokenizer, recipe.model_cfg["caption_tokens"])


FILES = {
    "config.json", "generation_config.json", "model.safetensors", "processor_config.json", "preprocessor_config.json",
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja",
}  # fmt: skip
