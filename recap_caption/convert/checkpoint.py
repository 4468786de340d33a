"""A checkpoint's tensors, read one by one: safetensors, or pickles of tensors alone; in one file or in shards with an index.

What is in it is told from headers, without reading any weights. Files are mapped, so that no more is held in memory than the
tensors asked for; only pickles of the form before torch 1.6 cannot be mapped and are held whole, one at a time.
"""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap_eval.errors import DataError
from recap_eval.files import read_json

if TYPE_CHECKING:
    import torch

WEIGHTS = ("model.safetensors.index.json", "model.safetensors", "pytorch_model.bin.index.json", "pytorch_model.bin")
AGAIN = "Get it again; it may be cut short."
DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}  # of safetensors, of torch


@dataclass(frozen=True)
class Held:
    """A tensor in a checkpoint.

    Args:
        file: The file it lies in.
        shape: Its shape.
        dtype: What torch calls its type, such as "bfloat16".
    """

    file: Path
    shape: tuple[int, ...]
    dtype: str


class Checkpoint:
    """The tensors of a folder.

    Args:
        folder: The folder.

    Raises:
        DataError: It holds no weights, a file is missing, damaged, or more than tensors, or a tensor is there twice.
    """

    def __init__(self, folder: Path) -> None:
        self.files = weight_files(folder)
        self.tensors: dict[str, Held] = {}
        self._open: tuple[Path | None, Any] = (None, None)
        for path in self.files:
            self._list(path)

    def _list(self, path: Path) -> None:
        for name, held in (_safetensors if path.suffix == ".safetensors" else _pickle)(path).items():
            if name in self.tensors:
                raise DataError(
                    f"{name} is in {self.tensors[name].file.name} and in {path.name}.", "Keep one checkpoint to a folder."
                )
            self.tensors[name] = held

    def read(self, name: str) -> torch.Tensor:
        """Return a tensor.

        Raises:
            DataError: Its file is gone or damaged.
        """
        path = self.tensors[name].file
        if self._open[0] != path:
            self._open = (None, None)  # the one before is freed first
            self._open = (path, _opened(path))
        from safetensors import SafetensorError

        handle = self._open[1]
        try:
            found: torch.Tensor = handle[name] if isinstance(handle, Mapping) else handle.get_tensor(name)
        except (SafetensorError, OSError, RuntimeError) as error:
            raise _damaged(path, error) from error
        return found

    def close(self) -> None:
        """Free the file that was read last."""
        self._open = (None, None)


def weight_files(folder: Path) -> list[Path]:
    """Return the files that hold a checkpoint's weights, in order.

    Raises:
        DataError: There are none, or an index names one that is not there.
    """
    for name in WEIGHTS:
        path = folder / name
        if path.is_file():
            return _indexed(path) if path.suffix == ".json" else [path]
    raise DataError(f"{folder} holds no weights.", f"Looked for {', '.join(WEIGHTS)}.")


def _indexed(index: Path) -> list[Path]:
    found = read_json(index)
    names = found.get("weight_map") if isinstance(found, dict) else None
    if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
        raise DataError(f"{index} names no files.", AGAIN)
    files = sorted(set(names.values()))
    for name in files:
        if Path(name).name != name or not name.endswith((".safetensors", ".bin")):
            raise DataError(f"{index} names {name!r}, which is no file beside it.", "Do not use this checkpoint.")
        if not (index.parent / name).is_file():
            raise DataError(f"{index.parent / name} does not exist.", f"{index.name} lists it: get it.")
    return [index.parent / name for name in files]


def _safetensors(path: Path) -> dict[str, Held]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
            found = {name: (tuple(part.get_shape()), part.get_dtype()) for name, part in parts.items()}
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from error
    return {name: Held(path, shape, DTYPES.get(kind, kind)) for name, (shape, kind) in found.items()}


def _pickle(path: Path) -> dict[str, Held]:
    import torch

    found = _load_pickle(path, "meta")
    if not isinstance(found, Mapping) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise DataError(f"{path} holds other things than tensors by name.", "It must be a state dict.")
    return {str(name): Held(path, tuple(value.shape), str(value.dtype).removeprefix("torch.")) for name, value in found.items()}


def _load_pickle(path: Path, device: str) -> Any:
    """Read a pickle of tensors, mapped where its form allows; anything but tensors in it is refused before it is made."""
    from pickle import UnpicklingError

    import torch

    try:
        mapped = {"mmap": True} if zipfile.is_zipfile(path) else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of pickles that are refused anyway
            return torch.load(path, map_location=device, weights_only=True, **mapped)
    except UnpicklingError as error:
        line = str(error).strip().splitlines()[0] if str(error).strip() else "unreadable"
        raise DataError(
            f"{path} is damaged, or holds more than tensors: nothing in it was executed ({line[:120]}).",
            "Get safetensors, or a pickle of tensors alone.",
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise _damaged(path, error) from error


def _opened(path: Path) -> Any:
    from safetensors import SafetensorError, safe_open

    if path.suffix != ".safetensors":
        return _load_pickle(path, "cpu")
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DataError:
    line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return DataError(f"{path} is not a readable file of weights ({line[:200]}).", AGAIN)


def stamps(folder: Path) -> list[list[Any]]:
    """Return name, size and time of change of a checkpoint's files, by which it is known again; it may lack its weights."""
    there = any((folder / name).is_file() for name in WEIGHTS)
    paths = [*(weight_files(folder) if there else []), folder / "config.json"]
    return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in paths if path.is_file()]


def read_config(folder: Path) -> dict[str, Any]:
    """Return a folder's config.json.

    Raises:
        DataError: It is missing or no JSON object.
    """
    found = read_json(folder / "config.json")
    if not isinstance(found, dict):
        raise DataError(f"{folder / 'config.json'} is no JSON object but {json.dumps(found)[:40]}.", AGAIN)
    return found
