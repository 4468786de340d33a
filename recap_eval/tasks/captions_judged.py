"""Captions rated by a vision LLM, each column by itself, over the same keyed sample."""

from __future__ import annotations

from dataclasses import replace

from recap_eval.judge.questions import Item
from recap_eval.tasks.base import ItemScores, Scores
from recap_eval.tasks.captions import Given
from recap_eval.tasks.captions_seen import facts, warnings
from recap_eval.tasks.captions_truth import rank_by_truth
from recap_eval.tasks.judged import judge_scores


def rated(given: Given) -> Scores:
    """Score each caption of the sample by what a judge says of it and its image.

    Raises:
        DataError: No caption gets a rating, or questions failed; see `judge_scores`.
    """
    views, config = given.views, given.jury
    assert views is not None
    assert config is not None
    texts, names = views.column(given.column), views.names
    there = [place for place in views.as_stored if texts[place] is not None]
    items = [Item.of(names[place], views.images[place], texts[place] or "") for place in there]
    scores, bad = judge_scores(items, config, dict(zip(names, views.clusters, strict=True)))
    scores = replace(scores, metrics={name: _in_order(found, names) for name, found in scores.metrics.items()})
    told = scores.extra | facts(views, given.column)
    if given.truth is not None:
        told |= rank_by_truth(given.truth, views, given.column, next(iter(scores.metrics.values())))
    silent = tuple(name for name, text in zip(names, texts, strict=True) if text is None)
    return replace(
        scores, extra=told, warnings=scores.warnings + warnings(views), unrated=scores.unrated + silent, bad=bad
    )  # fmt: skip


def _in_order(found: ItemScores, names: list[str]) -> ItemScores:
    """Return items in the order of the sample, which is that of every set, however its images lie."""
    rank = {name: place for place, name in enumerate(names)}
    return found.part(sorted(range(len(found.items)), key=lambda place: rank[found.items[place]]))
