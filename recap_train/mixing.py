"""The one definition of the mix: which caption a training sample is shown with.

p_original is the probability that a sample is shown with its ORIGINAL caption; 1 - p_original the recaption (the paper's
p, section 5.2 and Table 3; its project page reads the other way round). The coin is a hash of (seed, sample key, epoch),
so runs at different p share their coins (original where u < p): the samples that show the original at p = 0.5 are a subset
of those at p = 0.8, and a difference between two runs is due to p.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from recap_eval.errors import UserError
from recap_eval.hashrand import text_key, uniform_array

if TYPE_CHECKING:
    import numpy as np

COIN = text_key("caption coin")


@dataclass(frozen=True)
class Mix:
    """How original captions and recaptions are mixed.

    Args:
        p_original: Probability of the original caption, in [0, 1].
    """

    p_original: float

    def __post_init__(self) -> None:
        if not 0 <= self.p_original <= 1:
            raise UserError(
                f"--p-original {self.p_original} is not a probability.", "It must lie in [0, 1]; 1 is original captions only."
            )

    def describe(self) -> str:
        """Return the mix in words, both shares named."""
        return f"{self.p_original:.0%} original captions, {1 - self.p_original:.0%} recaptions"

    def coins(self, keys: np.ndarray, epoch: int, seed: int) -> np.ndarray:
        """Decide which samples show their original caption in an epoch.

        Args:
            keys: (N,) uint64 `text_key` of each sample key.
            epoch: How often the data was seen in full before.
            seed: The run's seed.

        Returns:
            (N,) booleans, True for the original.
        """
        return uniform_array(keys, COIN, seed, epoch) < self.p_original


@dataclass
class MixCount:
    """What a mix came to: how often each caption was shown, and how often one was missing and the other stood in."""

    original: int = 0
    recaption: int = 0
    missing: dict[str, int] = field(default_factory=lambda: {"original": 0, "recaption": 0})

    def choose(self, pair: tuple[str, str], wants_original: bool) -> str:
        """Return the caption to show and count it; an empty one is replaced by the other.

        Args:
            pair: Original caption and recaption.
            wants_original: What the coin says.
        """
        texts = dict(zip(("original", "recaption"), pair, strict=True))
        wanted, other = ("original", "recaption") if wants_original else ("recaption", "original")
        if not texts[wanted].strip():
            self.missing[wanted] += 1
            wanted = other
        if wanted == "original":
            self.original += 1
        else:
            self.recaption += 1
        return texts[wanted]

    def add(self, other: MixCount) -> None:
        """Add another count."""
        self.original += other.original
        self.recaption += other.recaption
        for name, number in other.missing.items():
            self.missing[name] += number

    @property
    def realised(self) -> float:
        """Share of samples that were shown with their original caption, after replacement of missing ones."""
        return self.original / max(1, self.original + self.recaption)
