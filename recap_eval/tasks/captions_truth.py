"""Captions of scenes held against the scenes: how many of their claims are true, how much of what is there they tell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from recap_eval.captions.pictured import Views
from recap_eval.captions.survey import All
from recap_eval.data.parquet import read_columns
from recap_eval.data.scenes.claims import VERSION, claims
from recap_eval.data.scenes.told import Claims
from recap_eval.data.scenes.verdict import KINDS, Verdict, held_against
from recap_eval.data.scenes.world import COLOURS, GROUNDS, PLACES, SHAPES, SIZES, TEXTURES, Scene, Thing
from recap_eval.errors import DataError, UserError
from recap_eval.judge.agreement import correlate
from recap_eval.tasks.base import ItemScores, Scores
from recap_eval.tasks.captions import Given

COLUMNS = ("key", "objects", "ground", "texture")
WHOLE: dict[str, Callable[[Verdict], float | None]] = {
    "truth": lambda one: one.truth,
    "recall": lambda one: one.recall,
    "hallucination": lambda one: one.hallucination,
    "all_true": lambda one: None if one.all_true is None else float(one.all_true),
}
RANKED = "truth_n"  # of a result: how many captions were ranked by their truth
Judged = tuple[str, Claims, Verdict]


def read_truth(path: Path) -> dict[str, Scene]:
    """Return the scenes of a split by key, from the parquet of its ground truth.

    Raises:
        DataError: It is not such a parquet.
    """
    try:
        return {key: scene_of(*row) for key, *row in zip(*read_columns(path, COLUMNS), strict=True)}
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is no ground truth of scenes ({error}).", "Name scenes/SPLIT.parquet: --truth FILE") from error


def scene_of(objects: list[dict[str, str]], ground: str, texture: str) -> Scene:
    """Return the scene of a row of ground truth.

    Raises:
        KeyError, ValueError: It is none.
    """
    things = tuple(
        Thing(COLOURS.index(one["colour"]), SHAPES.index(one["shape"]), SIZES.index(one["size"]), PLACES.index(one["place"]))
        for one in objects
    )
    return Scene(things, GROUNDS.index(ground), TEXTURES.index(texture))


def scores(given: Given) -> Scores:
    """Score each caption's claims: precision in all and by kind, recall, invented things; clustered by image.

    Raises:
        UserError: No truth is named.
        DataError: No caption is of a scene of that truth.
    """
    if given.truth is None:
        raise UserError(
            "Nothing tells the truth of these captions.", "Name a scenes split's ground truth: --truth scenes/test.parquet"
        )
    scenes, state = read_truth(given.truth), given.survey.states["all"]
    assert isinstance(state, All)
    judged: list[Judged] = []
    for key, text, _ in state.found:
        if key in scenes:
            told = claims(text)
            judged.append((key, told, held_against(told, scenes[key])))
    if not judged:
        raise DataError(
            f"No caption has a key of {given.truth}.",
            "Captions and truth must be of the same split: --truth scenes/SPLIT.parquet",
        )
    tests = WHOLE | {kind: lambda one, kind=kind: one.of(kind) for kind in KINDS}
    found = {name: _items(judged, test) for name, test in tests.items()}
    metrics = {name: items for name, items in found.items() if items is not None}
    absent = tuple(name for name in found if name not in metrics)
    return Scores(metrics, _extra(judged, len(state.found), len(scenes)), absent=absent)


def rank_by_truth(path: Path, views: Views, column: str, found: ItemScores) -> dict[str, float]:
    """Return how a measure of captions ranks them by the share of their claims that hold: Spearman and Kendall's tau-b.

    Args:
        path: Parquet of the scenes' ground truth.
        views: The captions with their keys.
        column: Which of them.
        found: The measure, by the views' names.

    Returns:
        Coefficients, ends of their 95 % bootstrap intervals, captions counted; nothing where they cannot be told.
    """
    scenes = read_truth(path)
    rows = zip(views.names, views.keys, views.column(column), strict=True)
    told = {name: (claims(text), scenes[key]) for name, key, text in rows if text is not None and key in scenes}
    shares = {name: held_against(said, scene).truth for name, (said, scene) in told.items()}
    pairs = [
        (value, share)
        for name, value in zip(found.items, found.values.tolist(), strict=True)
        if (share := shares.get(name)) is not None
    ]
    known = {kind: correlate(kind, [a for a, _ in pairs], [b for _, b in pairs]) for kind in ("spearman", "kendall")}
    figures: dict[str, float] = {RANKED: float(len(pairs))}
    for kind, one in known.items():
        ends = {} if one is None else {"": one.value, "_low": one.low, "_high": one.high}
        figures |= {f"truth_{kind}{end}": value for end, value in ends.items() if value is not None}
    return figures


def _items(judged: Sequence[Judged], test: Callable[[Verdict], float | None]) -> ItemScores | None:
    """Return a figure of each caption that has it, by key and number of the caption among those of its image."""
    import numpy as np

    keys: list[str] = []
    values: list[float] = []
    for key, _, verdict in judged:
        if (value := test(verdict)) is not None:
            keys.append(key)
            values.append(value)
    if not keys:
        return None
    seen: dict[str, int] = {}
    names = []
    for key in keys:
        seen[key] = seen.get(key, 0) + 1
        names.append(key if seen[key] == 1 else f"{key}#{seen[key]}")
    return ItemScores(names, keys, np.array(values, dtype=np.float64))


def _extra(judged: Sequence[Judged], captions: int, scenes: int) -> dict[str, Any]:
    words, unknown = sum(told.words for _, told, _ in judged), sum(told.unknown for _, told, _ in judged)
    facts = {
        "claims_per_caption": sum(told.n for _, told, _ in judged) / len(judged),
        "words_not_understood": unknown / max(words, 1),
    }
    facts |= {"without_claims": float(sum(not told.n for _, told, _ in judged)), "without_truth": float(captions - len(judged))}
    return facts | {"scenes": float(scenes), "claims_version": float(VERSION)}
