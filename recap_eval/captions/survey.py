"""What is found out about one column of a caption set: states that take batches, add up, and go into files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from recap_eval.captions import flag_arrays, flags
from recap_eval.captions.distinct import Distinct
from recap_eval.captions.frequent import Frequent
from recap_eval.captions.part import Part
from recap_eval.captions.sample import Sample
from recap_eval.captions.spread import Spread
from recap_eval.captions.tokens import Tokenizer
from recap_eval.files import digest_json
from recap_eval.hashrand import combine_array, text_key

CONTENT_STREAMS = (text_key("captions content 1"), text_key("captions content 2"))
VERSION = 1  # of the states: raised whenever the same rows would give another


class State(Protocol):
    """Something that is counted."""

    def add(self, part: Part) -> None:
        """Count a batch."""

    def merge(self, other: Any) -> None:
        """Add what another counted."""

    def to_json(self) -> dict[str, Any]:
        """Return the state as plain JSON."""

    def load(self, record: dict[str, Any]) -> None:
        """Become the state that `to_json` gave."""


class Content:
    """How many captions there are, why others are not, and what they say together: a digest that order does not change.

    Attributes:
        counts: Captions, and rows by why they have none.
        sums: Sums, modulo 2^64, of two hashes of (key, caption), and of two hashes of the keys of all rows.
        keys: The distinct keys.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.sums = [0, 0, 0, 0]
        self.keys = Distinct()

    def add(self, part: Part) -> None:
        """Count a batch."""
        self.counts.update(part.left_out | {"captions": len(part.ranks)})
        said, asked = combine_array(part.ranks) ^ part.hashes, part.ranks if part.asked is None else part.asked
        sums = [int(combine_array(each, stream).sum(dtype=np.uint64)) for each in (said, asked) for stream in CONTENT_STREAMS]
        self.sums = _added(self.sums, sums)
        self.keys.add(part.ranks)

    def merge(self, other: Content) -> None:
        """Add what another counted."""
        self.counts.update(other.counts)
        self.sums = _added(self.sums, other.sums)
        self.keys.merge(other.keys)

    @property
    def captions(self) -> int:
        """How many captions there are."""
        return self.counts["captions"]

    @property
    def rows(self) -> int:
        """How many rows there are, captions or not."""
        return sum(self.counts.values())

    @property
    def digest(self) -> str:
        """Digest of all (key, caption), whatever their order and files."""
        return digest_json([self.captions, [f"{value:016x}" for value in self.sums[:2]]])

    @property
    def asked(self) -> str:
        """Digest of the keys of all rows, whatever their order and files: two columns of the same rows agree in it."""
        return digest_json([self.rows, [f"{value:016x}" for value in self.sums[2:]]])

    def to_json(self) -> dict[str, Any]:
        """Return the state."""
        return {"counts": dict(self.counts), "sums": self.sums, "keys": self.keys.to_json()}

    def load(self, record: dict[str, Any]) -> None:
        """Become the state that `to_json` gave."""
        self.counts, self.sums = Counter(record["counts"]), [int(value) for value in record["sums"]]
        self.keys = Distinct.from_json(record["keys"])


def _added(ours: list[int], theirs: list[int]) -> list[int]:
    return [(one + two) % (1 << 64) for one, two in zip(ours, theirs, strict=True)]


class Lengths:
    """Words of each caption."""

    def __init__(self) -> None:
        self.words = Spread()

    def add(self, part: Part) -> None:
        """Count a batch."""
        self.words.add(part.words.lengths)

    def merge(self, other: Lengths) -> None:
        """Add what another counted."""
        self.words.merge(other.words)

    def to_json(self) -> dict[str, Any]:
        """Return the state."""
        return {"words": self.words.to_json()}

    def load(self, record: dict[str, Any]) -> None:
        """Become the state that `to_json` gave."""
        self.words = Spread.from_json(record["words"])


