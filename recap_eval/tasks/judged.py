"""A judge's ratings as scores: what has a figure is averaged, what has none is counted and bounds the mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from recap_eval.errors import DataError
from recap_eval.judge.agreement import repeats_agree
from recap_eval.judge.questions import Item
from recap_eval.judge.rating import Config, Ratings, facts, judge_items
from recap_eval.tasks.base import ItemScores, Metric, Scores

MANY = 0.02  # share of answers without a figure from which the result warns
METRICS = {
    "rating": Metric("rating", "rating (1-5)", None, True, 1.0, "rating"),
    "preference": Metric("preference", "first preferred"),
    "claims": Metric("claims", "claims true"),
    "grade": Metric("grade", "grade"),
}


def judge_scores(items: Sequence[Item], config: Config, clusters: dict[str, str]) -> tuple[Scores, dict[str, str]]:
    """Ask a judge about items and return the scores, and what is wrong with the items left out.

    Args:
        items: The items.
        config: The judge at work.
        clusters: What each item belongs to, by its key.

    Raises:
        DataError: Questions failed, and what fails is not to be left out; or see `judge_items`.
    """
    ratings = judge_items(items, config)
    if ratings.failed and not config.setup.skip_bad:
        key, why = next(iter(ratings.failed.items()))
        raise DataError(
            f"{len(ratings.failed):,} of {len(items):,} questions have no answer; the first, {key}: {why}.",
            "The same command asks these again and no others; --skip-bad leaves them out, counted.",
        )
    told = {"judge": facts(ratings, config)}
    scores = replace(scores_of(ratings, config.judge.template.parser, clusters), facts=told)
    return scores, ratings.bad | ratings.failed


def scores_of(ratings: Ratings, parser: str, clusters: dict[str, str]) -> Scores:
    """Return a judge's ratings as scores.

    Args:
        ratings: The ratings.
        parser: The form of the answers.
        clusters: What each item belongs to, by its key.

    Raises:
        DataError: Nothing has a figure.
    """
    import numpy as np

    pairs = [(item.key, value) for item, value in zip(ratings.items, ratings.values, strict=True) if value is not None]
    if not pairs:
        first = next((one.why for row in ratings.verdicts for one in row), "there is no item")
        raise DataError(f"No answer of the judge gives a figure; the first: {first}.", "Look at its answers: docs/judge.md")
    keys = [key for key, _ in pairs]
    found = ItemScores(keys, [clusters[key] for key in keys], np.array([value for _, value in pairs]))
    rated = {*keys, *ratings.failed}
    unrated = tuple(item.key for item in ratings.items if item.key not in rated)
    return Scores({METRICS[parser].name: found}, _extra(ratings), warnings=_warnings(ratings), unrated=unrated)


def _extra(ratings: Ratings) -> dict[str, float]:
    counts = ratings.counts()
    low, high = ratings.bounds() or (0.0, 0.0)
    extra: dict[str, float] = {name: count for name, count in counts.items() if name != "rated"}
    extra |= {"if_all_lowest": low, "if_all_highest": high}
    extra |= {"tokens_in": ratings.usage.tokens_in, "tokens_out": ratings.usage.tokens_out}
    extra |= {} if ratings.usage.cost is None else {"cost_usd": ratings.usage.cost}
    return extra | repeats_agree([[one.value for one in row] for row in ratings.verdicts])


def _warnings(ratings: Ratings) -> tuple[str, ...]:
    counts, bounds = ratings.counts(), ratings.bounds()
    without = sum(count for status, count in counts.items() if status != "rated")
    told = []
    if bounds and without > MANY * sum(counts.values()):
        shares = ", ".join(f"{count:,} {status}" for status, count in counts.items() if count and status != "rated")
        told.append(
            f"{without:,} answers give no figure ({shares}): with them the mean lies in {bounds[0]:.3g} to {bounds[1]:.3g}"
        )
    if len(ratings.answered_by) > 1:
        told.append(f"answers are of several models: {', '.join(sorted(ratings.answered_by))}")
    return tuple(told)
