"""The flags of many captions at once, equal to `flags` caption by caption.

What is additive over words is summed. For the rest, marks of single words and hashes of 4-grams say which captions may have a
flag, never too few of them, and the definition decides on those. So both forms agree by construction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from recap_eval.captions import flags
from recap_eval.captions.marks import ASK_ECHO, ASK_IMAGES, ASK_ORDINAL, ASK_REFUSAL, BROKEN, WHOLE_END
from recap_eval.captions.words import Lexicon, Words, normal_words

if TYPE_CHECKING:
    import pyarrow as pa

FACTORS = tuple(
    np.uint64(factor) for factor in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93)
)


@dataclass(frozen=True)
class Captions:
    """N captions with what flags look at.

    Args:
        texts: (N,) the captions, none of them null.
        words: Their words.
        lexicon: Where the words have their numbers.
        originals: (N,) the alt-texts they are to replace, null where there is none; or None.
        cut: (N,) whether the limit of tokens cut them; or None.
    """

    texts: pa.LargeStringArray
    words: Words
    lexicon: Lexicon = field(repr=False)
    originals: pa.LargeStringArray | None = None
    cut: np.ndarray | None = None


def find(captions: Captions) -> dict[str, np.ndarray]:
    """Return (N,) whether each caption has it, by name of the flag; without originals there is no "copied"."""
    words, marks = captions.words, captions.lexicon.marks
    there = words.any(marks.bits)
    found = {name: _decided(captions, flags.BY_TEXT[name], may(there)) for name, may in MAY_HAVE.items()}
    found["mojibake"] = (there & BROKEN) > 0
    found["repetition"] = _repetition(captions)
    found["unfinished"] = _unfinished(captions, marks.bits)
    found["non_english"] = _non_english(captions)
    found["too_short"] = words.lengths < flags.FEW_WORDS
    if captions.originals is not None:
        found["copied"] = _copied(captions, captions.originals)
    return {name: found[name] for name in flags.NAMES if name in found}


MAY_HAVE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "refusal": lambda bits: (bits & ASK_REFUSAL) > 0,
    "prompt_echo": lambda bits: (bits & ASK_ECHO) > 0,
    "multi_image": lambda bits: ((bits & ASK_IMAGES) > 0) & ((bits & ASK_ORDINAL) > 0),
}


def _decided(captions: Captions, test: Callable[[str], bool], maybe: np.ndarray) -> np.ndarray:
    """Ask the definition about the captions that may have a flag."""
    out = np.zeros(len(maybe), dtype=bool)
    places = np.flatnonzero(maybe)
    texts = captions.texts.take(places).to_pylist()
    out[places] = [test(flags.SPACES.sub(" ", text)) for text in texts]
    return out


def _unfinished(captions: Captions, bits: np.ndarray) -> np.ndarray:
    words = captions.words
    out = np.zeros(len(captions.texts), dtype=bool)
    some = np.flatnonzero(words.lengths)
    out[some] = (bits[words.ids[words.first[some + 1] - 1]] & WHOLE_END) == 0
    return out if captions.cut is None else out | captions.cut


def _non_english(captions: Captions) -> np.ndarray:
    words, marks = captions.words, captions.lexicon.marks
    english, foreign = words.sums(marks.english), words.sums(marks.foreign)
    letters, other = words.sums(marks.letters), words.sums(marks.other)
    return (2 * other > letters) | ((foreign >= flags.FOREIGN) & (foreign > flags.ENGLISH_WEIGHT * english))


def _repetition(captions: Captions) -> np.ndarray:
    payloads = captions.texts.cast("large_binary").to_pylist()
    out = np.array([flags.compresses(payload) for payload in payloads], dtype=bool)
    maybe = repeating(captions.lexicon.normal_words(captions.words))
    for place in np.flatnonzero(maybe & ~out):
        out[place] = flags.repetitive(normal_words(payloads[place].decode()), "")
    return out


def repeating(words: Words) -> np.ndarray:
    """Return (N,) whether a 4-gram comes twice in a text, or a word three times in a row; now and then True by a collision."""
    ids, out = words.ids, np.zeros(len(words.first) - 1, dtype=bool)
    row = np.repeat(np.arange(len(out), dtype=np.uint64), words.lengths)
    if len(ids) >= flags.TIMES:
        thrice = (ids[:-2] == ids[1:-1]) & (ids[1:-1] == ids[2:]) & (row[:-2] == row[2:])
        out[row[:-2][thrice]] = True
    if len(ids) >= flags.GRAM:
        keys = np.sort(_gram_keys(ids, row))
        out[keys[1:][keys[1:] == keys[:-1]] >> np.uint64(40)] = True
    return out


def _gram_keys(ids: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Return row and hash in one integer, for each 4-gram that lies within one text."""
    count = len(ids) - flags.GRAM + 1
    mixed = np.zeros(count, dtype=np.uint64)
    for step, factor in enumerate(FACTORS):
        mixed ^= (ids[step : step + count].astype(np.uint64) + np.uint64(1)) * factor
        mixed ^= mixed >> np.uint64(29)
        mixed *= FACTORS[1]
    inside = row[:count] == row[flags.GRAM - 1 :]
    keys: np.ndarray = (row[:count][inside] << np.uint64(40)) | (mixed[inside] >> np.uint64(24))
    return keys


def _copied(captions: Captions, originals: pa.LargeStringArray) -> np.ndarray:
    """Ask the definition where the caption has the original's first word and is not shorter."""
    lexicon = captions.lexicon
    ours = lexicon.normal_words(captions.words)
    theirs = lexicon.normal_words(lexicon.split(originals.fill_null("")))
    ours_of, out = ours.ids.astype(np.int32), np.zeros(len(captions.texts), dtype=bool)
    places = np.flatnonzero((theirs.lengths > 0) & (theirs.lengths <= ours.lengths))
    for place in places:
        mine = ours_of[ours.first[place] : ours.first[place + 1]].tobytes()
        out[place] = theirs.ids[theirs.first[place] : theirs.first[place + 1]].astype(np.int32).tobytes() in mine
    for place in np.flatnonzero(out):
        pair = captions.texts[place].as_py(), originals[place].as_py()
        out[place] = flags.copied(*(normal_words(text) for text in pair))
    return out
