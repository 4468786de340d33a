"""The tensors of an original LLaVA, by original name: its own, and those of a vision tower that it does not bring."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Any

from recap_caption.convert.checkpoint import Checkpoint, Held
from recap_caption.convert.names import BY_VOCABULARY, EMBEDDING, Shape, expected_shapes, is_dropped, renamed, tower_name
from recap_caption.convert.writing import SIZES, Piece
from recap_eval.errors import DataError

if TYPE_CHECKING:
    import torch

WHOLE = "Nothing was written. Get the whole checkpoint."


class Weights:
    """The tensors of a LLaVA.

    Args:
        own: The checkpoint.
        tower: The vision tower's, for a checkpoint without one.
    """

    def __init__(self, own: Checkpoint, tower: Checkpoint | None = None) -> None:
        self._own, self._tower = own, tower
        self.held: dict[str, Held] = {name: held for name, held in own.tensors.items() if not is_dropped(name)}
        self._elsewhere: dict[str, str] = {}
        for name, held in (tower.tensors if tower else {}).items():
            ours = tower_name(name)
            if ours and not is_dropped(ours):
                self.held[ours], self._elsewhere[ours] = held, name

    @property
    def rows(self) -> int:
        """Rows of the embedding.

        Raises:
            DataError: There is none.
        """
        if EMBEDDING not in self.held:
            raise DataError(f"The checkpoint lacks {EMBEDDING}.", WHOLE)
        return self.held[EMBEDDING].shape[0]

    @property
    def dtype(self) -> str:
        """The type of the language model's weights; the vision tower gets it, too, as in LLaVA."""
        return self.held[EMBEDDING].dtype

    @property
    def count(self) -> int:
        """How many numbers they are."""
        return sum(prod(held.shape) for held in self.held.values())

    def read(self, name: str) -> torch.Tensor:
        """Return a tensor by its original name, in the language model's type."""
        import torch

        source = self._tower if name in self._elsewhere and self._tower else self._own
        return source.read(self._elsewhere.get(name, name)).to(getattr(torch, self.dtype))

    def check(self, name: str, text: Mapping[str, Any], vision: Mapping[str, Any]) -> None:
        """Check that every tensor is there, none besides, and each of its shape and of a type of numbers.

        Raises:
            DataError: One is not; the message names it.
        """
        wanted = expected_shapes(text, vision, self.rows)
        tied = {"lm_head.weight"} - set(wanted)  # of a tied head, the embedding is what counts
        if missing := [one for one in wanted if one not in self.held]:
            raise DataError(f"{name} lacks {len(missing):,} weights; the first: {missing[0]}.", WHOLE)
        if extra := sorted(set(self.held) - set(wanted) - tied):
            what = f"{name} has {len(extra):,} weights that no LLaVA-1.5 of its configuration has; the first: {extra[0]}."
            raise DataError(what, "Nothing was written. It is of another architecture, or config.json is another model's.")
        for one, shape in wanted.items():
            if self.held[one].shape != shape:
                raise DataError(f"{name}: {one} is {_told(self.held[one].shape)}, and config.json says {_told(shape)}.", WHOLE)
            if self.held[one].dtype not in SIZES:
                raise DataError(
                    f"{name}: {one} holds {self.held[one].dtype}, and no plain numbers.", "Get one that is not quantised."
                )
        for one in tied & set(self.held):
            del self.held[one]

    def pieces(self, layout: str, rows: int) -> list[Piece]:
        """Return the tensors to write, those of one file together.

        Args:
            layout: Of their names.
            rows: Rows of the embedding after conversion.
        """
        own = [name for name in self.held if name not in self._elsewhere]
        found = []
        for name in [*sorted(own, key=lambda name: self.held[name].file), *self._elsewhere]:
            shape = self.held[name].shape
            shape = (rows, *shape[1:]) if name in BY_VOCABULARY else shape
            found.append(Piece(renamed(name, layout), shape, self.dtype, _Maker(self, name, rows)))
        return found

    def close(self) -> None:
        """Free the files."""
        for source in (self._own, self._tower):
            if source is not None:
                source.close()


class _Maker:
    """Returns a tensor of a LLaVA, with as many rows as the vocabulary has."""

    def __init__(self, weights: Weights, name: str, rows: int) -> None:
        self._weights, self._name, self._rows = weights, name, rows

    def __call__(self) -> torch.Tensor:
        found = self._weights.read(self._name)
        return with_rows(found, self._rows) if self._name in BY_VOCABULARY else found


def with_rows(table: torch.Tensor, rows: int) -> torch.Tensor:
    """Return a table of (rows, W) that ends in copies of the mean of its rows."""
    import torch

    mean = table.mean(0, dtype=torch.float32).to(table.dtype)
    return torch.cat([table, mean.expand(rows - len(table), -1)])


def _told(shape: Shape) -> str:
    return " × ".join(str(side) for side in shape) or "a single number"
