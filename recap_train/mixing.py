"""The one definition of the mix: which caption a training sample is shown with.

p_original is the probability that a sample is shown with its ORIGINAL caption; 1 - p_original the recaption (the paper's
p, section 5.2 and Table 3; its project page reads the other way round). The coin is a hash of (seed, sample key, epoch),
so runs at different p share their coins (original where u < p): the samples that show the original at p = 0.5 are a subset
of those at p = 0.8, and a difference between two runs is due to p. Which of several recaptions, and whether the caption is
dropped, are draws of streams of their own: they are the same at every p.

Where the caption drawn is empty, another recaption of the sample stands in for a recaption, then the sample's other kind, and
it is counted, so the realised share is known. The other kind not at p = 1 and p = 0: a baseline of original captions that saw
five in a hundred recaptions would be none. There the sample is shown with its empty text, counted too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from recap_eval.errors import UserError
from recap_eval.hashrand import text_key, uniform_array

if TYPE_CHECKING:
    from recap_train.captions import Captions

COIN = text_key("original or recaption")
WHICH = text_key("which recaption")
DROP = text_key("caption dropout")

MODES = ("draw", "concat")
TURNS = ("random", "alternate")
JOINT = ", "  # the paper's row "concat"


@dataclass(frozen=True)
class Choices:
    """What was drawn for samples.

    Args:
        original: (N,) True where the original caption is to be shown; without meaning in mode "concat".
        which: (N,) number of the recaption to be shown, or joined, from 0.
        dropped: (N,) True where no caption is to be shown at all.
    """

    original: np.ndarray
    which: np.ndarray
    dropped: np.ndarray

    def take(self, rows: np.ndarray | Sequence[int]) -> Choices:
        """Return the choices of some samples: by index, or by (N,) booleans."""
        return Choices(self.original[rows], self.which[rows], self.dropped[rows])


@dataclass(frozen=True)
class Mix:
    """How original captions and recaptions are mixed.

    Args:
        p_original: Probability of the original caption, in [0, 1]; None in mode "concat", which has no coin.
        mode: "draw" shows one caption, "concat" the original and the recaption, joined by a comma.
        recaptions: How many recaptions an image has.
        turns: Which of several is shown: "random", or "alternate" from epoch to epoch.
        weights: How often each recaption is drawn, in any unit; empty for equally often.
        dropout: Probability that a sample is shown without a caption, for training that needs an unconditional part.
    """

    p_original: float | None
    mode: str = "draw"
    recaptions: int = 1
    turns: str = "random"
    weights: tuple[float, ...] = ()
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.mode == "concat" and self.p_original is not None:
            raise UserError("--p-original has no meaning with --mix concat.", "Every sample shows both captions; leave it out.")
        if self.mode == "draw" and self.p_original is None:
            raise UserError("--p-original is not given.", "It is the probability of the original caption, 0 to 1.")
        if self.p_original is not None and not 0 <= self.p_original <= 1:
            raise UserError(
                f"--p-original {self.p_original} is not a probability.", "It must lie in [0, 1]; 1 is original captions only."
            )
        if not 0 <= self.dropout <= 1:
            raise UserError(f"--caption-dropout {self.dropout} is not a probability.", "It must lie in [0, 1].")
        self._check_recaptions()

    def _check_recaptions(self) -> None:
        if not self.weights:
            return
        if self.turns == "alternate":
            raise UserError("Recaptions that alternate have no weights.", "Leave out --recaption-weights or --recaption-turns.")
        if len(self.weights) != self.recaptions:
            what = f"{len(self.weights)} --recaption-weights for {self.recaptions} recaptions."
            raise UserError(what, "Give one weight for each --recaption-key, in their order.")
        if not all(0 <= weight < float("inf") for weight in self.weights) or not sum(self.weights):
            raise UserError(f"--recaption-weights {self.weights} are no weights.", "They are 0 or more, and not all 0.")

    def describe(self) -> str:
        """Return the mix in words, both shares named."""
        if self.p_original is None:
            words = "original caption and recaption, joined"
        else:
            words = f"{self.p_original:.0%} original captions, {1 - self.p_original:.0%} recaptions"
        return f"{words} ({self.settings})" if self.settings and self.settings != "concat" else words

    @property
    def label(self) -> str:
        """The mix in a word, for the name of a run."""
        return "concat" if self.p_original is None else f"p{self.p_original:g}"

    @property
    def settings(self) -> str:
        """What is not as by default, besides p: part of a run's identity; empty if nothing is."""
        said = ["concat"] if self.mode == "concat" else []
        said += ["recaptions alternate"] if self.turns == "alternate" and self.recaptions > 1 else []
        said += [f"recaption weights {', '.join(f'{weight:g}' for weight in self.weights)}"] if self.weights else []
        said += [f"caption dropout {self.dropout:g}"] if self.dropout else []
        return "; ".join(said)

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
        if self.p_original is None:
            return np.zeros(len(keys), dtype=bool)
        return uniform_array(keys, COIN, seed, epoch) < self.p_original

    def draw(self, keys: np.ndarray, epoch: int, seed: int) -> Choices:
        """Draw everything that is drawn for samples in an epoch; arguments as for `coins`."""
        dropped = np.zeros(len(keys), dtype=bool) if not self.dropout else uniform_array(keys, DROP, seed, epoch) < self.dropout
        return Choices(self.coins(keys, epoch, seed), self._turn(keys, epoch, seed), dropped)

    def _turn(self, keys: np.ndarray, epoch: int, seed: int) -> np.ndarray:
        """Return (N,) numbers of recaptions; those that alternate begin at a number drawn for each sample."""
        if self.recaptions == 1:
            return np.zeros(len(keys), dtype=np.int64)
        weights = np.array(self.weights or (1.0,) * self.recaptions)
        ends = np.cumsum(weights / weights.sum())[:-1]
        if self.turns == "random":
            return np.searchsorted(ends, uniform_array(keys, WHICH, seed, epoch), side="right")
        return (np.searchsorted(ends, uniform_array(keys, WHICH, seed), side="right") + epoch) % self.recaptions

    def show(self, captions: Sequence[Captions], choices: Choices, count: MixCount) -> list[str]:
        """Return the text that each sample is shown with, and count them.

        Args:
            captions: (N) the samples' captions.
            choices: What was drawn for them.
            count: What the texts are added to.
        """
        drawn = zip(captions, choices.original.tolist(), choices.which.tolist(), choices.dropped.tolist(), strict=True)
        return [self._text(sample, original, which, dropped, count) for sample, original, which, dropped in drawn]

    def _text(self, sample: Captions, original: bool, which: int, dropped: bool, count: MixCount) -> str:
        if dropped:
            count.dropped += 1
            return ""
        if self.mode == "concat":
            return count.join(sample, which)
        return count.choose(sample, original, which, self.pure)


