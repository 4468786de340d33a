"""What a check of a judge finds: repeats, order of the two captions, truth; as scores and in words. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from recap_eval.judge.agreement import Correlation, PlaceBias, correlate, place_bias, repeats_agree
from recap_eval.judge.questions import Item
from recap_eval.judge.rating import Config, Ratings, judge_items


@dataclass(frozen=True)
class Finding:
    """How good a judge is.

    Args:
        ratings: What it says; of pairs, in the order given.
        agreement: Agreement of its repeats, by name; empty for one repeat.
        correlations: Rank correlation with the truth, by name.
        bias: Bias for a place, of a pairwise template.
        ratings_swapped: What it says of the pairs in the other order.
        matched: Items that have a figure and a truth.
        unmatched: Items that the truth does not know.
    """

    ratings: Ratings
    agreement: dict[str, float]
    correlations: dict[str, Correlation] = field(default_factory=dict)
    bias: PlaceBias | None = None
    ratings_swapped: Ratings | None = None
    matched: int = 0
    unmatched: int = 0


def check(items: Sequence[Item], config: Config, truth: dict[str, float] | None = None) -> Finding:
    """Ask a judge and find out how good it is; a pairwise one is asked in both orders.

    Args:
        items: The items.
        config: The judge at work.
        truth: What figures should follow, by the items' keys; of pairs, how much better the first caption is.

    Raises:
        See `judge_items`.
    """
    if config.judge.template.n_texts == 2:
        return _check_pairs(items, config, truth)
    ratings = judge_items(items, config)
    named = dict(zip([item.key for item in ratings.items], ratings.values, strict=True))
    finding = Finding(ratings, repeats_agree(_rows(ratings)))
    return finding if truth is None else _held_against(finding, named, truth)


def _check_pairs(items: Sequence[Item], config: Config, truth: dict[str, float] | None) -> Finding:
    ratings = judge_items(items, config)
    swapped = judge_items([replace(item, texts=item.texts[::-1]) for item in items], config)
    backward = dict(zip([item.key for item in swapped.items], swapped.values, strict=True))
    pairs = [
        (item.key, value, backward.get(item.key)) for item, value in zip(ratings.items, ratings.values, strict=True)
    ]  # fmt: skip
    bias = place_bias([value for _, value, _ in pairs], [other for _, _, other in pairs])
    named = {key: None if value is None or other is None else (value + 1 - other) / 2 for key, value, other in pairs}
    finding = Finding(ratings, repeats_agree(_rows(ratings)), bias=bias, ratings_swapped=swapped)
    return finding if truth is None else _held_against(finding, named, truth)


def _rows(ratings: Ratings) -> list[list[float | None]]:
    return [[one.value for one in row] for row in ratings.verdicts]


def _held_against(finding: Finding, figures: dict[str, float | None], truth: dict[str, float]) -> Finding:
    both = [(value, truth[key]) for key, value in figures.items() if value is not None and key in truth]
    found = {kind: correlate(kind, [a for a, _ in both], [b for _, b in both]) for kind in ("spearman", "kendall")}
    known = {kind: one for kind, one in found.items() if one is not None}
    return replace(finding, correlations=known, matched=len(both), unmatched=sum(key not in truth for key in figures))


def figures_of(finding: Finding) -> dict[str, float]:
    """Return all figures of a check by name, flat, for a result."""
    counts = {name: float(count) for name, count in finding.ratings.counts().items()}
    found = counts | finding.agreement
    for kind, one in finding.correlations.items():
        found |= {kind: one.value, f"{kind}_n": float(one.n)}
        found |= {} if one.low is None or one.high is None else {f"{kind}_low": one.low, f"{kind}_high": one.high}
    if (bias := finding.bias) is not None:
        found |= {"consistent": bias.consistent, "preferred": bias.preferred, "pairs": float(bias.n)}
        found |= {} if bias.first is None else {"first_place": bias.first}
        if bias.first_interval is not None:
            found |= {"first_place_low": bias.first_interval[0], "first_place_high": bias.first_interval[1]}
    return found


def sentences(finding: Finding) -> list[str]:
    """Return a check in words, a line a finding."""
    counts = finding.ratings.counts()
    told = ["answers: " + ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)]
    if finding.agreement:
        told.append("repeats: " + ", ".join(f"{name[7:]} {value:.3f}" for name, value in finding.agreement.items()))
    for kind, one in finding.correlations.items():
        interval = "" if one.low is None else f" [{one.low:.3f}, {one.high:.3f}]"
        told.append(f"truth: {kind} {one.value:.3f}{interval} over {one.n:,} items")
    if finding.matched and not finding.correlations:
        told.append(f"truth: {finding.matched:,} items have both, and one side is constant: no correlation")
    if finding.unmatched:
        told.append(f"truth: {finding.unmatched:,} items are not in it")
    if finding.bias is not None:
        told += _bias_sentences(finding.bias)
    return told


def _bias_sentences(bias: PlaceBias) -> list[str]:
    told = [f"order: {bias.consistent:.1%} of {bias.n:,} pairs have the same verdict in both orders"]
    if bias.first is not None and bias.first_interval is not None:
        low, high = bias.first_interval
        told.append(f"order: {bias.first:.1%} [{low:.1%}, {high:.1%}] of the verdicts go to the caption that came first")
    return [*told, f"preference for the first column over both orders: {bias.preferred:.1%}"]
