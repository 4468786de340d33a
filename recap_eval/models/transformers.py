"""Dual encoders of transformers: CLIP, SigLIP, SigLIP 2 at fixed resolution; from a folder or the hub, safetensors only.

SigLIP was trained on lower-cased texts padded to 64 tokens; with other padding it loses most of its accuracy
(google-research/big_vision#166, #186), and transformers' own tokenizer of SigLIP 2 does not lower-case.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap_eval.errors import DataError, UserError
from recap_eval.files import digest_file, digest_json, read_json
from recap_eval.models.base import Loading, ModelId
from recap_eval.models.pixels import FastSpec, Pixels, TransformPixels

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

KINDS = ("clip", "siglip", "siglip2")
LOWER = ("siglip", "siglip2")
HINT = "Give a folder with config.json, model.safetensors, preprocessor and tokenizer files, or transformers:ORG/NAME"


class TransformersModel:
    """A dual encoder of transformers behind the `DualEncoder` protocol.

    Args:
        model: The model, in fp32.
        processor: Its image processor.
        tokenizer: Its tokenizer.
        id: Which model it is.
        how: How it is run.
    """

    def __init__(self, model: Any, processor: Any, tokenizer: Any, id: ModelId, how: Loading) -> None:
        import torch

        self.model, self.tokenizer, self.device = model.eval().to(how.device), tokenizer, how.device
        self._kind, self._context = model.config.model_type, int(model.config.text_config.max_position_embeddings)
        steps = _read_steps(processor)
        fast = steps.fast() if how.fast else None
        self.pixels: Pixels = TransformPixels(steps, processor.image_mean, processor.image_std, fast)
        self.trims = self._kind == "clip" and self._trims_exactly()
        self._dtype = torch.bfloat16 if how.precision == "bf16" else torch.float32
        self.model.to(self._dtype)
        protocol = {"precision": how.precision, "preprocess": steps.record(), "context_length": self._context}
        protocol |= {"activation": str(model.config.vision_config.hidden_act)} | ({"pixels": "fast"} if how.fast else {})
        self.id = ModelId(id.name, id.revision, id.meta, protocol)

    def encode_images(self, batch: torch.Tensor) -> torch.Tensor:
        """Embed (B, 3, H, W) images: (B, D) float32 features."""
        import torch

        with torch.inference_mode():
            return _features(self.model.get_image_features(pixel_values=batch.to(self._dtype)))

    def encode_texts(self, texts: list[str]) -> torch.Tensor:
        """Embed (B) texts: (B, D) float32 features; padding is skipped where that is proven to change nothing."""
        return self._encode(self._tokens(texts, pad=not self.trims))

    def _encode(self, tokens: torch.Tensor) -> torch.Tensor:
        import torch

        with torch.inference_mode():
            return _features(self.model.get_text_features(input_ids=tokens.to(self.device)))

    def _tokens(self, texts: list[str], pad: bool) -> torch.Tensor:
        """Return token ids, all padding included or only as far as the longest text."""
        tokens: torch.Tensor = self.tokenizer(
            self._cleaned(texts),
            padding="max_length" if pad else "longest",
            truncation=True,
            max_length=self._context,
            return_tensors="pt",
        ).input_ids
        return tokens

    def _cleaned(self, texts: list[str]) -> list[str]:
        return [text.lower() for text in texts] if self._kind in LOWER else texts

    def _trims_exactly(self) -> bool:
        """Prove on the loaded weights that skipping the padding changes nothing."""
        import torch

        texts = ["a", "a photo of a red circle and a blue square"]
        whole, cut = (self._encode(self._tokens(texts, pad)) for pad in (True, False))
        return bool(torch.allclose(whole, cut, atol=1e-5 * float(whole.abs().max()), rtol=0))

    def lengths(self, texts: list[str]) -> list[int]:
        """Return the uncut token counts, special tokens included."""
        return [
            len(ids)
            for ids in self.tokenizer(self._cleaned(texts), truncation=False, padding=False, verbose=False)["input_ids"]
        ]

    @property
    def context_length(self) -> int:
        """Tokens a text may have."""
        return self._context


def _features(found: Any) -> torch.Tensor:
    """Return (B, D) float32 features; transformers 5 wraps them."""
    features: torch.Tensor = getattr(found, "pooler_output", found)
    return features.float()


@dataclass(frozen=True)
class Steps:
    """What an image processor does before normalisation.

    Args:
        shortest: Length of the shortest side after the resize, or None.
        size: Height and width after a resize that squashes, or None.
        crop: Height and width of the centre that is kept, or None.
        resample: PIL's number of the interpolation.
    """

    shortest: int | None
    size: tuple[int, int] | None
    crop: tuple[int, int] | None
    resample: int

    def __call__(self, image: Image) -> Image:
        """Resize and crop, rounding as transformers does (torchvision rounds the crop's corner the other way)."""
        from PIL.Image import Resampling

        if self.shortest is not None:
            width, height = image.size
            short = min(width, height)
            to = (int(self.shortest * width / short), int(self.shortest * height / short))
            to = (self.shortest, to[1]) if width <= height else (to[0], self.shortest)
            image = image.resize(to, Resampling(self.resample))
        elif self.size is not None:
            image = image.resize((self.size[1], self.size[0]), Resampling(self.resample))
        if self.crop is None:
            return image
        left, top = (image.width - self.crop[1]) // 2, (image.height - self.crop[0]) // 2
        return image.crop((left, top, left + self.crop[1], top + self.crop[0]))

    def fast(self) -> FastSpec | None:
        """Return the same for torchvision, or None where its rounding of the crop could differ by a pixel."""
        if self.size is not None and self.crop is None and self.resample in (2, 3):
            return FastSpec(self.size, True, self.resample == 3)
        return None

    def record(self) -> dict[str, Any]:
        """Return it for a result's record."""
        return {"shortest": self.shortest, "size": self.size, "crop": self.crop, "resample": self.resample}


def _read_steps(processor: Any) -> Steps:
    """Read what an image processor does.

    Raises:
        UserError: It does something that is not known here.
    """
    odd = [name for name in ("do_pad", "max_num_patches") if getattr(processor, name, None)]
    plain = bool(getattr(processor, "do_rescale", True)) and bool(getattr(processor, "do_normalize", True))
    if odd or not plain or abs(processor.rescale_factor * 255 - 1) > 1e-6:
        name = type(processor).__name__
        raise UserError(f"The image processor {name} does more than resize, crop and normalise.", "Wrap it: MODULE:ATTR")
    shortest = _side(processor.size, "shortest_edge") if processor.do_resize else None
    both = processor.do_resize and shortest is None
    crop = bool(getattr(processor, "do_center_crop", False))
    return Steps(
        shortest,
        _pair(processor.size) if both else None,
        _pair(processor.crop_size) if crop else None,
        int(processor.resample),
    )


def _side(size: Any, name: str) -> int | None:
    value = size.get(name) if isinstance(size, dict) else getattr(size, name, None)
    return None if value is None else int(value)


def _pair(size: Any) -> tuple[int, int]:
    height, width = _side(size, "height"), _side(size, "width")
    assert height is not None and width is not None, size
    return height, width


def load(spec: str, how: Loading) -> TransformersModel:
    """Load a model.

    Args:
        spec: A folder, or ORG/NAME on the hub.
        how: How to load and run it.

    Raises:
        UserError: It is no dual encoder that is known here.
        DataError: Files are missing or damaged, its weights are a pickle, or the hub cannot be reached.
    """
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoTokenizer

    folder = Path(spec).expanduser()
    id = _folder_id(folder) if folder.is_dir() else _hub_id(spec)
    where: dict[str, Any] = {} if folder.is_dir() else {"revision": id.revision}
    source = str(folder) if folder.is_dir() else spec
    try:
        config = AutoConfig.from_pretrained(source, **where)
        if config.model_type not in KINDS or not hasattr(config, "text_config"):
            raise UserError(f"{spec} is a {config.model_type!r} model, not one of {', '.join(KINDS)}.", "Wrap it: MODULE:ATTR")
        model, info = AutoModel.from_pretrained(source, use_safetensors=True, output_loading_info=True, **where)
        processor = AutoImageProcessor.from_pretrained(source, **where)
        tokenizer = AutoTokenizer.from_pretrained(source, **where)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"Cannot load {spec}: {line[:300]}", HINT) from error
    if lost := sorted(info["missing_keys"]):
        raise DataError(f"{spec} lacks weights: {lost[0]} and {len(lost) - 1} others.", HINT)
    return TransformersModel(model.float(), processor, tokenizer, id, how)


def _folder_id(folder: Path) -> ModelId:
    read_json(folder / "config.json")
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise DataError(f"{folder} holds no *.safetensors weights.", HINT)
    files = sorted(path for path in folder.iterdir() if path.suffix in (".json", ".txt", ".model"))
    return ModelId(folder.resolve().name, digest_json({path.name: digest_file(path) for path in [*files, *weights]}))


def _hub_id(repo: str) -> ModelId:
    from recap_eval.models.hub import revision_of

    return ModelId(repo, revision_of(repo))
