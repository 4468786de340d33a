"""Features kept on disk, by extractor and image: a second metric, or a run after a kill, takes them from there.

The segments are those of store.py. Their vectors stay on disk, mapped into memory as they are read; of each image only the
place of its vector is held, about 200 bytes, so that memory hardly grows with the number of images.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from recap_eval.extractors.base import Extractor
from recap_eval.models.base import ModelId
from recap_eval.store import Rows, Store

if TYPE_CHECKING:
    import torch

KIND = "images"
ROWS = 2048  # features written at once: 16 MB of the Inception's, held in memory until then


BLOCK = 1 << 32  # more rows than a block has


class _Mapped(Rows):
    """Vectors by key, in the blocks they came in: none is ever copied together."""

    def add(self, keys: Sequence[bytes], vectors: torch.Tensor) -> None:
        """Add (N, D) vectors; of a key that is there already, the new one counts."""
        self.row.update((key, len(self._blocks) * BLOCK + i) for i, key in enumerate(keys))
        self._blocks.append(vectors)

    def take(self, keys: Sequence[bytes]) -> torch.Tensor:
        """Return (N, D) vectors of keys that are there."""
        import torch

        return torch.stack([self._blocks[place // BLOCK][place % BLOCK] for place in map(self.row.__getitem__, keys)])


class FeatureStore(Store):
    """Keeps an extractor's features in the cache.

    Args:
        cache: The cache folder.
        extractor: The extractor; its key names the folder.
    """

    def __init__(self, cache: Path, extractor: Extractor) -> None:
        super().__init__(cache, ModelId(extractor.name, "features", {}, extractor.key))
        self._forget()

    def rows(self, kind: str, contents: Sequence[str]) -> torch.Tensor:
        """Return (N, D) features of images that are all there."""
        self._read_segments(kind)
        return super().rows(kind, contents)

    def add(self, kind: str, contents: Sequence[str], vectors: torch.Tensor) -> None:
        """Keep the features of new images."""
        super().add(kind, contents, vectors)
        if sum(len(keys) for keys, _ in self._new[kind]) >= ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what is not written yet; what is written is let go of."""
        fresh = any(self._new.values())
        super().flush()
        if fresh and not self._broken:
            self._forget()

    def _forget(self) -> None:
        self._rows[KIND] = _Mapped()
        self._read.clear()
