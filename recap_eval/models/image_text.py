"""Image-text-to-text models of transformers (LLaVA and its kind), from a folder or the hub, safetensors only.

Prompts go through the model's own chat template and its own processor: a LLaVA-1.5 whose processor pads images to a square gets
them padded. Answers are greedy whatever the checkpoint's generation_config says; of that only the special tokens are taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recap_eval.artifact import find_artifact, verify
from recap_eval.errors import DataError, UserError
from recap_eval.files import digest_file, digest_json, read_json
from recap_eval.models.base import Loading, ModelId
from recap_eval.models.captioner import LENGTH, STOP, Ask, Keep, Missed, Said, in_batches
from recap_eval.models.hub import revision_of
from recap_eval.models.shipped import place_of

HINT = "Give a transformers folder: config.json, *.safetensors, processor, tokenizer and chat template; or ORG/NAME of the hub"
BATCH = {"cpu": 4, "cuda": 16}
DESCRIBING = (".json", ".txt", ".model", ".jinja")  # files beside the weights that decide what is generated


class ImageTextModel:
    """An image-text-to-text model behind the `Captioner` and `Generator` protocols.

    Args:
        model: The model.
        processor: Its processor.
        id: Which model it is.
        how: How it is run.
        batch_size: Prompts a batch; None for what suits the device.
    """

    def __init__(self, model: Any, processor: Any, id: ModelId, how: Loading, batch_size: int | None = None) -> None:
        self.model, self.processor, self.device = model.eval().to(how.device), processor, how.device
        self._size = batch_size or BATCH[how.device.partition(":")[0]]
        self._ends = _prepare(model, processor.tokenizer)
        text = model.config.get_text_config()
        self.context = int(getattr(text, "max_position_embeddings", 0) or 0)
        protocol = {"precision": how.precision, "decoding": "greedy", "images": _image_facts(processor)}
        self.id = ModelId(id.name, id.revision, id.meta, protocol)

    def answer(self, asks: Sequence[Ask], keep: Keep, skip_bad: bool, progress: bool) -> Missed:
        """Answer in batches; see `Captioner.answer`."""
        return in_batches(self, asks, self._size, keep, skip_bad, progress)

    def generate(self, prompts: Sequence[Sequence[Any]], max_new_tokens: int) -> list[Said]:
        """Answer (B) prompts of words and RGB images greedily; see `Generator.generate`."""
        import torch

        inputs = self._inputs(prompts)
        with torch.inference_mode():
            found = self.model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
        lengths = inputs["attention_mask"].sum(dim=1).tolist()
        rows = found[:, inputs["input_ids"].shape[1] :].tolist()
        return [self._said(row, int(length)) for row, length in zip(rows, lengths, strict=True)]

    def _inputs(self, prompts: Sequence[Sequence[Any]]) -> Any:
        """Return the model's inputs, padded on the left, with one token for the beginning where the template writes it too."""
        talks = [[{"role": "user", "content": [_content(part) for part in parts]}] for parts in prompts]
        texts = self.processor.apply_chat_template(talks, add_generation_prompt=True, tokenize=False)
        images = [[part for part in parts if not isinstance(part, str)] for parts in prompts]
        first = self.processor.tokenizer.bos_token
        inputs = self.processor(
            text=texts, images=images if any(images) else None, padding=True, return_tensors="pt",
            add_special_tokens=not (first and texts[0].startswith(first)),
        ).to(self.device)  # fmt: skip
        if "pixel_values" in inputs:
            inputs["pixel_values"] = inputs["pixel_values"].to(self.model.dtype)
        return inputs

    def _said(self, row: list[int], length: int) -> Said:
        end = next((place for place, token in enumerate(row) if token in self._ends), None)
        own = row if end is None else row[: end + 1]
        text = self.processor.tokenizer.decode(own, skip_special_tokens=True)
        return Said(text, LENGTH if end is None else STOP, length, len(own))


