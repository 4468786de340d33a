"""Writes safetensors tensor by tensor, so that one tensor is in memory; the library's own writer takes a file's all at once."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap_caption.convert.checkpoint import DTYPES
from recap_eval.errors import DataError
from recap_eval.files import write_json

if TYPE_CHECKING:
    import torch

MOST = 5 << 30  # bytes of a file, as transformers cuts them
SIZES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}
CODES = {torch_name: code for code, torch_name in DTYPES.items()}
INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"


@dataclass(frozen=True)
class Piece:
    """A tensor to be written.

    Args:
        name: Its name.
        shape: Its shape.
        dtype: What torch calls its type.
        make: Returns it.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    make: Callable[[], torch.Tensor]

    @property
    def size(self) -> int:
        """Bytes it takes."""
        size = SIZES[self.dtype]
        for side in self.shape:
            size *= side
        return size


def write_pieces(folder: Path, pieces: Sequence[Piece], tell: Callable[[int], None], most: int = MOST) -> list[str]:
    """Write tensors into files of bounded size, with an index if there are several.

    Args:
        folder: Where to.
        pieces: The tensors, in order.
        tell: Told how many bytes were written.
        most: Bytes of a file, at most, unless a single tensor is larger.

    Returns:
        The names of the files.

    Raises:
        DataError: The disk is full, or a tensor is not what was said of it.
    """
    groups = cut(pieces, most)
    n = len(groups)
    names = [SINGLE] if n == 1 else [f"model-{number:05d}-of-{n:05d}.safetensors" for number in range(1, n + 1)]
    for name, group in zip(names, groups, strict=True):
        _write_file(folder / name, group, tell)
    if n == 1:
        return names
    places = {piece.name: name for name, group in zip(names, groups, strict=True) for piece in group}
    write_json(folder / INDEX, {"metadata": {"total_size": sum(piece.size for piece in pieces)}, "weight_map": places})
    return [*names, INDEX]


def cut(pieces: Sequence[Piece], most: int) -> list[list[Piece]]:
    """Return the tensors in groups of at most so many bytes, in order; a larger one stands alone."""
    groups: list[list[Piece]] = [[]]
    room = most
    for piece in pieces:
        if groups[-1] and piece.size > room:
            groups.append([])
            room = most
        groups[-1].append(piece)
        room -= piece.size
    return groups


def _write_file(path: Path, pieces: Sequence[Piece], tell: Callable[[int], None]) -> None:
    try:
        with path.open("wb") as stream:
            stream.write(_header(pieces))
            for piece in pieces:
                stream.write(_bytes(piece))
                tell(piece.size)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise DataError(f"Cannot write {path}: {error.strerror}.", "Free some space, or choose another --out.") from error


def _header(pieces: Sequence[Piece]) -> bytes:
    """Return a file's head: its length in 8 bytes, then JSON, filled up with spaces so that tensors begin at multiples of 8."""
    head: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    start = 0
    for piece in pieces:
        head[piece.name] = {
            "dtype": CODES[piece.dtype], "shape": list(piece.shape), "data_offsets": [start, start + piece.size],
        }  # fmt: skip
        start += piece.size
    text = json.dumps(head, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _bytes(piece: Piece) -> Any:
    import torch

    tensor = piece.make().detach().contiguous()
    if (tuple(tensor.shape), str(tensor.dtype)) != (piece.shape, f"torch.{piece.dtype}"):
        raise DataError(f"{piece.name} changed while it was read.", "Leave the checkpoint alone, and start again.")
    return tensor.reshape(-1).view(torch.uint8).numpy()
