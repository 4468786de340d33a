"""What a caption of a scene claims: things with colour, shape, size and place, relations, counts, background.

`claims` reads our own languages (`language.py`) and free variants of them. It reads phrases from left to right in one pass:
adjectives are gathered until their noun comes. What it does not understand is counted, and nothing is guessed: an adjective
without its noun, an ambiguous reference, a pronoun that may mean two things are no claims.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from recap_eval.data.scenes.lexicon import Token, tokens
from recap_eval.data.scenes.told import Claims, Count, Mention, Relation
from recap_eval.data.scenes.world import COLOURS

VERSION = 1  # raised whenever the same text would give other claims
MOST_MENTIONS, MOST_RELATIONS = 32, 32  # of a text; what a text tells beyond is not understood
GROUND = "ground"


def claims(text: str) -> Claims:
    """Return what a text claims of a scene.

    Linear in the length of the text; at most 32 mentions and 32 relations are read. Of "two red circles" both are claimed,
    and that there are exactly two. A definite noun phrase ("the circle") or one without any article in a later sentence means
    the thing that was mentioned before, if there is one such.
    """
    reader, found = _Reader(), tokens(text)
    for token, after in zip(found, [*found, Token("stop")][1:], strict=True):
        reader.read(token, after.kind)
    reader.read(Token("stop"), "stop")
    return reader.claims(sum(token.words for token in found if token.kind not in ("stop", "comma")))


@dataclass
class _Phrase:
    """A noun phrase whose noun has not come yet."""

    colours: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    textures: list[int] = field(default_factory=list)
    number: int | None = None
    article: str = ""  # "a", "the", "other", "group" or nothing
    only: bool = False
    strange: bool = False  # a word that is not understood stands in it
    on: bool = False  # "on", "against" before it

    @property
    def adjectives(self) -> int:
        return len(self.colours) + len(self.sizes) + len(self.textures)

    @property
    def described(self) -> Mention:
        return Mention(colour=next(iter(self.colours), None), size=next(iter(self.sizes), None))

    @property
    def contradicts(self) -> bool:
        return len(set(self.colours)) > 1 or len(set(self.sizes)) > 1


Head = list[int] | str | None  # what "is red" is about: mentions, GROUND, or nothing
INSIDE = ("colour", "size", "texture", "shape", "object", "objects")  # what may follow a place within a phrase
OPENERS = ("the", "on", "at")  # "the left" is a place, "left" alone is not


class _Reader:
    """Reads tokens, one after the other."""

    def __init__(self) -> None:
        self.mentions: list[Mention] = []
        self.relations: list[Relation] = []
        self.counts: list[Count] = []
        self.ground: int | None = None
        self.texture: int | None = None
        self.unknown = 0
        self.before = self.after = "stop"  # kinds of the tokens around
        self.group: list[int] = []  # mentions told by number, of which "one is red" may tell more
        self.last: list[int] = []  # the one thing of the last sentence, for "it"
        self._begin_sentence()
        self.phrase = _Phrase()

    def _begin_sentence(self) -> None:
        self.first = len(self.mentions)  # mentions of earlier sentences
        self.head: Head = None
        self.copula = self.negated = False
        self.place: tuple[int, ...] = ()  # told before its thing
        self.sides: tuple[int, ...] | None = None  # of a place that is being read
        self.pending: list[str] = []  # relations whose second thing has not come
        self.subject: list[int] | None = None
        self.fronted: list[tuple[str, list[int]]] = []  # relations whose first thing comes last
        self.related = False

    def read(self, token: Token, after: str) -> None:
        """Read a token, knowing the kind of the next one."""
        self.after = after
        if token.kind not in WITHIN:
            self._close()
        READERS[token.kind](self, token)
        if token.kind not in ("unknown", "modifier"):
            self.before = token.kind

    # Adjectives and what else may stand within a phrase.

    def _colour(self, token: Token) -> None:
        self.phrase.colours.append(token.value)

    def _size(self, token: Token) -> None:
        self.phrase.sizes.append(token.value)

    def _texture(self, token: Token) -> None:
        self.phrase.textures.append(token.value)

    def _unknown(self, token: Token) -> None:
        self.unknown += 1
        self.phrase.strange = True

    def _frame(self, token: Token) -> None:
        """Take the picture itself for no thing: adjectives of it are not understood."""
        self.unknown += self.phrase.adjectives
        self.phrase = _Phrase()

    def _nothing(self, token: Token) -> None:
        """Pass over a word that is understood and tells nothing by itself: "very", "at", a filler."""

    # Words that open or end a phrase.

    def _stop(self, token: Token) -> None:
        new = range(self.first, len(self.mentions))
        self.last = list(new) if len(new) == 1 else []
        self._begin_sentence()

    def _copula(self, token: Token) -> None:
        self.copula = True

    def _a(self, token: Token) -> None:
        self.phrase.article = self.phrase.article or "a"

    def _the(self, token: Token) -> None:
        self.phrase.article = "the"

    def _other(self, token: Token) -> None:
        self.phrase.article = "other"

    def _group(self, token: Token) -> None:
        self.phrase.article = "group"

    def _number(self, token: Token) -> None:
        article = "the" if self.before == "the" else ""
        self.phrase = _Phrase(number=token.value, article=article)

    def _only(self, token: Token) -> None:
        self.phrase = _Phrase(number=1, article="the", only=True)

    def _on(self, token: Token) -> None:
        self.phrase.on = True

    def _not(self, token: Token) -> None:
        self.unknown += 1
        self.negated = True

    def _comma(self, token: Token) -> None:
        self.copula = self.negated = False

    def _join(self, token: Token) -> None:
        self.negated = False

    def _pronoun(self, token: Token) -> None:
        """Take "it" for the one thing of this sentence so far, or of the last one."""
        here = list(range(self.first, len(self.mentions))) or self.last
        if self.pending or len(here) != 1:
            self.unknown += 1
            self.head, self.pending = None, []
        else:
            self.head = here

    def _relation(self, token: Token) -> None:
        if not self.pending:
            again = self.related and self.before in ("join", "comma")
            self.subject = self.subject if again else self.head if isinstance(self.head, list) else None
        self.pending.append(token.value)

    # Places.

    def _side(self, token: Token) -> None:
        """Gather the words of a place, and give it to its thing after the last of them."""
        fresh = self.sides is None
        allowed = token.value if self.sides is None else tuple(place for place in self.sides if place in token.value)
        sure = len(token.value) == 1 or token.kind == "corner" or not fresh
        sure = sure or self.before in OPENERS or self.after in ("side", "corner", "part")
        if self.pending or not allowed or not sure:
            self.unknown += token.words
            self.pending, self.sides = [], None
            return
        self.sides = allowed
        if self.after in ("side", "corner"):
            return
        self.sides = None
        inside = self.after in INSIDE and (self.phrase.adjectives or self.before in ("the", "a", "side", "number", "copula"))
        if isinstance(self.head, list) and not inside and not any(self.mentions[at].places for at in self.head):
            self._tell(self.head, Mention(places=allowed))
        else:
            self.place = allowed

    # Nouns and phrases.

    def _noun(self, token: Token) -> None:
        phrase, self.phrase = self.phrase, _Phrase()
        if self.negated or phrase.contradicts:
            self.unknown += phrase.adjectives + 1
            self.head, self.pending = None, []
        elif token.kind == "ground":
            self._tell_ground(phrase)
        else:
            self._thing(phrase, token)
        self.copula = False

    def _tell_ground(self, phrase: _Phrase) -> None:
        self.unknown += len(phrase.sizes)
        self.head, self.pending = GROUND, []
        self._paint(phrase)

    def _paint(self, phrase: _Phrase) -> None:
        """Tell the background's colour and texture; what contradicts an earlier word is not understood."""
        for told in phrase.colours:
            index = told - len(COLOURS) if told >= len(COLOURS) else told + 4
            self.unknown += self.ground not in (None, index)
            self.ground = index if self.ground is None else self.ground
        for told in phrase.textures:
            self.unknown += self.texture not in (None, told)
            self.texture = told if self.texture is None else self.texture

    def _thing(self, phrase: _Phrase, token: Token) -> None:
        self.unknown += len(phrase.textures)
        shape = token.value if token.kind == "shape" else None
        what = replace(phrase.described, shape=shape)
        plural = token.plural or token.kind == "objects"
        number = phrase.number if phrase.number is not None and (plural or phrase.number <= 1) else None
        self.unknown += phrase.number != number
        if phrase.article == "other" and what == Mention():
            number = None
        if what == Mention() and number is None and self.before in ("shape", "modifier"):
            return  # "a star-shaped object"
        if what == Mention() or number == 0:
            self.head = None
            if number is not None:
                self._count(number, what)
            return
        if number is not None and number > 1:
            self._count(number, what)
        self._mention(what, max(number or 1, 1), phrase)

    def _count(self, n: int, what: Mention) -> None:
        if len(self.counts) < MOST_MENTIONS and Count(n, what) not in self.counts:
            self.counts.append(Count(n, what))

    def _mention(self, what: Mention, number: int, phrase: _Phrase) -> None:
        known = self._known(what, phrase.article) if number == 1 and self._refers(phrase) else []
        if len(known) > 1 or len(self.mentions) + number > MOST_MENTIONS:
            self.unknown += 1 + phrase.adjectives
            self.head, self.pending = None, []
            return
        if known:
            self._tell(known, what)
            heads = known
        else:
            heads = list(range(len(self.mentions), len(self.mentions) + number))
            self.mentions += [what] * number
            self.group = heads if number > 1 else self.group
        if self.place:
            self._tell(heads, Mention(places=self.place))
            self.place = ()
        self._relate(heads)
        self.head = heads

    def _refers(self, phrase: _Phrase) -> bool:
        return phrase.article == "the" or (not phrase.article and phrase.number is None)

    def _known(self, what: Mention, article: str) -> list[int]:
        """Return the mentions that a reference may mean: all that it says was said of them, or nothing to the contrary."""
        there = self.mentions if article == "the" else self.mentions[: self.first]
        same = [at for at, known in enumerate(there) if _agree(known, what)]
        exact = [at for at in same if _includes(self.mentions[at], what)]
        return exact or same

    def _relate(self, heads: list[int]) -> None:
        pairs = [(name, a, b) for name, later in self.fronted for a in heads for b in later]
        if self.pending and self.subject:
            pairs += [(name, a, b) for name in self.pending for a in self.subject for b in heads]
            self.related = True
        self.fronted = [(name, heads) for name in self.pending] if self.pending and not self.subject else []
        self.pending = []
        for name, a, b in pairs:
            if a != b and len(self.relations) < MOST_RELATIONS:
                self.relations.append(Relation(a, name, b))

    def _tell(self, heads: list[int], more: Mention) -> None:
        """Tell more of mentions; what contradicts an earlier word is not understood."""
        for at in heads:
            known = self.mentions[at].told
            self.unknown += sum(known.get(name, value) != value for name, value in more.told.items())
            self.mentions[at] = Mention(**(more.told | known))

    def _close(self) -> None:
        """End a phrase that has no noun: a predicate ("is red"), "on white", "one red", or a bare colour."""
        phrase, self.phrase = self.phrase, _Phrase()
        one = (phrase.number == 1 and not phrase.only) or phrase.article == "other"
        if one and not (phrase.adjectives or phrase.strange):
            self.head = [self.group.pop(0)] if self.group else None
        if not phrase.adjectives:
            return
        told = phrase.described
        plain = not phrase.textures
        if self.negated or phrase.strange or phrase.contradicts:
            self.unknown += phrase.adjectives
        elif one and self.group and plain:
            self.head = [self.group.pop(0)]
            self._tell(self.head, told)
        elif phrase.article == "group" and self.group and plain:
            self._tell(self.group, told)
        elif self.head == GROUND or (phrase.on and phrase.colours and phrase.colours[0] >= len(COLOURS)):
            self._tell_ground(phrase)
        elif self.copula and isinstance(self.head, list) and plain:
            self._tell(self.head, told)
        elif self._is_bare(phrase):
            self._mention(Mention(colour=phrase.colours[0]), 1, replace(phrase, article="a"))
        else:
            self.unknown += phrase.adjectives

    def _is_bare(self, phrase: _Phrase) -> bool:
        """Return whether a colour stands for a thing: "red" is all that some alt-texts say."""
        alone = len(self.mentions) == self.first and not (self.copula or self.pending or phrase.sizes or phrase.textures)
        return alone and len(phrase.colours) == 1 and phrase.colours[0] < len(COLOURS)

    def claims(self, words: int) -> Claims:
        """Return what was read."""
        told = tuple(self.mentions), tuple(self.relations), tuple(self.counts)
        return Claims(*told, self.ground, self.texture, words, min(self.unknown, words))


