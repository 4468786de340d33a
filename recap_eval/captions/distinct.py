"""How many distinct things there are among many, in bounded memory, and how often each comes.

Things are 64-bit hashes. While there are at most `MOST` of them, all are kept with their counts, and every figure is exact.
Beyond, only those below a threshold are kept: halved until they fit, it makes them a uniform sample of the distinct things
(adaptive sampling: Flajolet 1990, after Wegman), from which distinct counts, unions and shares follow with a stated error.
The sample depends on the things alone, never on their order or on how they were split, and two sets are sampled alike. A
HyperLogLog would be smaller, but has neither counts nor intersections.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from recap_eval.captions.packing import pack, unpack

MOST = 1 << 16


class Distinct:
    """A sample of the distinct things among those added, with their counts.

    Attributes:
        level: How often the threshold was halved; 0 while nothing was left out.
        hashes: (K,) hashes kept, in rising order, all below 2^(64 - level).
        counts: (K,) how often each was added.
    """

    def __init__(self, most: int = MOST) -> None:
        self.most, self.level = most, 0
        self.hashes = np.zeros(0, dtype=np.uint64)
        self.counts = np.zeros(0, dtype=np.int64)

    def add(self, hashes: np.ndarray, counts: np.ndarray | None = None) -> None:
        """Add (N,) hashes, each once or as often as (N,) counts say."""
        more = np.ones(len(hashes), dtype=np.int64) if counts is None else counts
        kept = _below(hashes, self.level)
        merged = np.concatenate([self.hashes, hashes[kept]])
        weights = np.concatenate([self.counts, more[kept]])
        order = np.argsort(merged, kind="stable")
        merged, weights = merged[order], weights[order]
        begins = np.flatnonzero(np.concatenate([[True], merged[1:] != merged[:-1]])) if len(merged) else np.zeros(0, np.int64)
        self.hashes = merged[begins]
        self.counts = np.add.reduceat(weights, begins) if len(begins) else weights
        while len(self.hashes) > self.most:
            self._halve()

    def _halve(self) -> None:
        self.level += 1
        kept = int(np.searchsorted(self.hashes, np.uint64(1 << (64 - self.level))))
        self.hashes, self.counts = self.hashes[:kept], self.counts[:kept]

    def merge(self, other: Distinct) -> None:
        """Add what another counted."""
        while self.level < other.level:
            self._halve()
        self.add(other.hashes, other.counts)

    def at(self, level: int) -> Distinct:
        """Return the sample that a threshold halved `level` times, at least as often as ours, leaves."""
        found = Distinct(self.most)
        found.level, found.hashes, found.counts = self.level, self.hashes, self.counts
        while found.level < level:
            found._halve()
        return found

    @property
    def count(self) -> float:
        """How many distinct things there are: exact at level 0."""
        return float(len(self.hashes)) * 2.0**self.level

    @property
    def relative_error(self) -> float:
        """Standard error of `count`, relative: of a sample at rate q it is sqrt((1 - q) / kept)."""
        return float(np.sqrt((1 - 2.0**-self.level) / max(len(self.hashes), 1)))

    @property
    def singles(self) -> float:
        """Share of the distinct things that came once."""
        return float((self.counts == 1).mean()) if len(self.counts) else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the state."""
        return {"most": self.most, "level": self.level, "hashes": pack(self.hashes), "counts": pack(self.counts)}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Distinct:
        """Return the state that `to_json` gave."""
        found = cls(int(record["most"]))
        found.level, found.hashes, found.counts = int(record["level"]), unpack(record["hashes"]), unpack(record["counts"])
        return found


def _below(hashes: np.ndarray, level: int) -> np.ndarray:
    return hashes < np.uint64(1 << (64 - level)) if level else np.ones(len(hashes), dtype=bool)


def union_share(ours: Distinct, theirs: Distinct) -> tuple[float, float, int]:
    """Return the share of both sets' distinct things that is among ours, its standard error, and how many it was found on."""
    level = max(ours.level, theirs.level)
    one, two = ours.at(level), theirs.at(level)
    both = len(np.union1d(one.hashes, two.hashes))
    if not both:
        return 0.0, 0.0, 0
    share = len(one.hashes) / both
    return share, float(np.sqrt(share * (1 - share) / both * (1 - 2.0**-level))), both
