"""The one definition of the mix: which caption a training sample is shown with.

p_original is the probability that a sample is shown with its ORIGINAL caption; 1 - p_original the recaption (the paper's
p, section 5.2 and Table 3; its project page reads the other way round). The coin is a hash of (seed, sample key, epoch),
so runs at different p share their coins (original where u < p): the samples that show the original at p = 0.5 are a subset
of those at p = 0.8, and a difference between two runs is due to p.

Where the caption drawn is empty, the sample's other caption stands in and is counted, so the realised share is known. Not at
p = 1 and p = 0: a baseline of original captions that saw five in a hundred recaptions would be none. There the sample is
shown with its empty text, counted too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from recap_eval.errors import UserError
from recap_eval.hashrand import text_key, uniform_array

if TYPE_CHECKING:
    import numpy as np

COIN = text_key("original or recaption")


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

    @property
    def pure(self) -> bool:
        """True if only one kind of caption is ever to be shown."""
        return self.p_original in (0.0, 1.0)

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
    """What a mix came to.

    Args:
        original: Samples shown with their original caption.
        recaption: Samples shown with their recaption.
        empty: Samples shown with no words at all.
        missing: How often the caption drawn was empty.
    """

    original: int = 0
    recaption: int = 0
    empty: int = 0
    missing: dict[str, int] = field(default_factory=lambda: {"original": 0, "recaption": 0})

    def choose(self, pair: tuple[str, str], wants_original: bool, pure: bool) -> str:
        """Return the caption to show and count it.

        Args:
            pair: Original caption and recaption.
            wants_original: What the coin says.
            pure: True at p = 0 and p = 1, where the other caption may not stand in for an empty one.
        """
        texts = dict(zip(("original", "recaption"), pair, strict=True))
        wanted, other = ("original", "recaption") if wants_original else ("recaption", "original")
        shown = wanted
        if not texts[wanted].strip():
            self.missing[wanted] += 1
            shown = wanted if pure or not texts[other].strip() else other
        if not texts[shown].strip():
            self.empty += 1
        elif shown == "original":
            self.original += 1
        else:
            self.recaption += 1
        return texts[shown]

    def add(self, other: MixCount) -> None:
        """Add another count."""
        self.original += other.original
        self.recaption += other.recaption
        self.empty += other.empty
        for name, number in other.missing.items():
            self.missing[name] += number

    @property
    def realised(self) -> float:
        """Share of the captions shown (empty ones apart) that were originals."""
        return self.original / max(1, self.original + self.recaption)
