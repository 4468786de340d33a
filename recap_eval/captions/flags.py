"""What is wrong with a caption, by its text alone: names of flags, each defined in one short function.

`flags` is the definition; `flag_arrays.find` gives the same answers for many captions at once.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence

from recap_eval.captions.marks import END, MOJIBAKE, PLAIN_TAIL, letters_of, marks_of
from recap_eval.captions.words import normal_words

VERSION = 1  # raised whenever the same caption would get other flags

GRAM, REPEATED_SHARE, TIMES = 4, 0.2, 3  # words of an n-gram; share of them that repeat others; times in a row
LONGEST_PERIOD = 16  # words of a phrase that comes several times in a row
ZLIB_RATIO, ZLIB_LEVEL = 3.0, 6
SHORTEST_ZLIB = 28  # bytes: what is compressed has 9 at least, so shorter texts cannot reach the ratio
FEW_WORDS = 3
FOREIGN, ENGLISH_WEIGHT = 3, 3  # what words tell, together; what an English function word tells against it
COPIED_WORDS = 3
COPIED = "copied"
CUT = "length"  # finish_reason of a caption that ran into the limit of tokens

_SEE = "see|view|assist|provide|help|describe|generate|process|access|identify|analy[sz]e|comply|fulfil+|determine|caption"
REFUSAL = re.compile(
    r"\bi(?:['’]?m| am) (?:sorry|unable|not able)\b"
    rf"|\bi (?:can(?:['’]?t|not| not)|could(?:n['’]t| not)|do(?:n['’]t| not)) (?:{_SEE})\b"
    r"|\bas an ai\b|\b(?:ai|language) (?:language )?(?:model|assistant)\b|\bmy apologies\b|\bi apologi[sz]e\b|^\W*sorry,? "
    r"|\b(?:no|without an?) (?:image|picture|photo) (?:was |is |has been )?(?:provided|attached|given|available)"
    rf"|\bunable to (?:{_SEE})\b",
    re.IGNORECASE | re.ASCII,
)
ECHO = re.compile(
    r"(?i:\bplease (?:generate|describe|provide|write)\b|\bbe as descriptive as possible)"
    r"|(?i:^\W*(?:describe|generate) (?:this|the|a|an)\b.{0,20}\b(?:image|caption|photo|picture))"
    r"|\b(?:USER|ASSISTANT|Human|Assistant|User): |<image>|<\|[a-z_]+\|>|</?s>|\[/?INST\]",
    re.ASCII | re.DOTALL,
)
IMAGES = re.compile(
    r"\b(?:first|second|third|fourth|fifth|1st|2nd|3rd|4th|5th|next|last) (?:image|picture|photo(?:graph)?)\b"
    r"|\b(?:both|the two|the three|the four) (?:images|pictures|photos|photographs)\b",
    re.IGNORECASE | re.ASCII,
)
SPACES = re.compile(r"\s+")


def flags(caption: str, original: str | None = None, finish_reason: str | None = None) -> tuple[str, ...]:
    """Return the names of what is wrong with a caption, in the order of `NAMES`.

    Args:
        caption: The caption.
        original: The alt-text that it is to replace, if there is one.
        finish_reason: Why its model stopped, if known: "length" says that it was cut.
    """
    words = normal_words(caption)
    flat = SPACES.sub(" ", caption)
    found = [name for name, test in BY_TEXT.items() if test(flat)]
    found += ["repetition"] if repetitive(words, caption) else []
    found += ["unfinished"] if finish_reason == CUT or unfinished(caption) else []
    found += ["too_short"] if len(caption.split()) < FEW_WORDS else []
    found += ["copied"] if original is not None and copied(words, normal_words(original)) else []
    return tuple(name for name in NAMES if name in found)


def repetitive(words: Sequence[str], text: str) -> bool:
    """Return whether a text repeats 4-grams, or a phrase three times in a row, or compresses more than threefold."""
    return repeated_share(words) > REPEATED_SHARE or in_a_row(words) >= TIMES or compresses(text.encode("utf-8", "replace"))


def repeated_share(words: Sequence[str], n: int = GRAM) -> float:
    """Return the share of the n-grams that were there before; 0 if there is none."""
    grams = [tuple(words[place : place + n]) for place in range(len(words) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def in_a_row(words: Sequence[str]) -> int:
    """Return how often a phrase of at most 16 words comes at once one after the other, at most 3; 1 for an ordinary text."""
    most = 1
    for period in range(1, min(LONGEST_PERIOD, len(words) // 2) + 1):
        run = 0
        for place in range(len(words) - period):
            run = run + 1 if words[place] == words[place + period] else 0
            most = max(most, 1 + run // period)
            if most >= TIMES:
                return TIMES
    return most


def compresses(payload: bytes) -> bool:
    """Return whether zlib makes a text's bytes more than three times smaller."""
    return len(payload) >= SHORTEST_ZLIB and len(payload) > ZLIB_RATIO * len(zlib.compress(payload, ZLIB_LEVEL))


def unfinished(text: str) -> bool:
    """Return whether a text ends otherwise than a sentence does."""
    words = text.rsplit(maxsplit=1)
    return bool(words) and END.search(words[-1][-PLAIN_TAIL:]) is None


def non_english(text: str) -> bool:
    """Return whether most letters are not Latin, or words tell of another language more than of English (`languages`)."""
    letters, other = letters_of(text)
    found = marks_of(text.split())
    english, foreign = int(found.english.sum()), int(found.foreign.sum())
    return 2 * other > letters or (foreign >= FOREIGN and foreign > ENGLISH_WEIGHT * english)


def copied(words: Sequence[str], original: Sequence[str]) -> bool:
    """Return whether a caption is its original, or has all of it, three words at least, in one piece; by normal forms."""
    if not original or len(original) > len(words):
        return False
    if len(original) < COPIED_WORDS:
        return list(words) == list(original)
    return f" {' '.join(original)} " in f" {' '.join(words)} "


BY_TEXT: dict[str, Callable[[str], bool]] = {
    "refusal": lambda text: REFUSAL.search(text) is not None,
    "prompt_echo": lambda text: ECHO.search(text) is not None,
    "multi_image": lambda text: IMAGES.search(text) is not None,
    "non_english": non_english,
    "mojibake": lambda text: MOJIBAKE.search(text) is not None,
}
NAMES = (
    "repetition", "unfinished", "refusal", "prompt_echo", "multi_image", "non_english", "copied", "too_short", "mojibake",
)  # fmt: skip