def _content(part: Any) -> dict[str, Any]:
    return {"type": "text", "text": part} if isinstance(part, str) else {"type": "image"}


def _prepare(model: Any, tokenizer: Any) -> set[int]:
    """Make generation greedy and padding left; return the tokens that end an answer."""
    from transformers import GenerationConfig

    known = model.generation_config
    ends = known.eos_token_id if known.eos_token_id is not None else tokenizer.eos_token_id
    ends = [ends] if isinstance(ends, int) else list(ends or [])
    tokenizer.padding_side = "left"
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    model.generation_config = GenerationConfig(
        eos_token_id=ends or None, pad_token_id=tokenizer.pad_token_id, bos_token_id=known.bos_token_id
    )
    return set(ends)


def _image_facts(processor: Any) -> dict[str, Any]:
    """Return how images are fed: whether they are padded to a square or cropped, at which size, and a digest of all of it."""
    known = {name: value for name, value in processor.image_processor.to_dict().items() if not name.endswith("_class")}
    size = known.get("crop_size") if known.get("do_center_crop") else known.get("size")
    facts = {"pad": bool(known.get("do_pad")), "crop": bool(known.get("do_center_crop")), "size": dict(size or {})}
    return facts | {"digest": digest_json({name: repr(value) for name, value in known.items()})[:16]}


def load(spec: str, how: Loading, batch_size: int | None = None) -> ImageTextModel:
    """Load a model.

    Args:
        spec: A folder, or ORG/NAME on the hub.
        how: How to load and run it.
        batch_size: Prompts a batch; None for what suits the device.

    Raises:
        UserError: It is no image-text-to-text model.
        DataError: Files are missing or damaged, its weights are a pickle, or the hub cannot be reached.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForImageTextToText, AutoProcessor

    folder = place_of(spec)
    id = _folder_id(folder) if folder.is_dir() else ModelId(spec, revision_of(spec))
    where: dict[str, Any] = {} if folder.is_dir() else {"revision": id.revision}
    dtype = torch.bfloat16 if how.precision == "bf16" else torch.float32
    source = str(folder) if folder.is_dir() else spec
    try:
        _check_kind(spec, source, where)
        model, info = AutoModelForImageTextToText.from_pretrained(
            source, use_safetensors=True, output_loading_info=True, dtype=dtype, **where
        )
        processor = AutoProcessor.from_pretrained(source, **where)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"Cannot load {spec}: {line[:300]}", HINT) from error
    if lost := sorted(info["missing_keys"]):
        raise DataError(f"{spec} lacks weights: {lost[0]} and {len(lost) - 1} others.", HINT)
    if getattr(processor, "chat_template", None) is None or not hasattr(processor, "image_processor"):
        what = "chat template" if hasattr(processor, "image_processor") else "image processor"
        raise DataError(f"{spec} has no {what}.", "Put the one it was trained with beside it: chat_template.jinja, processor")
    return ImageTextModel(model, processor, id, how, batch_size)


def _check_kind(spec: str, source: str, where: dict[str, Any]) -> None:
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    kind = AutoConfig.from_pretrained(source, **where).model_type
    if kind not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        raise UserError(
            f"{spec} is a {kind!r} model and answers nothing about images.",
            "Name an image-text-to-text model, openai:NAME for a server, or wrap it: MODULE:ATTR",
        )


def _folder_id(folder: Path) -> ModelId:
    read_json(folder / "config.json")
    if artifact := find_artifact(folder):
        if artifact.kind != "captioner":
            raise UserError(f"{folder} is an artifact of kind {artifact.kind!r}, not captioner.", "Name a captioner's folder.")
        verify(folder, artifact)
        return ModelId(artifact.name, artifact.revision, artifact.made)
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise DataError(f"{folder} holds no *.safetensors weights.", HINT)
    files = sorted(path for path in folder.iterdir() if path.suffix in DESCRIBING)
    return ModelId(folder.resolve().name, digest_json({path.name: digest_file(path) for path in [*files, *weights]}))
