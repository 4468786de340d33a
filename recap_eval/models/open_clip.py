"""Models of open_clip: our artifacts, local folders, NAME/PRETRAINED pairs, hub ids. Weights are there or it is an error."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

from recap_eval.artifact import find_artifact, verify
from recap_eval.errors import DataError, UserError, unknown_name
from recap_eval.files import digest_file, digest_json, read_json
from recap_eval.models.base import ModelId
from recap_eval.models.text import encode_text_trimmed, is_trimmable

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

CONFIG = "open_clip_config.json"
WEIGHTS = ("open_clip_model.safetensors", "model.safetensors")
PICKLES = ("open_clip_pytorch_model.bin", "pytorch_model.bin")  # read by open_clip with weights_only=True
SEE = "recap-eval list models"
PRECISIONS = ("fp32", "bf16")


class OpenClipModel:
    """An open_clip model behind the `DualEncoder` protocol.

    Args:
        model: The model.
        transform: Its evaluation transform of a PIL image.
        tokenizer: Its tokenizer.
        id: Which model it is.
        precision: "fp32", or "bf16" for autocast.
        device: Where it runs.
    """

    def __init__(
        self, model: Any, transform: Any, tokenizer: Any, id: ModelId, precision: str = "fp32", device: str = "cpu"
    ) -> None:
        self.model, self.transform, self.tokenizer = model.eval().to(device), transform, tokenizer
        self.device, self.precision = device, precision
        self.trims = is_trimmable(model) and _trims_exactly(model, tokenizer, device)
        protocol = {"precision": precision, "preprocess": _preprocess_record(model), "context_length": self.context_length}
        self.id = ModelId(id.name, id.revision, id.meta, protocol)

    def preprocess(self, image: Image) -> torch.Tensor:
        """Return one image as the model's evaluation transform gives it: (3, H, W)."""
        pixels: torch.Tensor = self.transform(image)
        return pixels

    def encode_images(self, pixels: torch.Tensor) -> torch.Tensor:
        """Embed (B, 3, H, W) images: (B, D) float32 features."""
        with self._precision():
            features: torch.Tensor = self.model.encode_image(pixels)
        return features.float()

    def tokenize(self, texts: list[str]) -> torch.Tensor:
        """Return (B, context_length) token ids."""
        tokens: torch.Tensor = self.tokenizer(texts)
        return tokens

    def encode_texts(self, tokens: torch.Tensor) -> torch.Tensor:
        """Embed (B, L) token ids: (B, D) float32 features; padding is skipped where that is proven to change nothing."""
        with self._precision():
            features = encode_text_trimmed(self.model, tokens) if self.trims else self.model.encode_text(tokens)
        return features.float()

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

    @contextlib.contextmanager
    def _precision(self) -> Iterator[None]:
        import torch

        # no_grad, not inference_mode: the latter turns off autocast's cache of cast weights
        with torch.no_grad(), torch.autocast(self.device, torch.bfloat16, enabled=self.precision == "bf16"):
            yield


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


def load(spec: str, precision: str = "fp32", device: str = "cpu") -> OpenClipModel:
    """Load a model.

    Args:
        spec: A folder (artifact or open_clip's local form), NAME/PRETRAINED as in open_clip, or hf-hub:ORG/NAME.
        precision: "fp32" or "bf16".
        device: "cpu" or "cuda".

    Raises:
        UserError: Unknown name or precision.
        DataError: The folder lacks its config or weights, or they are damaged; the hub cannot be reached.
    """
    if precision not in PRECISIONS:
        raise unknown_name("precision", precision, PRECISIONS, "recap-eval clip --help")
    if spec.startswith("hf-hub:"):
        return _create(spec, _hub_id(spec), precision, device)
    folder = Path(spec.removeprefix("local-dir:"))
    if folder.is_dir():
        return _create(f"local-dir:{folder}", _folder_id(folder), precision, device)
    if folder.is_absolute() or spec.startswith((".", "local-dir:")):
        raise UserError(f"Model folder {spec} does not exist.", f"Check the path. Names of published models: {SEE}")
    return _load_pretrained(spec, precision, device)


def _create(name: str, id: ModelId, precision: str, device: str, pretrained: str | None = None) -> OpenClipModel:
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
    return OpenClipModel(model, transform, tokenizer, id, precision, device)


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


def _hub_id(spec: str) -> ModelId:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    repo = spec.removeprefix("hf-hub:")
    try:
        revision = HfApi().model_info(repo, timeout=30).sha
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError, ValueError) as error:
        raise DataError(
            f"Cannot reach {repo} on the hub ({type(error).__name__}).", "Check its name and the network."
        ) from error
    return ModelId(repo, str(revision))


def _load_pretrained(spec: str, precision: str, device: str) -> OpenClipModel:
    import open_clip

    name, _, tag = spec.partition("/")
    if name not in open_clip.list_models():
        raise unknown_name("model (no folder, and no name in open_clip)", spec, open_clip.list_models(), SEE)
    tags = open_clip.list_pretrained_tags_by_model(name)
    if not tag:
        raise UserError(f"{name} has no weights of its own.", f"Name them: {name}/{tags[0] if tags else 'TAG'}. All: {SEE}")
    if tag not in tags:
        raise unknown_name(f"weights of {name}", tag, tags, SEE)
    return _create(name, ModelId(spec, f"open_clip:{spec}"), precision, device, pretrained=tag)


def best_device() -> str:
    """Return "cuda" if there is a GPU, else "cpu"."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def list_names() -> list[str]:
    """Return all NAME/PRETRAINED pairs that open_clip knows."""
    import open_clip

    return [f"{name}/{tag}" for name, tag in open_clip.list_pretrained()]
