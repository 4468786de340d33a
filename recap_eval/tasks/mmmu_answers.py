"""How answers to MMMU's questions are read: as the authors' evaluation reads them, quirks included.

Follows github.com/MMMU-Benchmark/MMMU at bb0b95a945998d91dfef37e969e07d49d1139438, mmmu/utils/eval_utils.py
(`parse_multi_choice_response`, `parse_open_response`, `eval_open`), whose outcomes on a table of answers are in the tests. One
thing differs: an answer that names no option is None here, and wrong; the authors' code draws an option at random.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

ENDS = (",", ".", "!", "?", ";", ":", "'")  # taken off both ends, one kind after the other
CONTENT_FROM = 6  # words an answer has at least whose options are looked for by their content
INDICATORS = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
TRIVIAL = (":", ",", ".", "!", "?", ";", "'")
WITH_COMMAS = re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b")
SCIENTIFIC = re.compile(r"-?\d+(?:\.\d+)?[eE][+-]?\d+")
SIMPLE = re.compile(r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])")
Norm = str | float


def read_choice(answer: str, options: Sequence[str]) -> str | None:
    """Return the letter of the option that an answer names; None if it names none.

    "(B)" anywhere comes first, then " B " between spaces, then, in answers of more than five words, an option's words; of
    several that are named so, the one whose last occurrence is last.
    """
    text = answer
    for end in ENDS:
        text = text.strip(end)
    text = f" {text} "
    letters = [chr(ord("A") + number) for number in range(len(options))]
    marks: list[Callable[[str], str]] = [lambda letter: f"({letter})", lambda letter: f" {letter} "]
    for mark in marks:
        if found := [letter for letter in letters if mark(letter) in text]:
            return max(found, key=lambda letter: text.rfind(mark(letter)))
    return _by_content(text, dict(zip(letters, options, strict=True)))


def _by_content(text: str, options: dict[str, str]) -> str | None:
    if len(text.split()) < CONTENT_FROM:
        return None
    low = text.lower()
    found = [letter for letter, option in options.items() if option.lower() in low]
    return max(found, key=lambda letter: low.rfind(options[letter].lower())) if found else None


def is_right(answer: str, right: Sequence[str]) -> bool:
    """Return whether an open answer holds a right one: a number equal to two decimals, or its words within a key phrase."""
    norms = [norm for one in right for norm in _normal(one)]
    words = [norm for norm in norms if isinstance(norm, str)]
    return any(any(one in said for one in words) if isinstance(said, str) else said in norms for said in read_open(answer))


def read_open(answer: str) -> list[Norm]:
    """Return what an open answer may say: its key phrases and the numbers in them, in normal form."""
    phrases = _key_phrases(answer)
    numbers = [number for phrase in phrases for number in _numbers(phrase)]
    return list(dict.fromkeys(norm for text in [*phrases, *numbers] for norm in _normal(text)))


def _key_phrases(answer: str) -> list[str]:
    """Return the shortest tail behind a word such as "is", line by line; the whole answer if there is none."""
    whole = answer.strip().strip(".").lower()
    lines = whole.split("\n")
    found: list[str] = []
    for number, line in enumerate(lines):
        indicators = (*INDICATORS, "=") if number == len(lines) - 1 else INDICATORS
        tails = [line.split(indicator)[-1].strip() for indicator in indicators if indicator in line]
        tail = _shortest(tails)
        found += [tail] if tail and tail not in TRIVIAL else []
    return found or [whole]


def _shortest(tails: Sequence[str]) -> str:
    """Return the shortest, the first of equals; an empty one gives way to whatever comes after it."""
    kept = ""
    for tail in tails:
        if not kept or len(tail) < len(kept):
            kept = tail
    return kept


def _numbers(text: str) -> list[str]:
    return [*WITH_COMMAS.findall(text), *SCIENTIFIC.findall(text), *SIMPLE.findall(text)]


def _normal(text: str) -> list[Norm]:
    """Return a text's normal forms: a number rounded to two decimals, or lower case; a single letter with a space beside it."""
    plain = text.strip()
    try:
        return [round(float(plain.replace(",", "")), 2)]
    except ValueError:
        low = plain.lower()
        return [f" {low}", f"{low} "] if len(low) == 1 else [low]
