"""What can be asked about a scene: swapped pairs and question-answer pairs, all true by construction."""

from __future__ import annotations

from typing import TypedDict

from recap_eval.data.scenes.language import COUNT_WORDS, PLACE_PHRASES, article, kind_name, relation
from recap_eval.data.scenes.world import COLOURS, GROUNDS, SHAPES, Scene, Thing
from recap_eval.hashrand import Draws


class Pair(TypedDict):
    """A true and a false caption made of the same words."""

    kind: str
    positive: str
    negative: str


class Question(TypedDict):
    """A question with its one right answer."""

    kind: str
    question: str
    answer: str


def _swapped_attribute(scene: Scene, a: Thing, b: Thing) -> Pair | None:
    """Swap the colours of two things, unless that says something that is true as well."""
    kinds = {thing.kind for thing in scene.things}
    if a.colour == b.colour or a.shape == b.shape or {(b.colour, a.shape), (a.colour, b.shape)} <= kinds:
        return None
    one, two = (article(f"{COLOURS[c]} {SHAPES[s]}") for c, s in ((b.colour, a.shape), (a.colour, b.shape)))
    return Pair(
        kind="attribute",
        positive=f"{article(kind_name(a))} and {article(kind_name(b))}",
        negative=f"{one} and {two}",
    )


def _swapped_relation(a: Thing, b: Thing, draws: Draws) -> Pair:
    words, one, two = relation(a, b, draws), article(kind_name(a)), article(kind_name(b))
    return Pair(kind="relation", positive=f"{one} {words} {two}", negative=f"{two} {words} {one}")


def swapped_pairs(scene: Scene, draws: Draws) -> list[Pair]:
    """Return up to one attribute pair (the layout of ARO VG-Attribution) and one relation pair (VG-Relation)."""
    if len(scene.things) < 2:
        return []
    a, b = scene.things[0], scene.things[1 + draws.below(len(scene.things) - 1)]
    if draws.chance(0.5):
        a, b = b, a
    attribute = _swapped_attribute(scene, a, b)
    return ([attribute] if attribute else []) + [_swapped_relation(a, b, draws)]


def questions(scene: Scene, draws: Draws) -> list[Question]:
    """Return four questions: how many, what stands somewhere, what is the background, and is something there."""
    thing = draws.pick(scene.things)
    absent = Thing(draws.below(len(COLOURS)), draws.below(len(SHAPES)), 0, 0)
    shown = thing if draws.chance(0.5) else absent
    there = shown.kind in {other.kind for other in scene.things}
    return [
        Question(kind="count", question="How many objects are there?", answer=COUNT_WORDS[len(scene.things)]),
        Question(kind="what", question=f"What is {PLACE_PHRASES[thing.place]}?", answer=kind_name(thing)),
        Question(kind="ground", question="What colour is the background?", answer=GROUNDS[scene.ground]),
        Question(kind="presence", question=f"Is there {article(kind_name(shown))}?", answer="yes" if there else "no"),
    ]
