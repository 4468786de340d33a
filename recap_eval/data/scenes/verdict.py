"""Claims held against what is there: which are true, what is there and not told, what is told and not there.

The things told are assigned to the things there, one to one, so that as few attributes as possible are wrong: so a colour
belongs to its shape, and "a red circle and a blue square" is not true of a blue circle and a red square.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from recap_eval.data.scenes.render import CENTRES
from recap_eval.data.scenes.told import Claims, Count, Mention, Relation
from recap_eval.data.scenes.world import Scene, Thing

if TYPE_CHECKING:
    import numpy as np

KINDS = ("object", "colour", "size", "place", "relation", "count", "ground", "texture")
# What a mistake costs. Nearly equal: fewer mistakes come first, and among equals a thing is known by its shape, then by
# its colour, its place, its size.
COSTS = {"object": 1.004, "colour": 1.003, "place": 1.002, "size": 1.001}


@dataclass(frozen=True)
class Verdict:
    """How claims stand against a scene.

    Args:
        judged: (kind of `KINDS`, whether it holds) of each claim.
        assigned: By mention, the number of the thing it means; None where there are fewer things than mentions.
        told: Attributes of the scene that are told, and rightly.
        there: Attributes of the scene: colour, shape, size, place of each thing, background, texture.
        invented: Mentions that no thing fits in colour and shape.
    """

    judged: tuple[tuple[str, bool], ...]
    assigned: tuple[int | None, ...]
    told: int
    there: int
    invented: int

    @property
    def truth(self) -> float | None:
        """Share of the claims that hold; None if there is no claim."""
        return sum(holds for _, holds in self.judged) / len(self.judged) if self.judged else None

    @property
    def all_true(self) -> bool | None:
        """Whether every claim holds; None if there is no claim."""
        return all(holds for _, holds in self.judged) if self.judged else None

    @property
    def recall(self) -> float | None:
        """Share of what is there that is told rightly; None if nothing is there."""
        return self.told / self.there if self.there else None

    @property
    def hallucination(self) -> float | None:
        """Share of the mentions that no thing fits in colour and shape; None if nothing is mentioned."""
        return self.invented / len(self.assigned) if self.assigned else None

    def of(self, kind: str) -> float | None:
        """Return the share of the claims of one kind that hold; None if there is none."""
        found = [holds for name, holds in self.judged if name == kind]
        return sum(found) / len(found) if found else None


def held_against(claims: Claims, scene: Scene) -> Verdict:
    """Hold claims against a scene.

    Args:
        claims: What is told.
        scene: What is there, or what was recognised; -1 stands for what was not, and no claim about it holds.
    """
    assigned = _assign(claims, scene)
    things = [None if at is None else scene.things[at] for at in assigned]
    pairs = list(zip(claims.mentions, things, strict=True))
    judged = [one for mention, thing in pairs for one in attributes(mention, thing).items()]
    told = sum(holds for _, holds in judged)
    judged += [("relation", stands(one, things)) for one in claims.relations]
    judged += [("count", _counted(one, scene)) for one in claims.counts]
    grounds = {"ground": (claims.ground, scene.ground), "texture": (claims.texture, scene.texture)}
    about = [(kind, value == seen) for kind, (value, seen) in grounds.items() if value is not None]
    there = 4 * len(scene.things) + (scene.ground >= 0) + (scene.texture >= 0)
    told += sum(holds for _, holds in about)
    invented = sum(not _fits(mention, thing) for mention, thing in pairs)
    return Verdict(tuple(judged + about), tuple(assigned), told, there, invented)


def attributes(mention: Mention, thing: Thing | None) -> dict[str, bool]:
    """Return which of the attributes told of a thing it has; none of them if there is no thing."""
    told: dict[str, bool] = {}
    if mention.shape is not None:
        told["object"] = thing is not None and thing.shape == mention.shape
    if mention.colour is not None:
        told["colour"] = thing is not None and thing.colour == mention.colour
    if mention.size is not None:
        told["size"] = thing is not None and thing.size == mention.size
    if mention.places:
        told["place"] = thing is not None and thing.place in mention.places
    return told


def _fits(mention: Mention, thing: Thing | None) -> bool:
    found = attributes(mention, thing)
    return thing is not None and found.get("object", True) and found.get("colour", True)


def stands(relation: Relation, things: list[Thing | None]) -> bool:
    """Return whether a relation holds between the things that its mentions mean; by the centres of their places."""
    a, b = things[relation.a], things[relation.b]
    if a is None or b is None or a.place < 0 or b.place < 0:
        return False
    axis = 0 if relation.name in ("left", "right") else 1
    gap = CENTRES[a.place][axis] - CENTRES[b.place][axis]
    return gap < 0 if relation.name in ("left", "above") else gap > 0


def _counted(count: Count, scene: Scene) -> bool:
    return sum(all(attributes(count.what, thing).values()) for thing in scene.things) == count.n


def _cost(mention: Mention, thing: Thing) -> float:
    return sum(COSTS[kind] for kind, holds in attributes(mention, thing).items() if not holds)


def _assign(claims: Claims, scene: Scene) -> list[int | None]:
    """Return the thing that each mention means: fewest wrong attributes, and among equals the most true relations."""
    import numpy as np
    from scipy.optimize import linear_sum_assignment

    assigned: list[int | None] = [None] * len(claims.mentions)
    if not claims.mentions or not scene.things:
        return assigned
    costs = np.array([[_cost(mention, thing) for thing in scene.things] for mention in claims.mentions])
    absent = np.array([[sum(COSTS[kind] for kind in attributes(mention, None))] for mention in claims.mentions])
    for mention, at in zip(*linear_sum_assignment(costs - absent), strict=True):  # a thing gained is a mistake less
        assigned[mention] = int(at)
    for number in sorted({end for one in claims.relations for end in (one.a, one.b)}):
        assigned = _better(claims, scene, costs, assigned, number)
    return assigned


def _better(claims: Claims, scene: Scene, costs: np.ndarray, assigned: list[int | None], number: int) -> list[int | None]:
    """Return an assignment at the same cost in which more relations hold, by giving one mention another thing."""

    def cost(chosen: list[int | None]) -> float:
        return sum(float(costs[mention, at]) if at is not None else 9.0 for mention, at in enumerate(chosen))

    def relations(chosen: list[int | None]) -> int:
        things = [None if at is None else scene.things[at] for at in chosen]
        return sum(stands(one, things) for one in claims.relations)

    best = assigned
    for at in range(len(scene.things)):
        other = list(assigned)
        if at in assigned:
            other[assigned.index(at)] = assigned[number]
        other[number] = at
        if cost(other) <= cost(best) + 1e-9 and relations(other) > relations(best):
            best = other
    return best
