"""What of a caption's claims holds, by three groups: things, attributes (of things and background), relations of things."""

from __future__ import annotations

from dataclasses import dataclass

from recap_eval.data.scenes.told import Claims
from recap_eval.data.scenes.verdict import Verdict, attributes, stands
from recap_eval.data.scenes.world import Scene

GROUPS = ("object", "attribute", "relation")
ATTRIBUTES = ("colour", "size", "place", "ground", "texture")


@dataclass(frozen=True)
class Tally:
    """One group's counts in one caption.

    Args:
        told: Claims of it.
        right: Those that hold.
        found: What of the scene they tell, each thing, attribute or pair of things once.
        there: What of it the scene has.
    """

    told: int
    right: int
    found: int
    there: int

    @property
    def precision(self) -> float | None:
        """Share of the claims that hold; None if there is none."""
        return self.right / self.told if self.told else None

    @property
    def recall(self) -> float | None:
        """Share of what is there that is told rightly; None if nothing is there."""
        return self.found / self.there if self.there else None

    @property
    def hallucinates(self) -> float | None:
        """1 if a claim does not hold, else 0 (CHAIR's share of sentences, Rohrbach et al. 2018); None if there is no claim."""
        return float(self.right < self.told) if self.told else None


def tallies(claims: Claims, scene: Scene, verdict: Verdict) -> dict[str, Tally]:
    """Return the counts of each group.

    A thing counts as told where its shape is; rightly where the thing it means has that shape, and the colour if one is told. A
    relation is found for a pair of things, whichever way round it is told.
    """
    return {
        "object": _objects(claims, scene, verdict),
        "attribute": _attributes(scene, verdict),
        "relation": _relations(claims, scene, verdict),
    }


def _objects(claims: Claims, scene: Scene, verdict: Verdict) -> Tally:
    named = [(one, at) for one, at in zip(claims.mentions, verdict.assigned, strict=True) if one.shape is not None]
    right = 0
    for mention, at in named:
        held = attributes(mention, None if at is None else scene.things[at])
        right += held["object"] and held.get("colour", True)
    return Tally(len(named), right, right, len(scene.things))


def _attributes(scene: Scene, verdict: Verdict) -> Tally:
    held = [holds for kind, holds in verdict.judged if kind in ATTRIBUTES]
    return Tally(len(held), sum(held), sum(held), 3 * len(scene.things) + 2)


def _relations(claims: Claims, scene: Scene, verdict: Verdict) -> Tally:
    things = [None if at is None else scene.things[at] for at in verdict.assigned]
    right = [one for one in claims.relations if stands(one, things)]
    pairs = {frozenset((verdict.assigned[one.a], verdict.assigned[one.b])) for one in right}
    n = len(scene.things)
    return Tally(len(claims.relations), len(right), len(pairs), n * (n - 1) // 2)
