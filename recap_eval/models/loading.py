"""From what a user types to a model: one adapter a library, found by prefix, folder or file."""

from __future__ import annotations

from pathlib import Path

from recap_eval.errors import UserError, unknown_name
from recap_eval.models.base import DualEncoder, Loading

PRECISIONS = ("auto", "fp32", "bf16")
HUB, LONGCLIP = "transformers:", "longclip:"


def load(spec: str, how: Loading | None = None) -> DualEncoder:
    """Load a model.

    Args:
        spec: A folder (our artifact, open_clip's local form, or a transformers folder); a LongCLIP checkpoint file;
            NAME/PRETRAINED as in open_clip, where PRETRAINED may be a checkpoint file; hf-hub:ORG/NAME (open_clip);
            transformers:ORG/NAME; longclip:ORG/NAME; or MODULE:ATTR, one's own class.
        how: How to load and run it.

    Raises:
        UserError: Unknown name.
        DataError: Files are missing, damaged, or cannot be loaded safely; the hub cannot be reached.
    """
    how = how or Loading()
    path = Path(spec).expanduser()
    if spec.startswith(HUB) or _is_transformers(path):
        from recap_eval.models import transformers

        return transformers.load(spec.removeprefix(HUB), how)
    if path.is_file() or spec.startswith(LONGCLIP):
        from recap_eval.models import longclip

        return longclip.load(longclip.fetched(spec.removeprefix(LONGCLIP)) if spec.startswith(LONGCLIP) else path, how)
    if ":" in spec and not spec.startswith(("hf-hub:", "local-dir:")) and not path.exists():
        from recap_eval.models import own

        return own.load(spec, how)
    from recap_eval.models import open_clip

    return open_clip.load(spec, how)


def _is_transformers(folder: Path) -> bool:
    return (folder / "config.json").is_file() and not (folder / "open_clip_config.json").is_file()


def resolve_precision(word: str, device: str) -> str:
    """Return "fp32" or "bf16": "auto" is bf16 on a GPU that has it and fp32 elsewhere.

    Raises:
        UserError: Another word.
    """
    if word not in PRECISIONS:
        raise unknown_name("precision", word, PRECISIONS, "recap-eval clip --help")
    if word != "auto":
        return word
    import torch

    return "bf16" if device != "cpu" and torch.cuda.is_bf16_supported() else "fp32"


def resolve_device(word: str | None) -> str:
    """Return the device named, or "cuda" if there is a GPU, else "cpu".

    Raises:
        UserError: There is no such device here.
    """
    import torch

    if word is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    if word != "cpu" and not (word.partition(":")[0] == "cuda" and torch.cuda.is_available()):
        raise UserError(f"There is no device {word!r} here.", "Leave --device out, or use cpu, cuda or cuda:1.")
    return word
