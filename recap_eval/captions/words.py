"""Texts split into words, a batch at a time: offsets into the bytes, and a number for each distinct word.

A word is what stands between white space, as `str.split()` has it. Everything that is asked of a word (its normal form, what
flags look for in it, its tokens) is found out once per distinct word and then looked up.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from recap_eval.captions.marks import Marks, marks_of
from recap_eval.hashrand import text_hashes

if TYPE_CHECKING:
    import pyarrow as pa

ASCII_SPACES = (9, 10, 11, 12, 13, 28, 29, 30, 31, 32)
WIDE_SPACES = tuple(
    chr(code).encode() for code in (0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000)
)
EDGES = re.compile(r"^[\W_]+|[\W_]+$")
MOST_WORDS = 1 << 19  # distinct words remembered between batches
MOST_CHARACTERS = 1 << 28  # of them
LONGEST = 256  # characters that count in a normal form: a text without spaces is no word


def normal(word: str) -> str:
    """Return a word's normal form: lower case, without what is neither letter nor digit at its ends; perhaps nothing."""
    return _normal(word[:LONGEST])


@lru_cache(maxsize=1 << 16)
def _normal(word: str) -> str:
    lowered = word.lower()
    return lowered if lowered.isalpha() else EDGES.sub("", lowered)


def normal_words(text: str) -> list[str]:
    """Return the normal forms of a text's words, those left out that have none."""
    return [found for word in text.split() if (found := normal(word))]


@dataclass(frozen=True)
class Words:
    """The words of N texts, M in all.

    Args:
        first: (N+1,) place of each text's first word; the last is M.
        ids: (M,) number of each word in the lexicon that made this.
    """

    first: np.ndarray
    ids: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """(N,) words of each text."""
        return np.diff(self.first)

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Return (N,) sums over each text's words.

        Args:
            values: By number in the lexicon; integers.
        """
        totals: np.ndarray = np.concatenate([[0], np.cumsum(values[self.ids], dtype=np.int64)])
        found: np.ndarray = totals[self.first[1:]] - totals[self.first[:-1]]
        return found

    def any(self, bits: np.ndarray) -> np.ndarray:
        """Return (N,) the bits that any word of each text has."""
        out = np.zeros(len(self.first) - 1, dtype=bits.dtype)
        some = np.flatnonzero(self.lengths)
        if len(some):
            out[some] = np.bitwise_or.reduceat(bits[self.ids], self.first[some])
        return out


class Lexicon:
    """Numbers words, and remembers what is asked of each; forgets all when they become too many.

    Attributes:
        raw: Words by number.
        normals: Normal forms by their number.
    """

    def __init__(self, most: int = MOST_WORDS) -> None:
        self._most = most
        self.counted: dict[str, Any] = {}  # how many tokens a word has, by tokenizer: see tokens.py
        self._forget()

    def _forget(self) -> None:
        self._number: dict[bytes, int] = {}
        self._word_number: dict[str, int] = {}
        self._normal_number: dict[str, int] = {}
        self._characters = 0
        self.raw: list[str] = []
        self.normals: list[str] = []
        self.normal_of = np.zeros(0, dtype=np.int32)  # -1 where a word has no normal form
        self.normal_hash = np.zeros(0, dtype=np.uint64)
        self.marks = Marks.none()
        self.counted = {name: np.zeros(0, dtype=np.int32) for name in self.counted}

    def begin(self) -> None:
        """Forget all words if there are too many of them; numbers given before mean nothing then."""
        if len(self.raw) > self._most or self._characters > MOST_CHARACTERS:
            self._forget()

    def split(self, texts: pa.LargeStringArray) -> Words:
        """Split texts that are not null."""
        payload, offsets = _bytes(texts)
        starts = _starts(payload, offsets)
        first = np.searchsorted(starts, offsets)
        codes, distinct = _encode(payload, starts)
        return Words(first, self._numbers(distinct)[codes])

    def _numbers(self, distinct: list[bytes]) -> np.ndarray:
        known, numbers = self._number, np.empty(len(distinct), dtype=np.int32)
        new: list[str] = []
        for place, slot in enumerate(distinct):
            number = known.get(slot)
            if number is None:
                number = known[slot] = self._number_of(slot.decode().rstrip(), new)
            numbers[place] = number
        if new:
            self._learn(new)
        return numbers

    def _number_of(self, word: str, new: list[str]) -> int:
        """Return a word's number; the same word may stand before other white space."""
        number = self._word_number.setdefault(word, len(self.raw) + len(new))
        if number == len(self.raw) + len(new):
            new.append(word)
        return number

    def _learn(self, new: list[str]) -> None:
        forms, numbers = self._normal_number, list[int]()
        fresh: list[str] = []
        for word in new:
            form = normal(word)
            number = forms.get(form, -1) if form else -1
            if form and number < 0:
                number = forms[form] = len(self.normals) + len(fresh)
                fresh.append(form)
            numbers.append(number)
        self.raw += new
        self._characters += sum(map(len, new))
        self.normals += fresh
        self.normal_of = np.concatenate([self.normal_of, np.array(numbers, dtype=np.int32)])
        self.normal_hash = np.concatenate([self.normal_hash, text_hashes(fresh)])
        self.marks = self.marks.and_of(marks_of(new))

    def normal_words(self, words: Words) -> Words:
        """Return the words by the numbers of their normal forms, those left out that have none."""
        forms = self.normal_of[words.ids]
        kept = forms >= 0
        if kept.all():
            return Words(words.first, forms)
        before = np.concatenate([[0], np.cumsum(kept)])
        return Words(before[words.first], forms[kept])