# Of each kind of token (`lexicon.py`), what it does.
READERS: dict[str, Callable[[_Reader, Token], None]] = {
    "colour": _Reader._colour, "size": _Reader._size, "texture": _Reader._texture, "unknown": _Reader._unknown,
    "shape": _Reader._noun, "object": _Reader._noun, "objects": _Reader._noun, "ground": _Reader._noun,
    "side": _Reader._side, "corner": _Reader._side, "frame": _Reader._frame, "modifier": _Reader._nothing,
    "stop": _Reader._stop, "comma": _Reader._comma, "join": _Reader._join, "on": _Reader._on, "copula": _Reader._copula,
    "a": _Reader._a, "the": _Reader._the, "other": _Reader._other, "group": _Reader._group, "number": _Reader._number,
    "only": _Reader._only, "not": _Reader._not, "pronoun": _Reader._pronoun, "relation": _Reader._relation,
    "at": _Reader._nothing, "filler": _Reader._nothing, "part": _Reader._nothing,
}  # fmt: skip
WITHIN = ("colour", "size", "texture", "unknown", "modifier", "shape", "object", "objects", "ground", "side", "corner", "frame")


def _agree(known: Mention, what: Mention) -> bool:
    """Return whether two descriptions may be of one thing and have colour or shape in common."""
    same = {name for name, value in what.told.items() if known.told.get(name, value) == value}
    return len(same) == len(what.told) and any(name in known.told for name in same & {"colour", "shape"})


def _includes(known: Mention, what: Mention) -> bool:
    return what.told.items() <= known.told.items()
