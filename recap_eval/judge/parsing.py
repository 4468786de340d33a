"""How a judge's answers are read: strictly. What is not plainly an answer of the declared form is no number.

A rating is a whole number from 1 to 5 in ASCII digits, said once: as "Rating: 4", as "4" alone, as "4/5" or "4 out of 5", or as
JSON with the one key "rating". Two different ratings, a fraction, another range or another scale are unparsable. A grade is a
number from 0 to 1 that stands alone or first, before words without a digit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from recap_eval.endpoint.reply import Reply

RATED, UNPARSABLE, REFUSED = "rated", "unparsable", "refused"
SCALE = r"(?:\s*(?:/|out of)\s*5)?"
ALONE = re.compile(rf"(?:rating\s*[:=]?\s*)?\(?([1-5])\)?{SCALE}\s*[.!]?", re.IGNORECASE | re.ASCII)
STATED = re.compile(r"\brating\s*[:=]\s*([^\n]*)", re.IGNORECASE | re.ASCII)
VALUE = re.compile(
    rf"\(?([1-5])\)?{SCALE}(?:(?![\w./-])(?!\s*(?:or|to|and)\b)|\.(?!\d))[^0-9]*", re.IGNORECASE | re.ASCII
)  # fmt: skip
OUT_OF = re.compile(r"(?<![\w./-])([1-5])\s*(?:/|out of)\s*5(?![\w/]|\.\d)", re.IGNORECASE | re.ASCII)
DIGITS = re.compile(r"\d")  # of any script
CHOICE = re.compile(r"(?:(?:caption|answer|preference|winner)\s*:?\s*)?\(?(A|B|tie)\)?\s*[.!]?", re.IGNORECASE | re.ASCII)
GRADE = re.compile(
    r"(?:correctness\s*[:=|]?\s*)?(0(?:\.\d{1,2})?|1(?:\.0{1,2})?)(?![\w/%-]|[.,]\d)(?:\W*|[,.;]?\s\D*)",
    re.IGNORECASE | re.ASCII,
)
CLAIM = re.compile(r"\s*([0-9]{1,4})\s*[:.)-]\s*(yes|no)\s*[.!]?\s*", re.IGNORECASE | re.ASCII)
REFUSALS = re.compile(
    r"^\W*(i'?m sorry|i am sorry|sorry\b|i apologi[sz]e|i can'?t|i cannot|i'?m (not able|unable)|i am (not able|unable)|"
    r"as an ai\b|unfortunately,? i|i won'?t|i will not|i must decline)",
    re.IGNORECASE,
)
PLACES = {"a": 1.0, "b": 0.0, "tie": 0.5}
DRESS = "*_`\"' \t\r\n"


@dataclass(frozen=True)
class Verdict:
    """What an answer says.

    Args:
        status: `RATED`, `UNPARSABLE` or `REFUSED`.
        value: The figure, if it is rated.
        why: Otherwise what is wrong with it.
    """

    status: str
    value: float | None = None
    why: str = ""


@dataclass(frozen=True)
class Parser:
    """A form of answers.

    Args:
        read: Returns the figure of an answer and a number of claims, or raises `ValueError` saying why there is none.
        fields: The fields of templates that ask for this form.
        low: The least figure.
        high: The greatest.
        version: Raised whenever an answer would be read otherwise.
    """

    read: Callable[[str, int], float]
    fields: tuple[str, ...]
    low: float
    high: float
    version: int = 1


def read_rating(answer: str, claims: int = 0) -> float:
    """Return a rating from 1 to 5.

    Raises:
        ValueError: There is none, or more than one.
    """
    text = answer.strip(DRESS)
    if (inner := _json(text)) is not None:
        return _json_rating(inner)
    plain = re.sub(r"[*_`]", "", text)
    if found := ALONE.fullmatch(plain):
        return float(found[1])
    stated = [VALUE.fullmatch(one.strip(DRESS)) for one in STATED.findall(plain)]
    if stated:
        values = {found and found[1] for found in stated}
        value = values.pop()
        if values or value is None:
            raise ValueError("what follows 'Rating:' is not one whole number from 1 to 5")
        return float(value)
    scaled = OUT_OF.findall(plain)
    if len(scaled) == 1 and not DIGITS.search(OUT_OF.sub("", plain)):
        return float(scaled[0])
    raise ValueError("it holds no rating" if not DIGITS.search(plain) else "its numbers are not one rating from 1 to 5")


def _json(text: str) -> dict[str, Any] | None:
    fenced = re.fullmatch(r"(?:json)?\s*(\{.*\})", text, re.DOTALL)
    if fenced is None:
        return None

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) != len(pairs):
            raise ValueError("its JSON names a key twice")
        return dict(pairs)

    try:
        found: dict[str, Any] = json.loads(fenced[1], object_pairs_hook=once)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError("its JSON is broken") from error
    return found


def _json_rating(found: dict[str, Any]) -> float:
    value = {key.lower(): value for key, value in found.items()}.get("rating")
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 5:
        return float(value)
    raise ValueError("its JSON has no whole number from 1 to 5 as 'rating'")


def read_preference(answer: str, claims: int = 0) -> float:
    """Return 1 if the first caption is preferred, 0 if the second is, a half for a tie.

    Raises:
        ValueError: The answer is something else.
    """
    if found := CHOICE.fullmatch(answer.strip(DRESS)):
        return PLACES[found[1].lower()]
    raise ValueError("it is not A, B or tie")


def read_claims(answer: str, claims: int) -> float:
    """Return the share of claims that are true.

    Raises:
        ValueError: Not every claim has its line, or a line is something else.
    """
    if claims == 0:
        raise ValueError("the caption makes no claim")
    lines = [CLAIM.fullmatch(line) for line in answer.strip(DRESS).splitlines() if line.strip()]
    if [found and int(found[1]) for found in lines] != list(range(1, claims + 1)):
        raise ValueError(f"it is not {claims} lines of yes or no, numbered from 1")
    agreed: int = sum(found[2].lower() == "yes" for found in lines if found)
    return agreed / claims


def read_grade(answer: str, claims: int = 0) -> float:
    """Return a grade from 0 to 1.

    Raises:
        ValueError: The answer is something else.
    """
    if found := GRADE.fullmatch(answer.strip(DRESS + "|")):
        return float(found[1])
    raise ValueError("it is not a number from 0 to 1")


PARSERS = {
    "grade": Parser(read_grade, ("answer", "prediction", "question"), 0, 1),
    "rating": Parser(read_rating, ("caption",), 1, 5),
    "preference": Parser(read_preference, ("caption_a", "caption_b"), 0, 1),
    "claims": Parser(read_claims, ("claims",), 0, 1),
}


def judge_reply(reply: Reply, parser: str, claims: int = 0) -> Verdict:
    """Read an answer; one that the model, a filter or its own words refuse is a refusal, never a number.

    Args:
        reply: The answer.
        parser: The form it should have.
        claims: How many claims were asked about.
    """
    if reply.refusal is not None or reply.finish_reason == "content_filter":
        return Verdict(REFUSED, why=(reply.refusal or "content filter")[:200])
    text, cut = reply.text, reply.finish_reason == "length"
    if cut:  # the last line may lack its end, and with it a digit
        text = text.rpartition("\n")[0]
    try:
        return Verdict(RATED, PARSERS[parser].read(text, claims))
    except ValueError as error:
        if REFUSALS.match(reply.text.replace("’", "'")):
            return Verdict(REFUSED, why="it declines in words")
        return Verdict(UNPARSABLE, why=f"{error}{' (cut at the most tokens allowed)' if cut else ''}")
