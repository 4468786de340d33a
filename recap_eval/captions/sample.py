"""A keyed sample of a caption set: the captions whose keys have the smallest hashes, so that sets of the same images pair."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from recap_eval.hashrand import combine_array, text_key

if TYPE_CHECKING:
    from recap_eval.captions.part import Part

SIZE = 4096
STREAM = text_key("captions sample")
MOST_CHARACTERS = 20_000  # of a caption in the sample; what is beyond is left out, so that memory stays bounded


@dataclass(frozen=True, order=True)
class Drawn:
    """A caption of the sample.

    Args:
        rank: Hash of its key.
        key: Its key.
        text: The caption.
        original: The alt-text it is to replace, if there is one.
        cut: Whether the limit of tokens cut it.
    """

    rank: int
    key: str
    text: str
    original: str | None = None
    cut: bool = False


def _order(one: Drawn) -> tuple[Any, ...]:
    return one.rank, one.key, one.text, one.original or "", one.cut


class Sample:
    """The `size` captions of the smallest ranks.

    Attributes:
        drawn: Them, by rank.
        seen: Captions that they were drawn from.
    """

    def __init__(self, size: int = SIZE) -> None:
        self.size, self.seen = size, 0
        self.drawn: list[Drawn] = []

    def add(self, part: Part) -> None:
        """Look at a batch of captions."""
        self.seen += len(part.ranks)
        ranks = combine_array(part.ranks, STREAM)
        places = (
            np.flatnonzero(ranks <= np.uint64(self.drawn[-1].rank)) if len(self.drawn) == self.size else np.arange(len(ranks))
        )
        if len(places) > self.size:
            places = places[np.argsort(ranks[places], kind="stable")[: 2 * self.size]]
        texts, keys = part.texts.take(places).to_pylist(), part.keys.take(places).to_pylist()
        originals = [None] * len(places) if part.originals is None else part.originals.take(places).to_pylist()
        cut = [False] * len(places) if part.cut is None else part.cut[places].tolist()
        rows = zip(ranks[places].tolist(), keys, texts, originals, cut, strict=True)
        self._keep(
            [Drawn(rank, key, _short(text), original and _short(original), was) for rank, key, text, original, was in rows]
        )

    def merge(self, other: Sample) -> None:
        """Add what another drew."""
        self.seen += other.seen
        self._keep(other.drawn)

    def _keep(self, more: list[Drawn]) -> None:
        self.drawn = sorted([*self.drawn, *more], key=_order)[: self.size]

    @property
    def whole(self) -> bool:
        """Whether it holds every caption."""
        return len(self.drawn) == self.seen

    def to_json(self) -> dict[str, Any]:
        """Return the state."""
        return {"size": self.size, "seen": self.seen, "drawn": [astuple(one) for one in self.drawn]}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Sample:
        """Return the state that `to_json` gave."""
        found = cls(int(record["size"]))
        found.seen, found.drawn = int(record["seen"]), [Drawn(*one) for one in record["drawn"]]
        return found


def _short(text: str) -> str:
    return text[:MOST_CHARACTERS]