class TokenLengths:
    """Tokens of each caption, special ones included.

    Args:
        tokenizer: Whose tokens.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer, self.tokens = tokenizer, Spread()

    def add(self, part: Part) -> None:
        """Count a batch."""
        self.tokens.add(self.tokenizer.count(part))

    def merge(self, other: TokenLengths) -> None:
        """Add what another counted."""
        self.tokens.merge(other.tokens)

    def to_json(self) -> dict[str, Any]:
        """Return the state."""
        return {"tokens": self.tokens.to_json()}

    def load(self, record: dict[str, Any]) -> None:
        """Become the state that `to_json` gave."""
        self.tokens = Spread.from_json(record["tokens"])


class Vocabulary:
    """The words that occur, in their normal form."""

    def __init__(self) -> None:
        self.distinct, self.frequent = Distinct(), Frequent()

    def add(self, part: Part) -> None:
        """Count a batch."""
        lexicon = part.lexicon
        forms = lexicon.normal_of[part.words.ids]
        counts = np.bincount(forms[forms >= 0], minlength=len(lexicon.normals))
        there = np.flatnonzero(counts)
        self.distinct.add(lexicon.normal_hash[there], counts[there].astype(np.int64))
        self.frequent.add([lexicon.normals[place] for place in there.tolist()], counts[there].tolist())

    def merge(self, other: Vocabulary) -> None:
        """Add what another counted."""
        self.distinct.merge(other.distinct)
        self.frequent.merge(other.frequent)

    def to_json(self) -> dict[str, Any]:
        """Return the state."""
        return {"distinct": self.distinct.to_json(), "frequent": self.frequent.to_json()}

    def load(self, record: dict[str, Any]) -> None:
        """Become the state that `to_json` gave."""
        self.distinct, self.frequent = Distinct.from_json(record["distinct"]), Frequent.from_json(record["frequent"])


class Flagged:
    """Captions by flag, and the distinct captions."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.texts = Distinct()

    def add(self, part: Part) -> None:
        """Count a batch."""
        captions = flag_arrays.Captions(part.texts, part.words, part.lexicon, part.originals, part.cut)
        found = flag_arrays.find(captions)
        self.counts.update({name: int(has.sum()) for name, has in found.items()})
        wrong = [has for name, has in found.items() if name != flags.COPIED]  # which only one of two columns can have
        self.counts["any"] += int(np.logical_or.reduce(wrong).sum())
        self.texts.add(part.hashes)

    def merge(self, other: Flagged) -> None:
        """Add what another counted."""
        self.counts.update(other.counts)
        self.texts.merge(other.texts)

    def to_json(self) -> dict[str, Any]:
        """Return the state."""
        return {"counts": dict(self.counts), "texts": self.texts.to_json()}

    def load(self, record: dict[str, Any]) -> None:
        """Become the state that `to_json` gave."""
        self.counts, self.texts = Counter(record["counts"]), Distinct.from_json(record["texts"])


class Sampled:
    """The keyed sample."""

    def __init__(self) -> None:
        self.sample = Sample()

    def add(self, part: Part) -> None:
        """Look at a batch."""
        self.sample.add(part)

    def merge(self, other: Sampled) -> None:
        """Add what another drew."""
        self.sample.merge(other.sample)

    def to_json(self) -> dict[str, Any]:
        """Return the state."""
        return self.sample.to_json()

    def load(self, record: dict[str, Any]) -> None:
        """Become the state that `to_json` gave."""
        self.sample = Sample.from_json(record)


class All:
    """Every caption with its key, for what needs all of them; fit for sets that fit in memory.

    Attributes:
        found: (key, caption, original) in the order of the rows.
    """

    def __init__(self) -> None:
        self.found: list[tuple[str, str, str | None]] = []

    def add(self, part: Part) -> None:
        """Keep a batch."""
        originals = [None] * len(part.ranks) if part.originals is None else part.originals.to_pylist()
        self.found += zip(part.keys.to_pylist(), part.texts.to_pylist(), originals, strict=True)

    def merge(self, other: All) -> None:
        """Add what another kept."""
        self.found += other.found

    def to_json(self) -> dict[str, Any]:
        """Return the state."""
        return {"found": self.found}

    def load(self, record: dict[str, Any]) -> None:
        """Become the state that `to_json` gave."""
        self.found = [(key, text, original) for key, text, original in record["found"]]


ALWAYS: Mapping[str, Callable[[], State]] = {"content": Content, "sample": Sampled}
STATES: Mapping[str, Callable[[], State]] = {"length": Lengths, "vocabulary": Vocabulary, "flags": Flagged, "all": All}


@dataclass
class Survey:
    """The states of one column.

    Args:
        states: By name; `content` and `sample` are always there, tokens are "tokens:NAME".
    """

    states: dict[str, State] = field(default_factory=dict)

    @classmethod
    def of(cls, names: list[str], tokenizers: list[Tokenizer]) -> Survey:
        """Return a survey that has seen nothing.

        Args:
            names: Which of `STATES`.
            tokenizers: Whose tokens are counted.
        """
        states = {name: make() for name, make in ALWAYS.items()} | {name: STATES[name]() for name in names}
        return cls(states | {f"tokens:{one.name}": TokenLengths(one) for one in tokenizers})

    @property
    def content(self) -> Content:
        """Counts and digest."""
        found = self.states["content"]
        assert isinstance(found, Content)
        return found

    @property
    def sample(self) -> Sample:
        """The keyed sample."""
        found = self.states["sample"]
        assert isinstance(found, Sampled)
        return found.sample

    def add(self, part: Part) -> None:
        """Count a batch."""
        for state in self.states.values():
            state.add(part)

    def merge(self, other: Survey) -> None:
        """Add what another counted."""
        for name, state in self.states.items():
            state.merge(other.states[name])

    def to_json(self) -> dict[str, Any]:
        """Return all states."""
        return {name: state.to_json() for name, state in self.states.items()}

    def load(self, record: dict[str, Any]) -> None:
        """Become what `to_json` gave."""
        for name, state in self.states.items():
            state.load(record[name])
