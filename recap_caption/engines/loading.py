"""Image-text-to-text models of transformers, from a folder or the hub: safetensors only, and no code of theirs is run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recap_caption.engine_options import EngineOptions
from recap_eval.artifact import NAME as RECORD
from recap_eval.errors import DataError, UserError
from recap_eval.files import digest_json, read_json
from recap_eval.models.shipped import place_of

HINT = "Give a folder of transformers (config.json, *.safetensors, processor and tokenizer), or ORG/NAME on the hub."
IDENTIFYING = (".json", ".txt", ".model", ".jinja", ".safetensors")  # files that decide captions, by their ending
ORIGINAL = ("llava_mistral", "llava_qwen", "llava_mpt")  # model types of LLaVA's own code that are not converted
HEAD = 8  # characters of a revision in a model's name


@dataclass(frozen=True)
class Loaded:
    """A model with what belongs to it.

    Args:
        model: The model, on its device.
        processor: Its processor, tokenizer and all.
        template: The chat template.
        device: "cpu", "cuda", "cuda:1".
        precision: "fp32" or "bf16".
        model_id: Its name in rows.
        revision: Digest of its files, or the hub's commit.
    """

    model: Any
    processor: Any
    template: str
    device: str
    precision: str
    model_id: str
    revision: str


def load(options: EngineOptions) -> Loaded:
    """Load a model.

    Raises:
        UserError: There is no such device; it has no chat template; to be compiled on a CPU.
        DataError: Files are missing or damaged, its weights are a pickle, it needs code of its own, the hub is out of reach.
    """
    from recap_eval.models.loading import resolve_device, resolve_precision

    device = resolve_device(options.device)
    if options.compile and device == "cpu":
        raise UserError("--compile is for GPUs.", "Leave it out here: transformers compiles generation on a GPU only.")
    precision = resolve_precision(options.precision, device)
    spec = str(place_of(str(options.model)))
    source, where, model_id, revision = _identify(*_runnable(spec, options.tokenizer))
    model, processor = _load(source, where, precision)
    return Loaded(
        model.eval().to(device), processor, _template(options, processor, source), device, precision, model_id, revision
    )  # fmt: skip


def _runnable(spec: str, tokenizer: str | None) -> tuple[str, str]:
    """Return what is loaded and its name: the model itself, or of a LLaVA in its original format what the cache has of it."""
    from recap_caption.convert.cached import converted, needs_conversion
    from recap_eval.data.root import default_cache

    folder = Path(spec).expanduser()
    name = folder.resolve().name if folder.is_dir() else spec
    return str(converted(spec, tokenizer, default_cache())) if needs_conversion(spec) else spec, name


def _identify(spec: str, name: str) -> tuple[str, dict[str, Any], str, str]:
    """Return what is loaded, with which words besides, its name and its revision."""
    folder = Path(spec).expanduser()
    if not folder.is_dir():
        from recap_eval.models.hub import revision_of

        revision = revision_of(spec)
        return spec, {"revision": revision}, spec, revision
    _check_layout(folder)
    revision = revision_of_folder(folder)
    return str(folder), {"local_files_only": True}, f"{name}@{revision[:HEAD]}", revision


def _check_layout(folder: Path) -> None:
    config = read_json(folder / "config.json")
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind in ORIGINAL:
        hint = "Only LLaVA on LLaMA is converted: recap-caption convert --help"
        raise DataError(f"{folder} is a checkpoint of LLaVA's own code (model type {kind}).", hint)
    if not any(folder.glob("*.safetensors")):
        raise DataError(f"{folder} holds no *.safetensors; other weights may hold code, and are not read.", HINT)


def revision_of_folder(folder: Path) -> str:
    """Return a digest of the files that decide what a model says; each file is read once, and then known by size and time.

    Raises:
        DataError: One cannot be read.
    """
    from recap_eval.data.digests import MEMORY, Digests
    from recap_eval.data.root import default_cache

    files = sorted(path for path in folder.iterdir() if path.suffix in IDENTIFYING and path.name != RECORD)
    try:
        digests = Digests(default_cache() / MEMORY).of_files(files)
    except OSError as error:
        raise DataError(f"Cannot read {error.filename}: {error.strerror}.", HINT) from error
    return digest_json({path.name: digest for path, digest in zip(files, digests, strict=True)})


def _load(source: str, where: dict[str, Any], precision: str) -> tuple[Any, Any]:
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForImageTextToText, AutoProcessor

    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    where = where | {"trust_remote_code": False}
    try:
        processor = AutoProcessor.from_pretrained(source, **where)
        model, info = AutoModelForImageTextToText.from_pretrained(
            source, use_safetensors=True, output_loading_info=True, dtype=dtype, **where
        )
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError, ImportError, SafetensorError) as error:
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"Cannot load {source}: {line[:300]}", HINT) from error
    if lost := sorted(info["missing_keys"]):
        raise DataError(f"{source} lacks weights: {lost[0]} and {len(lost) - 1} others.", HINT)
    if getattr(processor, "image_processor", None) is None or getattr(processor, "tokenizer", None) is None:
        raise DataError(f"{source} has no processor of images and text.", HINT)
    return model, processor


def _template(options: EngineOptions, processor: Any, source: str) -> str:
    if options.chat_template is not None:
        try:
            return Path(options.chat_template).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"{options.chat_template} is no readable text ({error}).", "A chat template is a Jinja file."
            ) from error
    found = processor.chat_template or getattr(processor.tokenizer, "chat_template", None)
    if not isinstance(found, str):
        raise UserError(
            f"{source} has no chat template, and without one a model is asked in a form that it was not trained on.",
            "Give the one of its training, as a Jinja file: --chat-template FILE",
        )
    return found
