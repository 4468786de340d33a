"""The most frequent words in bounded memory: the summary of Misra and Gries (1982), which adds up (Agarwal et al. 2013)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

MOST = 1 << 16


class Frequent:
    """Counts of words: exact while there are at most `most` of them, else too small by at most `floor`.

    Attributes:
        counts: Count by word; the true one lies in [count, count + floor], and of a word that is not here in [0, floor].
        floor: By how much a count may be too small; 0 while nothing was dropped.
        total: Words counted.
    """

    def __init__(self, most: int = MOST) -> None:
        self.most, self.floor, self.total = most, 0, 0
        self.counts: dict[str, int] = {}

    def add(self, words: Iterable[str], counts: Iterable[int]) -> None:
        """Add words as often as their counts say."""
        known = self.counts
        for word, count in zip(words, counts, strict=True):
            known[word] = known.get(word, 0) + count
            self.total += count
        if len(known) > 2 * self.most:
            self._trim()

    def _trim(self) -> None:
        """Keep the `most` most frequent: take the next one's count from all, and drop what has none left."""
        if len(self.counts) <= self.most:
            return
        cut = sorted(self.counts.values(), reverse=True)[self.most]
        self.counts = {word: count - cut for word, count in self.counts.items() if count > cut}
        self.floor += cut

    def merge(self, other: Frequent) -> None:
        """Add what another counted."""
        total = self.total + other.total
        self.floor += other.floor
        self.add(other.counts.keys(), other.counts.values())
        self.total = total

    def top(self, n: int) -> list[tuple[str, int]]:
        """Return the n most frequent words with their counts; of equals, the first by spelling."""
        return sorted(self.counts.items(), key=lambda pair: (-pair[1], pair[0]))[:n]

    def to_json(self) -> dict[str, Any]:
        """Return the state."""
        self._trim()
        return {"most": self.most, "floor": self.floor, "total": self.total, "counts": self.counts}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Frequent:
        """Return the state that `to_json` gave."""
        found = cls(int(record["most"]))
        found.floor, found.total, found.counts = int(record["floor"]), int(record["total"]), dict(record["counts"])
        return found
