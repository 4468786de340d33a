"""Embeddings kept on disk, by model and content, shared between tasks, runs and the parts of a run.

    <cache>/embeddings/<model>/about.json                       which model, how fed
    <cache>/embeddings/<model>/images-<digest>.safetensors      segments: (N, 32) keys and (N, D) unit vectors

A segment is written whole under a name of its own content and never changed, so that any number of processes on any number of
machines may write at once, and a kill loses at most the segment in memory.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap_eval.console import warn
from recap_eval.errors import DataError
from recap_eval.files import digest_json, replacing, write_json
from recap_eval.models.base import ModelId

if TYPE_CHECKING:
    import torch

VERSION = 1  # raised when embeddings of the same model and content would differ
ROWS, SECONDS = 8192, 60.0  # a segment is written when it has so many rows or is so old


def content_key(content: str) -> bytes:
    """Return the 32 bytes under which a text, or an image by its digest, is kept."""
    return hashlib.sha256(content.encode()).digest()


def part_of(content: str, parts: int) -> int:
    """Return which of so many parts a text or image belongs to: by its content, so the same at any time and place."""
    return int.from_bytes(content_key(content)[:8], "big") % parts


class Rows:
    """Vectors by key: one matrix, grown by blocks."""

    def __init__(self) -> None:
        self.row: dict[bytes, int] = {}
        self._blocks: list[torch.Tensor] = []

    def add(self, keys: Sequence[bytes], vectors: torch.Tensor) -> None:
        """Add (N, D) vectors; of a key that is there already, the new one counts."""
        self.row.update(zip(keys, range(sum(map(len, self._blocks)), 2**63), strict=False))
        self._blocks.append(vectors)

    def take(self, keys: Sequence[bytes]) -> torch.Tensor:
        """Return (N, D) vectors of keys that are there."""
        import torch

        if len(self._blocks) > 1:
            self._blocks = [torch.cat(self._blocks)]
        return self._blocks[0][torch.tensor([self.row[key] for key in keys])]


class NoStore:
    """Keeps embeddings in memory only."""

    def __init__(self) -> None:
        self._rows = {"images": Rows(), "texts": Rows()}

    def known(self, kind: str, contents: Sequence[str]) -> set[str]:
        """Return which of the contents are there."""
        return {content for content in contents if content_key(content) in self._rows[kind].row}

    def rows(self, kind: str, contents: Sequence[str]) -> torch.Tensor:
        """Return (N, D) vectors of contents that are all there."""
        return self._rows[kind].take([content_key(content) for content in contents])

    def add(self, kind: str, contents: Sequence[str], vectors: torch.Tensor) -> None:
        """Keep the vectors of new contents."""
        self._rows[kind].add([content_key(content) for content in contents], vectors)

    def flush(self) -> None:
        """Write what is not written yet."""


class Store(NoStore):
    """Keeps a model's embeddings in a folder.

    Args:
        cache: The cache folder.
        model: The model; its revision and protocol name the folder.
    """

    def __init__(self, cache: Path, model: ModelId) -> None:
        super().__init__()
        identity = [VERSION, model.revision, model.protocol]
        self.folder = cache / "embeddings" / digest_json(identity)[:24]
        self._read: set[str] = set()
        self._new: dict[str, list[tuple[list[bytes], torch.Tensor]]] = {"images": [], "texts": []}
        self._since, self._broken = time.monotonic(), False
        self._guarded(write_json, self.folder / "about.json", {"model": model.name, "identity": identity})

    def known(self, kind: str, contents: Sequence[str]) -> set[str]:
        """Return which of the contents are there, read from disk if they were not before."""
        self._read_segments(kind)
        return super().known(kind, contents)

    def add(self, kind: str, contents: Sequence[str], vectors: torch.Tensor) -> None:
        """Keep the vectors of new contents; now and then they are written."""
        super().add(kind, contents, vectors)
        self._new[kind].append(([content_key(content) for content in contents], vectors))
        if sum(len(keys) for keys, _ in self._new[kind]) >= ROWS or time.monotonic() - self._since > SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what is not written yet."""
        for kind, rows in self._new.items():
            if rows:
                self._guarded(self._write, kind, rows)
                self._new[kind] = []
        self._since = time.monotonic()

    def _write(self, kind: str, rows: list[tuple[list[bytes], torch.Tensor]]) -> None:
        import numpy as np
        import torch
        from safetensors.torch import save_file

        flat = b"".join(key for keys, _ in rows for key in keys)
        name = f"{kind}-{hashlib.sha256(flat).hexdigest()[:24]}.safetensors"
        keys = torch.from_numpy(np.frombuffer(flat, dtype=np.uint8).reshape(-1, 32).copy())
        with replacing(self.folder / name) as part:
            save_file({"keys": keys, "vectors": torch.cat([vectors for _, vectors in rows])}, part)
        self._read.add(name)

    def _read_segments(self, kind: str) -> None:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        for path in sorted(self.folder.glob(f"{kind}-*.safetensors")):
            if path.name in self._read:
                continue
            self._read.add(path.name)
            try:
                found = load_file(path)
                keys, vectors = found["keys"].numpy().tobytes(), found["vectors"]
            except (SafetensorError, KeyError, OSError) as error:
                warn(f"{path} is damaged and was left out ({error})")
                path.unlink(missing_ok=True)
                continue
            self._rows[kind].add([keys[i : i + 32] for i in range(0, len(keys), 32)], vectors)

    def _guarded(self, write: Callable[..., None], *args: Any) -> None:
        """Write; a full or read-only disk costs the cache, never the measurement."""
        if self._broken:
            return
        try:
            write(*args)
        except DataError as error:
            self._broken = True
            warn(f"embeddings are not kept. {error.what}")


def evict(cache: Path, limit: int, kept: Path) -> list[str]:
    """Delete the embeddings of the models used longest ago until the rest fits.

    Args:
        cache: The cache folder.
        limit: Bytes.
        kept: The folder of the model at hand, which stays whatever its size: parts of a run may be filling it.

    Returns:
        Names of the folders that were deleted.
    """
    folders = [folder for folder in (cache / "embeddings").glob("*") if folder.is_dir()]
    sizes = {folder: sum(path.stat().st_size for path in folder.glob("*") if path.is_file()) for folder in folders}
    used = {folder: (folder / "about.json").stat().st_mtime for folder in folders if (folder / "about.json").is_file()}
    gone = []
    for folder in sorted(folders, key=lambda folder: used.get(folder, 0.0)):
        if sum(sizes.values()) <= limit:
            break
        if folder == kept:
            continue
        shutil.rmtree(folder, ignore_errors=True)
        sizes.pop(folder)
        gone.append(folder.name)
    return gone
