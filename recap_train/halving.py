"""A model in half precision: its files with fp32 weights rounded to fp16, for shipping and publishing at half the size.

The libraries that open such a folder compute in fp32 as before, on rounded weights; so it is a model of its own, with a
revision of its own, and figures of the whole one are not its figures.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from recap_eval.artifact import NAME, Artifact, find_artifact, verify, write_artifact
from recap_eval.errors import DataError, UserError
from recap_eval.files import replacing

if TYPE_CHECKING:
    import torch

SAFE = ".safetensors"
FROM = "halved_from"  # of `made`: the revision of the whole model


def halve(folder: Path, out: Path, name: str | None = None) -> tuple[Artifact, bool]:
    """Write an artifact's files with their weights in half precision.

    Args:
        folder: The artifact's folder.
        out: The new folder.
        name: What tables call it; None for the same name.

    Returns:
        The new artifact, and whether it was there already.

    Raises:
        UserError: There is no artifact with fp32 weights, or another thing is at `out`.
        DataError: Files are damaged; a weight is too large for half precision; `out` cannot be written.
    """
    whole = find_artifact(folder)
    if whole is None or not any(file.endswith(SAFE) for file in whole.files):
        raise UserError(f"{folder} has no {NAME} that lists {SAFE} files.", "Name the folder of a finished model.")
    if (known := _known(whole, out, name)) is not None:
        return known, True
    verify(folder, whole)
    for file in whole.files:
        _write(folder / file, out / file)
    made = whole.made | {FROM: whole.revision}
    return write_artifact(out, whole.kind, name or whole.name, list(whole.files), made, whole.run), False


def _known(whole: Artifact, out: Path, name: str | None) -> Artifact | None:
    """Return what an earlier call made of the same model; refuse a folder of something else."""
    there = find_artifact(out)
    if there is None:
        names = sorted(one.name for one in out.iterdir()) if out.is_dir() else []
        if strange := [one for one in names if not _expected(one, whole)]:
            raise UserError(f"{out} holds other files ({strange[0]}).", "Choose a new folder.")
        return None
    if there.made.get(FROM) != whole.revision or there.name != (name or whole.name):
        raise UserError(f"{out} holds another model, {there.name}.", "Choose a new folder.")
    verify(out, there)
    return there


def _expected(name: str, whole: Artifact) -> bool:
    """Return whether a file or folder may be what an earlier call was writing when it was stopped."""
    return name.startswith(".") or name in {Path(file).parts[0] for file in whole.files}


def _write(source: Path, place: Path) -> None:
    if source.suffix != SAFE:
        with replacing(place) as part:
            shutil.copyfile(source, part)
        return
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import save

    try:
        with safe_open(source, "pt") as opened:
            facts = opened.metadata()
            payload = save({name: _half(opened.get_tensor(name), source, name) for name in opened.keys()}, facts)  # noqa: SIM118
    except SafetensorError as error:
        raise DataError(f"{source} is damaged ({error}).", "Make the model again.") from error
    with replacing(place) as part:
        part.write_bytes(payload)


def _half(tensor: torch.Tensor, source: Path, name: str) -> torch.Tensor:
    import torch

    if tensor.dtype != torch.float32:
        return tensor
    half = tensor.half()
    if not bool(half.isfinite().all()):
        raise DataError(f"{source}: {name} is too large for half precision, or not finite.", "Keep the whole model.")
    return half.contiguous()
