"""`dinov2`: features of FD-DINOv2 (Stein et al. 2023): the class token, normalised by the last layer, of images as in dgm-eval.

That is a resize to 224 x 224 whatever the shape (no crop), Pillow's bicubic in 8 bits, ImageNet's mean and deviation
(dgm-eval 74c79f7, `models/dinov2.py`). dgm-eval runs the original code (facebookresearch/dinov2): its table of positions, made
for 37 x 37 patches, is resampled to 16 x 16 with a scale of 16.1 / 37, where transformers has 16 / 37. Here as in the original.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap_eval.errors import DataError, UserError
from recap_eval.extractors.base import Extraction, exact_products
from recap_eval.extractors.decode import DECODING, decode_rgb
from recap_eval.files import digest_file, digest_json, read_json

if TYPE_CHECKING:
    import torch

SIDE, BICUBIC = 224, 3
OFFSET = 0.1  # the original's `interpolate_offset` (vision_transformer.py, `interpolate_pos_encoding`)
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZES = {"s": "small", "b": "base", "l": "large", "g": "giant"}
HINT = "Give dinov2, dinov2:s, :b, :l or :g, a folder with config.json and model.safetensors, or dinov2:ORG/NAME"


class Dinov2Extractor:
    """A DINOv2 of transformers behind the `Extractor` protocol.

    Args:
        word: What follows "dinov2:": s, b, l, g, a folder, or ORG/NAME on the hub; "" for l, which FD-DINOv2 is defined with.
        how: How it is built and run; its resize is not asked.

    Raises:
        UserError: It is another kind of model.
        DataError: Files are missing or damaged, or the hub cannot be reached.
    """

    def __init__(self, word: str, how: Extraction) -> None:
        import torch

        from recap_eval.models.pixels import TransformPixels

        source = f"facebook/dinov2-{SIZES[word or 'l']}" if word in ("", *SIZES) else word
        model, digest = _load(source)
        shown = Path(word).name if Path(word).is_dir() else word
        self.name, self.device, self._frame = f"dinov2:{shown}" if word else "dinov2", how.device, how.frame
        self._dtype = torch.bfloat16 if how.precision == "bf16" else torch.float32
        _set_positions(model)
        self._model = model.eval().to(how.device, self._dtype)
        self.dim = int(model.config.hidden_size)
        self._pixels = TransformPixels(lambda image: image.resize((SIDE, SIDE), BICUBIC), MEAN, DEVIATION)
        self.key: dict[str, Any] = {
            "network": f"dinov2-{self.dim}",
            "layer": "class token",
            "positions": "original",
            "weights": digest,
        }
        self.key |= {"resize": f"squash:{SIDE}:bicubic:8-bit", "frame": how.frame.name if how.frame else "none"}
        self.key |= {"decoding": DECODING, "precision": how.precision}

    def load(self, payload: bytes, where: str) -> torch.Tensor:
        """Return one image as (3, 224, 224) bytes; see `Extractor.load`."""
        image = decode_rgb(payload, where)
        return self._pixels.shrink(image if self._frame is None else self._frame.apply(image))

    def features(self, images: list[torch.Tensor]) -> torch.Tensor:
        """Return (B, D) float32 features on the CPU."""
        import torch

        batch = self._pixels.batch(images, self.device).to(self._dtype)
        with torch.inference_mode(), exact_products():
            found: torch.Tensor = self._model(pixel_values=batch).pooler_output
        return found.float().cpu()


def _load(source: str) -> tuple[Any, str]:
    """Return a model in fp32 and what tells its weights from others: a digest of the folder's files, or the hub's commit."""
    from safetensors import SafetensorError
    from transformers import AutoConfig, Dinov2Model

    folder = Path(source).expanduser()
    here = folder.is_dir()
    digest = _digest(folder) if here else _revision(source)
    where: dict[str, Any] = {} if here else {"revision": digest}
    try:
        config = AutoConfig.from_pretrained(str(folder) if here else source, **where)
        if config.model_type != "dinov2":
            raise UserError(f"{source} is a {config.model_type!r} model, not DINOv2.", HINT)
        model, info = Dinov2Model.from_pretrained(
            str(folder) if here else source, use_safetensors=True, output_loading_info=True, **where
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"Cannot load {source}: {line[:300]}", HINT) from error
    if lost := sorted(info["missing_keys"]):
        raise DataError(f"{source} lacks weights: {lost[0]} and {len(lost) - 1} others.", HINT)
    return model.float(), digest


def _set_positions(model: Any) -> None:
    """Resample the table of positions to the patches of 224 x 224 as the original code does."""
    import torch
    from torch.nn import functional

    table, patch = model.embeddings.position_embeddings, model.config.patch_size
    side, to = int((table.shape[1] - 1) ** 0.5), SIDE // patch
    if side == to:
        return
    grid = table.detach()[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    scale = (to + OFFSET) / side
    found = functional.interpolate(grid, scale_factor=(scale, scale), mode="bicubic", antialias=False)
    flat = found.permute(0, 2, 3, 1).reshape(1, to * to, -1)
    model.embeddings.position_embeddings = torch.nn.Parameter(torch.cat([table.detach()[:, :1], flat], 1), requires_grad=False)


def _digest(folder: Path) -> str:
    read_json(folder / "config.json")
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise DataError(f"{folder} holds no *.safetensors weights.", HINT)
    return digest_json({path.name: digest_file(path) for path in [folder / "config.json", *files]})


def _revision(source: str) -> str:
    from recap_eval.models.hub import revision_of

    if source.count("/") != 1:
        raise UserError(f"{source!r} is neither a folder nor a model of the hub.", HINT)
    return revision_of(source)
