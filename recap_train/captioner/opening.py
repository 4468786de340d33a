"""What a stage starts from: a LLaVA that is there, or one put together from a language model, a CLIP and a new projector."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recap_eval.errors import DataError, UserError
from recap_eval.models.llava.tokenizer import (
    DEFAULT_TEMPLATE,
    LLAMA_MARKS,
    end_tokens,
    fit,
    load_tokenizer,
    read_template,
)
from recap_train.captioner.saving import quietly
from recap_train.captioner.small import padding_images

PARTS = {  # what a stage may train, by the name that recipes use
    "projector": "model.multi_modal_projector", "language_model": "model.language_model", "head": "lm_head",
    "vision_tower": "model.vision_tower",
}  # fmt: skip


@dataclass(frozen=True)
class Opened:
    """A LLaVA to be trained.

    Args:
        model: transformers' model, in fp32.
        processor: Its processor, which pads images to squares.
        dtype: The type that its weights came in and are saved in.
        origin: What it is made of, by part.
        template: What the chat template is called.
    """

    model: Any
    processor: Any
    dtype: str
    origin: dict[str, str]
    template: str


def open_llava(name: str, template: str | None, pads: bool = True) -> Opened:
    """Open a LLaVA.

    Args:
        name: A folder, or ORG/NAME on the hub.
        template: A chat template's name or file; None for the model's own.
        pads: Whether images are padded to squares, whatever the folder says.

    Raises:
        DataError: It cannot be had, or weights are missing: none are ever made up.
    """
    import torch
    from transformers import AutoConfig, AutoProcessor, LlavaForConditionalGeneration

    config = _had(lambda: AutoConfig.from_pretrained(name), name)
    if config.model_type != "llava":
        raise DataError(
            f"{name} is a {config.model_type}, no LLaVA.", "Of an original checkpoint one is made by: recap-caption convert"
        )
    processor = _had(lambda: AutoProcessor.from_pretrained(name), name)
    model, facts = _had(
        lambda: LlavaForConditionalGeneration.from_pretrained(
            name, dtype=torch.float32, use_safetensors=True, output_loading_info=True
        ),
        name,
    )
    lacking = sorted(facts["missing_keys"]) + sorted(str(key) for key in facts["mismatched_keys"])
    if lacking:
        raise DataError(f"{name} lacks {len(lacking)} weights, the first {lacking[0]}.", "Get it again, or convert it again.")
    called, text = read_template(template) if template else ("its own", processor.chat_template)
    _speak(processor, text)
    processor = _padding(processor) if pads else processor
    return Opened(model, processor, str(config.dtype or torch.float32).removeprefix("torch."), {"init": name}, called)


def put_together(language_model: str, vision_tower: str, recipe: Any, template: str | None, seed: int) -> Opened:
    """Make a LLaVA of a language model and a CLIP; the projector is new, its weights a function of the seed.

    Args:
        language_model: A LLaMA: a folder, or ORG/NAME on the hub.
        vision_tower: A CLIP, likewise.
        recipe: Says which of the tower's layers is projected.
        template: A chat template's name or file; None for the default.
        seed: The run's seed.

    Raises:
        DataError: A part cannot be had.
        UserError: The language model is none that a LLaVA of ours is made of.
    """
    import torch
    from transformers import AutoModelForCausalLM, CLIPVisionModel, LlavaConfig, LlavaForConditionalGeneration

    llm = _had(lambda: AutoModelForCausalLM.from_pretrained(language_model, dtype="auto", use_safetensors=True), language_model)
    if llm.config.model_type != "llama":
        raise UserError(f"{language_model} is a {llm.config.model_type}.", "Name a LLaMA: --language-model DIR or ORG/NAME")
    dtype = str(llm.dtype).removeprefix("torch.")
    tower = _had(lambda: CLIPVisionModel.from_pretrained(vision_tower, dtype=torch.float32), vision_tower)
    tokenizer, (called, text) = load_tokenizer(language_model), read_template(template or DEFAULT_TEMPLATE)
    plan = fit(tokenizer, llm.get_input_embeddings().weight.shape[0], text)
    _grow(llm.float(), plan.rows)
    llm.config.pad_token_id, llm.config.vocab_size = plan.pad_id, plan.rows
    patches = (tower.config.image_size // tower.config.patch_size) ** 2
    config = LlavaConfig(
        vision_config=tower.config, text_config=llm.config, image_token_index=plan.image_id, image_seq_length=patches,
        vision_feature_layer=recipe.model_cfg["vision_feature_layer"], vision_feature_select_strategy="default",
        tie_word_embeddings=llm.config.tie_word_embeddings,
    )  # fmt: skip
    with torch.device("meta"):
        model = LlavaForConditionalGeneration(config)
    torch.manual_seed(seed)
    model.model.multi_modal_projector = type(model.model.multi_modal_projector)(config)  # with torch's own initial weights
    model.model.vision_tower, model.model.language_model, model.lm_head = tower, llm.model, llm.lm_head
    model.generation_config = llm.generation_config
    for name, value in {"eos_token_id": end_tokens(tokenizer), "pad_token_id": plan.pad_id, "do_sample": False}.items():
        setattr(model.generation_config, name, value)
    model.generation_config.temperature = model.generation_config.top_p = None
    processor = _processor(tokenizer, tower.config.image_size, tower.config.patch_size)
    origin = {"language_model": language_model, "vision_tower": vision_tower}
    return Opened(model, processor, dtype, origin, called)


def _processor(tokenizer: Any, side: int, patch: int) -> Any:
    from transformers import LlavaProcessor

    return LlavaProcessor(
        padding_images(side), tokenizer, patch_size=patch, vision_feature_select_strategy="default",
        num_additional_image_tokens=1, chat_template=tokenizer.chat_template,
    )  # fmt: skip


def _grow(llm: Any, rows: int) -> None:
    """Add rows to a language model's embedding and head: each the mean of those that were there."""
    import torch

    before = llm.get_input_embeddings().weight.shape[0]
    llm.resize_token_embeddings(rows, mean_resizing=False)
    with torch.no_grad():
        for layer in {id(one): one for one in (llm.get_input_embeddings(), llm.get_output_embeddings())}.values():
            layer.weight[before:] = layer.weight[:before].mean(dim=0)


def _speak(processor: Any, template: str | None) -> None:
    """Give a processor its chat template, proven to be of its tokenizer's tokens; answers are generated after padding."""
    known = processor.tokenizer.get_vocab()
    if lacking := [mark for mark in LLAMA_MARKS if template and mark in template and mark not in known]:
        raise UserError(
            f"The chat template writes {lacking[0]}, and the tokenizer has no such token.",
            "Name the one that the model was trained with: --chat-template FILE",
        )
    processor.chat_template = processor.tokenizer.chat_template = template
    processor.tokenizer.padding_side = "left"


def _padding(processor: Any) -> Any:
    """Return the processor with images padded to squares, as LLaVA-1.5 was trained: many on the hub crop instead."""
    images = processor.image_processor
    if not getattr(images, "do_pad", False):
        side = images.crop_size["height"] if getattr(images, "crop_size", None) else images.size["shortest_edge"]
        processor.image_processor = padding_images(int(side), images.image_mean, images.image_std)
    return processor


def _had(get: Any, name: str) -> Any:
    """Return what a loader of transformers gives; its errors are told in two lines."""
    try:
        with quietly():
            return get()
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        place = "Is it whole?" if Path(name).expanduser().exists() else "Name a folder, or ORG/NAME on the hub."
        raise DataError(f"{name} cannot be opened ({line[:200]}).", place) from error
