"""Models of open_clip: our artifacts, local folders, NAME/PRETRAINED pairs, hub ids. Weights are there or it is an error."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

from recap_eval.artifact import find_artifact, verify
from recap_eval.console import warn
from recap_eval.errors import DataError, UserError, unknown_name
from recap_eval.files import digest_file, digest_json, read_json
from recap_eval.models.activation import check_params, doubt
from recap_eval.models.base import Loading, ModelId
from recap_eval.models.hub import revision_of
from recap_eval.models.pixels import Pixels, from_torchvision
from recap_eval.models.text import encode_text_trimmed, is_trimmable

if TYPE_CHECKING:
    import torch

CONFIG = "open_clip_config.json"
WEIGHTS = ("open_clip_model.safetensors", "model.safetensors")
PICKLES = ("open_clip_pytorch_model.bin", "pytorch_model.bin")  # read by open_clip with weights_only=True
SEE = "recap-eval list models"


class OpenClipModel:
    """An open_clip model behind the `DualEncoder` protocol.

    Args:
        model: The model, in fp32.
        transform: Its evaluation transform of a PIL image.
        tokenizer: Its tokenizer.
        id: Which model it is; without a revision, its weights' digest becomes it.
        how: How it is run.
    """

    def __init__(self, model: Any, transform: Any, tokenizer: Any, id: ModelId, how: Loading) -> None:
        import torch

        self.model, self.tokenizer, self.device = model.eval().to(how.device), tokenizer, how.device
        self.trims = is_trimmable(model) and _trims_exactly(model, tokenizer, how.device)
        self.pixels: Pixels = from_torchvision(transform, how.fast)
        self._dtype = torch.bfloat16 if how.precision == "bf16" else torch.float32
        self.model.to(self._dtype)
        self._image = torch.compile(self.model.encode_image) if how.compile else self.model.encode_image
        self._text = torch.compile(self._encode_text, dynamic=True) if how.compile else self._encode_text
        protocol = {"precision": how.precision, "preprocess": _preprocess_record(model), "context_length": self.context_length}
        protocol |= {"activation": activation_of(model)} | ({"pixels": "fast"} if how.fast else {})
        self.id = ModelId(id.name, id.revision, id.meta, id.protocol | protocol)

    def encode_images(self, batch: torch.Tensor) -> torch.Tensor:
        """Embed (B, 3, H, W) images: (B, D) float32 features."""
        import torch

        with torch.inference_mode():
            features: torch.Tensor = self._image(batch.to(self._dtype))
        return features.float()

    def encode_texts(self, texts: list[str]) -> torch.Tensor:
        """Embed (B) texts: (B, D) float32 features; padding is skipped where that is proven to change nothing."""
        import torch

        with torch.inference_mode():
            return self._text(self.tokenizer(texts).to(self.device)).float()

    def _encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = encode_text_trimmed(self.model, tokens) if self.trims else self.model.encode_text(tokens)
        return features

    def lengths(self, texts: list[str]) -> list[int]:
        """Return the uncut token counts, start and end tokens included."""
        inner = getattr(self.tokenizer, "tokenizer", None)
        if inner is not None:
            cleaned = [self.tokenizer.clean_fn(text) for text in texts]
            return [len(ids) for ids in inner(cleaned, truncation=False, padding=False)["input_ids"]]
        return [len(self.tokenizer.encode(text)) + 2 for text in texts]

    @property
    def context_length(self) -> int:
        """Tokens a text may have."""
        return int(self.tokenizer.context_length)


def activation_of(model: Any) -> str:
    """Return which activation a model's blocks have: "quickgelu", "gelu", or both where its towers differ."""
    names = {"QuickGELU": "quickgelu", "GELU": "gelu"}
    found = {names[kind] for module in model.modules() if (kind := type(module).__name__) in names}
    return "+".join(sorted(found)) or "other"


def _preprocess_record(model: Any) -> dict[str, Any]:
    from open_clip.transform import PreprocessCfg

    config = getattr(model.visual, "preprocess_cfg", None) or vars(PreprocessCfg())
    return {key: list(value) if isinstance(value, tuple) else value for key, value in config.items()}


def _trims_exactly(model: Any, tokenizer: Any, device: str) -> bool:
    """Prove on the loaded weights that skipping the padding changes nothing."""
    import torch

    tokens = tokenizer(["a", "a photo of a red circle and a blue square"]).to(device)
    with torch.no_grad():
        whole, cut = model.encode_text(tokens), encode_text_trimmed(model, tokens)
    return bool(torch.allclose(whole, cut, atol=1e-5 * float(whole.abs().max()), rtol=0))