@dataclass
class MixCount:
    """What a mix came to.

    Args:
        original: Samples shown with their original caption.
        recaption: Samples shown with a recaption.
        empty: Samples shown with no words at all.
        missing: How often the caption drawn was empty.
        concatenated: Samples shown with both, joined.
        dropped: Samples shown without a caption because it was dropped.
        numbers: Samples shown with each recaption, alone or joined, by its number.
    """

    original: int = 0
    recaption: int = 0
    empty: int = 0
    missing: dict[str, int] = field(default_factory=lambda: {"original": 0, "recaption": 0})
    concatenated: int = 0
    dropped: int = 0
    numbers: dict[int, int] = field(default_factory=dict)

    def choose(self, captions: Captions, wants_original: bool, which: int, pure: bool) -> str:
        """Return the caption to show and count it.

        Args:
            captions: The sample's captions.
            wants_original: What the coin says.
            which: The recaption drawn.
            pure: True at p = 0 and p = 1, where the other kind may not stand in for an empty one.
        """
        number = self._standing(captions, which, counts=not wants_original)
        texts = {"original": captions.original, "recaption": captions.recaptions[number]}
        wanted, other = ("original", "recaption") if wants_original else ("recaption", "original")
        if wants_original and not captions.original.strip():
            self.missing["original"] += 1
        shown = wanted if pure or texts[wanted].strip() or not texts[other].strip() else other
        self._count(shown, number, texts[shown])
        return texts[shown]

    def join(self, captions: Captions, which: int) -> str:
        """Return original and recaption, joined by a comma, and count them; without a comma where one of them is empty."""
        number = self._standing(captions, which, counts=True)
        original, recaption = captions.original, captions.recaptions[number]
        if original.strip() and recaption.strip():
            self.concatenated += 1
            self._note(number)
            return f"{original}{JOINT}{recaption}"
        self.missing["original"] += not original.strip()
        shown = "original" if original.strip() else "recaption"
        text = original if original.strip() else recaption
        self._count(shown, number, text)
        return text

    def _standing(self, captions: Captions, which: int, counts: bool) -> int:
        """Return the number of the recaption drawn, or of the next that is not empty; count that it was empty."""
        if captions.recaptions[which].strip():
            return which
        self.missing["recaption"] += counts
        total = len(captions.recaptions)
        others = [(which + step) % total for step in range(1, total)]
        return next((number for number in others if captions.recaptions[number].strip()), which)

    def _count(self, shown: str, number: int, text: str) -> None:
        if not text.strip():
            self.empty += 1
        elif shown == "original":
            self.original += 1
        else:
            self.recaption += 1
            self._note(number)

    def _note(self, number: int) -> None:
        self.numbers[number] = self.numbers.get(number, 0) + 1

    def add(self, other: MixCount) -> None:
        """Add another count."""
        self.original += other.original
        self.recaption += other.recaption
        self.empty += other.empty
        self.concatenated += other.concatenated
        self.dropped += other.dropped
        for name, number in other.missing.items():
            self.missing[name] += number
        for which, number in other.numbers.items():
            self.numbers[which] = self.numbers.get(which, 0) + number

    @property
    def realised(self) -> float:
        """Share of the captions shown (empty and joined ones apart) that were originals."""
        return self.original / max(1, self.original + self.recaption)

    def describe(self) -> dict[str, Any]:
        """Return what it came to beyond `realised`, `missing` and `empty`, where there is anything to tell."""
        said: dict[str, Any] = {"concatenated_captions": self.concatenated, "dropped_captions": self.dropped}
        if len(self.numbers) > 1:
            said["recaptions_shown"] = [self.numbers.get(number, 0) for number in range(max(self.numbers) + 1)]
        return {name: value for name, value in said.items() if value}