def _bytes(texts: pa.LargeStringArray) -> tuple[np.ndarray, np.ndarray]:
    """Return the bytes of all texts, and (N+1,) where each begins."""
    _, offsets, payload = texts.buffers()
    bounds = (
        np.frombuffer(offsets, dtype=np.int64)[texts.offset : texts.offset + len(texts) + 1]
        if len(texts)
        else np.zeros(1, np.int64)
    )
    data = np.frombuffer(payload, dtype=np.uint8)[bounds[0] : bounds[-1]] if payload is not None else np.zeros(0, np.uint8)
    return data, bounds - bounds[0]


_IS_SPACE = np.zeros(256, dtype=bool)
_IS_SPACE[list(ASCII_SPACES)] = True


def _spaces(payload: np.ndarray) -> np.ndarray:
    """Return which bytes are of white space."""
    space: np.ndarray = _IS_SPACE[payload]
    if len(payload) == 0 or payload.max() < 0x80:
        return space
    for wide in WIDE_SPACES:
        places = np.flatnonzero(payload[: len(payload) - len(wide) + 1] == wide[0])
        for step in range(1, len(wide)):
            places = places[payload[places + step] == wide[step]]
        for step in range(len(wide)):
            space[places + step] = True
    return space


def _starts(payload: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Return where words begin: bytes that are no space, after a space or at the beginning of a text."""
    space = _spaces(payload)
    begins = ~space
    begins[1:] &= space[:-1]
    at_text = offsets[:-1][np.diff(offsets) > 0]
    begins[at_text] = ~space[at_text]
    found: np.ndarray = np.flatnonzero(begins)
    return found


def _encode(payload: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, list[bytes]]:
    """Return (M,) codes of the words and the distinct words by code; white space after a word is still at its end."""
    import pyarrow as pa

    if len(starts) == 0:
        return np.zeros(0, dtype=np.int32), []
    bounds = np.append(starts, len(payload)).astype(np.int64)
    buffers = [None, pa.py_buffer(bounds), pa.py_buffer(payload)]
    found = pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(starts), buffers).dictionary_encode()
    return found.indices.to_numpy(), found.dictionary.to_pylist()
