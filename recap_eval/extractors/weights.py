"""The FID Inception's weights: where they lie, whether they are the right ones, read without executing anything."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from recap_eval.data.root import default_root
from recap_eval.data.sources import read_sources
from recap_eval.errors import DataError
from recap_eval.files import digest_file

if TYPE_CHECKING:
    import torch

SOURCE = "fid-inception"  # in data/sources.toml
GET = f"recap-eval fetch {SOURCE}"
PREFIXES = ("", "pt_", "weights-")  # ours, pytorch-fid's, torch-fidelity's: the same bytes
DIGEST_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.pth")  # torch.hub's convention: the first digits of the sha256


def find_weights(path: Path | None, root: Path | None) -> Path:
    """Return the file of the weights.

    Args:
        path: The file that the user named, or None.
        root: The data root; None for the default one.

    Raises:
        DataError: It is not there; the message says where it is looked for and how to get it.
    """
    source, root = read_sources()[SOURCE], root or default_root()
    name = source.files[0]["name"]
    places = [path] if path else [root / source.place / f"{prefix}{name}" for prefix in PREFIXES]
    for place in places:
        if place.is_file():
            return place
    urls = " or ".join(url.replace("{file}", name) for url in source.urls)
    asked = (
        f"{path} is not there" if path else f"{places[0]} is not there (nor with {' or '.join(PREFIXES[1:])} before its name)"
    )
    raise DataError(f"The FID Inception's weights are missing: {asked}.", f"{GET} --data {root}, or get {urls}")


def read_weights(path: Path) -> tuple[Mapping[str, torch.Tensor], str]:
    """Read a file of tensors, held against the digest in its name if it has one.

    Returns:
        Tensors by name, and the file's sha256.

    Raises:
        DataError: It is not the file its name says, or holds more than tensors.
    """
    from pickle import UnpicklingError

    import torch

    digest, stated = digest_file(path), DIGEST_IN_NAME.search(path.name)
    if stated and not digest.startswith(stated[1]):
        raise DataError(f"{path} is damaged: its sha256 begins {digest[:8]}, not {stated[1]}.", f"Delete it, then: {GET}")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"{path} cannot be read safely ({line[:200]}).", "It must be a file of tensors alone.") from error
    if not isinstance(found, dict):
        raise DataError(f"{path} holds no tensors by name.", GET)
    return {str(name): value for name, value in found.items() if isinstance(value, torch.Tensor)}, digest
