"""Words to tokens: what captions of scenes are made of, in our own spellings and in those that people use."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from recap_eval.data.scenes.world import CENTRE, COLOURS, GROUNDS, SHAPES, SIZES, TEXTURES

# A thing may be told to be white and a background to be red: understood, and never true.
TOLD_COLOURS = COLOURS + GROUNDS
TOLD_GROUNDS = GROUNDS + COLOURS

SPELLINGS = {
    "grey": "gray", "violet": "purple",
    "disc": "circle", "disk": "circle", "rhombus": "diamond", "plus sign": "cross",
    "tiny": "small", "little": "small", "big": "large", "huge": "large", "medium-sized": "medium", "mid-sized": "medium",
    "solid": "plain", "uniform": "plain", "stripes": "striped", "stripy": "striped", "checked": "checkered",
    "chequered": "checkered", "checkerboard": "checkered", "checks": "checkered", "dots": "dotted", "polka dot": "dotted",
    "polka dots": "dotted", "polka-dotted": "dotted", "spotted": "dotted",
}  # fmt: skip
PLURALS = {"crosses": "cross", "rhombi": "diamond", "rhombuses": "diamond"} | {f"{shape}s": shape for shape in SHAPES[:5]}
PLURALS |= {"rings": "ring", "crescents": "crescent", "discs": "circle", "disks": "circle"}
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
SIDES = {
    "top": (0, 1), "upper": (0, 1), "bottom": (2, 3), "lower": (2, 3), "left": (0, 2), "right": (1, 3),
    "left-hand": (0, 2), "right-hand": (1, 3), "middle": (CENTRE,),
} | dict.fromkeys(("centre", "center", "centred", "centered", "central"), (CENTRE,))  # fmt: skip
RELATIONS = {
    "left": ("to the left of", "on the left of", "on the left side of", "left of"),
    "right": ("to the right of", "on the right of", "on the right side of", "right of"),
    "above": ("above", "on top of", "over"),
    "below": ("below", "under", "underneath", "beneath"),
}
OBJECTS = ("object", "shape", "thing", "figure", "item", "element")
WORDS = {
    "object": OBJECTS,
    "objects": tuple(f"{name}s" for name in OBJECTS),
    "ground": ("background", "backdrop"),
    "frame": (
        "image", "picture", "photo", "photograph", "scene", "frame", "canvas", "drawing", "illustration", "clipart", "clip art",
    ),
    "a": ("a", "an"),
    "the": ("the", "this", "these", "those"),
    "other": ("other", "another", "more", "additional", "second", "third", "fourth", "else"),
    "group": ("both", "all", "each"),
    "copula": ("is", "are", "was", "were", "being"),
    "on": ("on", "against", "upon", "onto"),
    "at": ("at", "in", "near", "towards", "toward"),
    "join": ("and", "with", "next to", "beside", "along with", "accompanied by", "as well as", "plus", "or"),
    "not": ("not", "isn't", "aren't", "never", "neither", "nor", "except"),
    "pronoun": ("it", "its", "they", "them"),
    "filler": (
        "there", "here", "shows", "show", "showing", "shown", "features", "feature", "featuring", "depicts", "depicting",
        "contains", "containing", "we", "can", "see", "seen", "of", "located", "placed", "positioned", "standing", "stands",
        "sits", "set", "everything", "that", "which", "has", "have", "having", "to", "by", "for", "as",
    ),
    "modifier": ("very", "light", "dark", "bright", "sized", "shaped", "coloured", "colored", "colour", "color", "main"),
    "part": ("corner", "quadrant", "side", "half", "part", "area", "edge"),
}  # fmt: skip
WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*|[.;!?\n,:()]")
MARKS = {",": "comma", ":": "comma", "(": "comma", ")": "comma"}  # the others end a sentence
LONGEST = 5  # words of a phrase


@dataclass(frozen=True)
class Token:
    """A word or a phrase.

    Args:
        kind: What it is: "colour", "shape", "size", "texture", "number", "side", "relation", a key of `WORDS`, "comma",
            "stop", or "unknown".
        value: An index, a number, places or the name of a relation.
        plural: A noun in the plural.
        words: How many words it has.
    """

    kind: str
    value: Any = None
    plural: bool = False
    words: int = 1


def _entries() -> Iterator[tuple[str, Token]]:
    kinds = {"colour": TOLD_COLOURS, "shape": SHAPES, "size": SIZES, "texture": TEXTURES}
    known = {name: Token(kind, index) for kind, names in kinds.items() for index, name in enumerate(names)}
    yield from known.items()
    yield from ((spelling, known[name]) for spelling, name in SPELLINGS.items())
    yield from ((plural, Token("shape", known[name].value, True)) for plural, name in PLURALS.items())
    yield from ((name, Token("number", number)) for number, name in enumerate(NUMBERS))
    yield from (("zero", Token("number", 0)), ("single", Token("number", 1)), ("only", Token("only")))
    yield from (("without", Token("number", 0)), ("without a", Token("number", 0)), ("without any", Token("number", 0)))
    yield from ((name, Token("side", places)) for name, places in SIDES.items())
    yield from ((phrase, Token("relation", name)) for name, phrases in RELATIONS.items() for phrase in phrases)
    yield from ((phrase, Token(kind)) for kind, phrases in WORDS.items() for phrase in phrases)


@cache
def _phrases() -> dict[tuple[str, ...], Token]:
    """Return the tokens by their words; hyphens are spaces."""
    found = {}
    for phrase, token in _entries():
        words = tuple(phrase.replace("-", " ").split())
        found[words] = Token(token.kind, token.value, token.plural, len(words))
    return found


def tokens(text: str) -> list[Token]:
    """Return the tokens of a text, the longest phrase first at every place; case and hyphens do not matter.

    Linear in the length of the text. Whole numbers are understood up to ten.
    """
    words = WORD.findall(text.lower().replace("’", "'"))
    phrases, found, place = _phrases(), [], 0
    while place < len(words):
        known = (phrases.get(tuple(words[place : place + n])) for n in range(LONGEST, 0, -1))
        token = _mark(words[place]) or next(filter(None, known), None) or _other(words[place])
        found.append(token)
        place += token.words
    return _in_context(found)


def _mark(word: str) -> Token | None:
    return Token(MARKS.get(word, "stop"), words=1) if not word[0].isalnum() else None


def _other(word: str) -> Token:
    small = word.isdecimal() and len(word) <= 2 and int(word) < len(NUMBERS)
    return Token("number", int(word)) if small else Token("unknown")


def _in_context(found: list[Token]) -> list[Token]:
    """Tell relations from places: "left of the picture" is a place, and so is what follows "top"."""
    for at, token in enumerate(found):
        if token.kind != "relation":
            continue
        after = next((later for later in found[at + 1 : at + 3] if later.kind != "the"), None)
        of_frame = after is not None and after.kind == "frame"
        corner = at > 0 and found[at - 1].kind == "side" and token.words == 2
        if of_frame or corner:
            places = SIDES.get(token.value)
            found[at] = Token("corner" if places else "filler", places, words=token.words)
    return found
