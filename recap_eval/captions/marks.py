"""What of a single word tells on the text it stands in; found once for each distinct word."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recap_eval.captions.languages import ENGLISH, LATIN_END, foreign

WHOLE_END, BROKEN = 1, 2  # ends a sentence; holds remains of a wrong encoding
ASK_REFUSAL, ASK_ECHO, ASK_IMAGES, ASK_ORDINAL = 4, 8, 16, 32  # a text without such a word cannot have the flag
ODD = 64  # what it becomes may depend on the text around it, when tokenizers mend texts

END = re.compile(r"[.!?…。！？؟।]['\"”’»)\]}*]*$")
MOJIBAKE = re.compile(
    "\ufffd|\\\\x[89a-fA-F][0-9a-fA-F]|[ÃÂ][\x80-\x84\x86-\x9f\xa1-\xbf]|Ã[‚ƒ„†‡ˆ‰Š‹ŒŽ•˜™š›œžŸ]|â(?:€|\x80)|ï»¿"
)  # a replaced character; bytes spelled out; UTF-8 read as Latin-1 or as Windows-1252
ANCHORS = {
    ASK_REFUSAL: re.compile(r"sorry|unable|not|n['’]t|\bai\b|language|apolog|provided|attached|given|available", re.ASCII),
    ASK_ECHO: re.compile(r"generate|describe|descriptive|caption|user|assistant|human|inst|please|<", re.ASCII),
    ASK_IMAGES: re.compile(r"image|picture|photo"),
    ASK_ORDINAL: re.compile(r"first|second|third|fourth|fifth|1st|2nd|3rd|4th|5th|both|two|three|four|next|last"),
}
PLAIN_TAIL = 64  # characters of a word's end that say whether a sentence ends with it
LATIN_MORE = range(0x1E00, 0x1F00)


@dataclass(frozen=True)
class Marks:
    """The marks of W words.

    Args:
        bits: (W,) uint8 of WHOLE_END, BROKEN, ASK_…, ODD.
        english: (W,) 1 for an English function word.
        foreign: (W,) how much each tells that its text is not English.
        letters: (W,) letters.
        other: (W,) letters that are not Latin.
    """

    bits: np.ndarray
    english: np.ndarray
    foreign: np.ndarray
    letters: np.ndarray
    other: np.ndarray

    @staticmethod
    def none() -> Marks:
        """Return the marks of no words."""
        return marks_of([])

    def and_of(self, more: Marks) -> Marks:
        """Return these marks, then those of more words."""
        pairs = ((getattr(self, name), getattr(more, name)) for name in ("bits", "english", "foreign", "letters", "other"))
        return Marks(*(np.concatenate(pair) for pair in pairs))


def marks_of(words: Sequence[str]) -> Marks:
    """Return the marks of words as they stand in a text."""
    rows = np.array([_mark(word) for word in words], dtype=np.int32).reshape(-1, 5)
    return Marks(rows[:, 0].astype(np.uint8), *(rows[:, column] for column in range(1, 5)))


def _mark(word: str) -> tuple[int, int, int, int, int]:
    lowered = word.lower()
    bits = sum(bit for bit, anchor in ANCHORS.items() if anchor.search(lowered))
    bits |= WHOLE_END if END.search(word[-PLAIN_TAIL:]) else 0
    bits |= BROKEN if MOJIBAKE.search(word) else 0
    bits |= 0 if word.isprintable() and "&" not in word else ODD
    letters, other = letters_of(word)
    bare = lowered.strip(".,;:!?\"'()[]«»“”‘’¿¡…")
    return bits, int(bare in ENGLISH), foreign(bare), letters, other


def letters_of(text: str) -> tuple[int, int]:
    """Return how many letters a text has, and how many of them are not Latin."""
    if text.isascii():
        return (len(text), 0) if text.isalpha() else (sum(map(str.isalpha, text)), 0)
    codes = [ord(letter) for letter in text if letter.isalpha()]
    return len(codes), sum(code >= LATIN_END and code not in LATIN_MORE for code in codes)