def load(spec: str, how: Loading) -> OpenClipModel:
    """Load a model of open_clip.

    Args:
        spec: A folder (artifact or open_clip's local form), NAME/PRETRAINED as in open_clip where PRETRAINED may be the path of
            a checkpoint, or hf-hub:ORG/NAME.
        how: How to load and run it.

    Raises:
        UserError: Unknown name, or a checkpoint that was trained as another model.
        DataError: The folder lacks its config or weights, or they are damaged; the hub cannot be reached.
    """
    if spec.startswith("hf-hub:"):
        repo = spec.removeprefix("hf-hub:")
        return create(spec, ModelId(repo, revision_of(repo)), how)
    folder = Path(spec.removeprefix("local-dir:"))
    if folder.is_dir():
        return create(f"local-dir:{folder}", _folder_id(folder), how)
    if folder.is_absolute() or spec.startswith((".", "local-dir:")):
        raise UserError(f"Model folder {spec} does not exist.", f"Check the path. Names of published models: {SEE}")
    return _load_pretrained(spec, how)


def create(name: str, id: ModelId, how: Loading, pretrained: str | None = None) -> OpenClipModel:
    """Make a model by open_clip's factory, weights and all.

    Raises:
        DataError: It cannot be made, or its weights cannot be loaded safely.
    """
    import open_clip
    from safetensors import SafetensorError

    try:
        model, _, transform = open_clip.create_model_and_transforms(name, pretrained=pretrained, require_pretrained=True)
        tokenizer = open_clip.get_tokenizer(name)
    except (RuntimeError, ValueError, OSError, KeyError, TypeError, SafetensorError, UnpicklingError) as error:
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(
            f"Cannot load {name}: {line[:300]}", "Check the files, or the network for a model of the hub."
        ) from error
    named = id if id.revision else replace(id, revision=f"weights:{digest_weights(model)}")
    return OpenClipModel(model, transform, tokenizer, named, how)


def digest_weights(model: Any) -> str:
    """Return the sha256 of a model's tensors, by name: what a tag stood for on the day it was downloaded."""
    import torch

    state = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        state.update(f"{name}\0{tuple(tensor.shape)}\0{tensor.dtype}\0".encode())
        state.update(tensor.detach().contiguous().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()


def _folder_id(folder: Path) -> ModelId:
    """Identify a local folder by its files' digests; refuse it if its weights are missing (open_clip would only warn)."""
    artifact = find_artifact(folder)
    if artifact is not None:
        if artifact.kind != "clip":
            raise UserError(f"{folder} is an artifact of kind {artifact.kind!r}, not clip.", "Name a folder with a CLIP model.")
        verify(folder, artifact)
        return ModelId(artifact.name, artifact.revision, artifact.made)
    read_json(folder / CONFIG)
    weights = [name for name in WEIGHTS + PICKLES if (folder / name).is_file()]
    if not weights:
        raise DataError(f"{folder} holds no weights.", f"It needs {WEIGHTS[0]} beside {CONFIG}.")
    files = [path for path in folder.iterdir() if path.is_file() and path.suffix in (".json", ".txt")]
    digests = {path.name: digest_file(path) for path in [*files, folder / weights[0]]}
    return ModelId(folder.resolve().name, digest_json(digests))


def _load_pretrained(spec: str, how: Loading) -> OpenClipModel:
    import open_clip

    name, _, tag = spec.partition("/")
    if name not in open_clip.list_models():
        raise unknown_name("model (no folder, and no name in open_clip)", spec, open_clip.list_models(), SEE)
    tags = open_clip.list_pretrained_tags_by_model(name)
    if not tag:
        raise UserError(f"{name} has no weights of its own.", f"Name them: {name}/{tags[0] if tags else 'TAG'}. All: {SEE}")
    if Path(tag).expanduser().is_file():
        return load_checkpoint(name, Path(tag).expanduser(), how)
    if tag not in tags:
        raise unknown_name(f"weights of {name} (nor a file)", tag, tags, SEE)
    return create(name, ModelId(spec, ""), how, pretrained=tag)


def load_checkpoint(name: str, path: Path, how: Loading) -> OpenClipModel:
    """Load a checkpoint file into a named architecture; two files of one name have different revisions.

    A checkpoint does not say which activation it was trained with. open_clip's params.txt beside it does; without one, the
    record says that it was assumed, and `recap_eval.models.activation.doubt` can tell whether the other one fits better.

    Raises:
        UserError: params.txt says that it was trained as another model or with another activation.
        DataError: The file cannot be loaded safely, or does not fit the architecture.
    """
    known = check_params(name, path)
    id = ModelId(f"{name}/{path.parent.name}/{path.name}", digest_json([name, digest_file(path)]), {}, {})
    found = create(name, id, how, pretrained=str(path))
    if not known:
        found.id.protocol["activation"] += " (assumed)"
        if (why := doubt(found)) is not None:
            warn(f"{path}: {why}")
            found.id.protocol["activation"] += ", doubtful"
    return found


def list_names() -> list[str]:
    """Return all NAME/PRETRAINED pairs that open_clip knows."""
    import open_clip

    return [f"{name}/{tag}" for name, tag in open_clip.list_pretrained()]
