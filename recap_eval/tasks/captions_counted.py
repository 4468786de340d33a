"""Figures that follow from counts of all captions: lengths, tokens, vocabulary, flags. Of each a sample's items are kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from recap_eval.captions import flags
from recap_eval.captions.distinct import union_share
from recap_eval.captions.sample import Drawn, Sample
from recap_eval.captions.spread import Spread, share_of
from recap_eval.captions.survey import Flagged, Lengths, Survey, TokenLengths, Vocabulary
from recap_eval.stats import Estimate
from recap_eval.tasks.base import ItemScores, Scores
from recap_eval.tasks.captions import LIMITS, Given

QUANTILES = {"p05": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95}
TOP_WORDS = 200  # kept in the record, for plots
Z95 = 1.959964


def items_of(sample: Sample, value: Callable[[Drawn], float]) -> ItemScores:
    """Return a value of each caption of the keyed sample, by key; of captions with one key the first."""
    import numpy as np

    drawn = list({one.key: one for one in reversed(sample.drawn)}.values())[::-1]
    keys = [one.key for one in drawn]
    return ItemScores(keys, keys, np.array([value(one) for one in drawn], dtype=np.float64))


def distribution(spread: Spread) -> tuple[dict[str, float], dict[str, Any]]:
    """Return standard deviation, quantiles and largest value, and the histogram."""
    facts = {"sd": spread.sd} | {name: spread.quantile(share) for name, share in QUANTILES.items()}
    return facts | {"max": float(spread.largest)}, {"histogram": spread.histogram()}


def lengths(given: Given) -> Scores:
    """Score lengths in words; a caption without a word is missing and has no length."""
    state, content = given.survey.states["length"], given.survey.content
    assert isinstance(state, Lengths)
    facts, details = distribution(state.words)
    asked = content.rows - content.counts["failed"]
    folded = {"words": state.words.estimate(), "missing": share_of(asked - content.captions, asked)}
    counts = {name: float(content.counts[name]) for name in ("captions", "missing", "empty", "failed")}
    extra = facts | {f"rows_{name}": value for name, value in counts.items()} | {"rows": float(content.rows)}
    extra["repeated_keys"] = max(0.0, content.captions - content.keys.count)
    items = {"words": items_of(given.survey.sample, lambda one: len(one.text.split()))}
    return Scores(items, extra, folded=folded, details=details, warnings=_warnings(given.survey))


def _warnings(survey: Survey) -> tuple[str, ...]:
    keys, captions = survey.content.keys, survey.content.captions
    told = []
    if captions - keys.count > max(3 * keys.relative_error * captions, 0.5):
        again = f"About {captions - keys.count:,.0f} captions share their key with another"
        told.append(f"{again}: errors that take rows as independent are too small.")
    if survey.content.counts["failed"]:
        told.append(
            f"{survey.content.counts['failed']:,} rows say that captioning failed; they are not counted among the captions."
        )
    return tuple(told)


def token_lengths(given: Given, tokenizer: str) -> Scores:
    """Score lengths in tokens, special ones included, and the shares that models of several contexts would cut."""
    state = given.survey.states[f"tokens:{tokenizer}"]
    assert isinstance(state, TokenLengths)
    facts, details = distribution(state.tokens)
    folded = {"tokens": state.tokens.estimate()} | {f"over_{limit}": state.tokens.share_above(limit) for limit in LIMITS}
    drawn = given.survey.sample
    counts = dict(
        zip((id(one) for one in drawn.drawn), state.tokenizer.count_texts([one.text for one in drawn.drawn]), strict=True)
    )
    items = {"tokens": items_of(drawn, lambda one: counts[id(one)])}
    items |= {f"over_{limit}": items_of(drawn, _above(counts, limit)) for limit in LIMITS}
    return Scores(items, facts, folded=folded, details=details)


def _above(counts: dict[int, int], limit: int) -> Callable[[Drawn], float]:
    return lambda one: float(counts[id(one)] > limit)


def vocabulary(given: Given) -> Scores:
    """Score the distinct words of all captions; their errors are those of the sketch, 0 where it kept all."""
    state = given.survey.states["vocabulary"]
    assert isinstance(state, Vocabulary)
    distinct, frequent, n = state.distinct, state.frequent, given.survey.content.captions
    folded = {"vocabulary": _sketched(distinct.count, distinct.count * distinct.relative_error, n, distinct.level > 0)}
    kept, sampled = len(distinct.hashes), distinct.level > 0
    folded["once"] = _sketched(distinct.singles, (distinct.singles * (1 - distinct.singles) / max(kept, 1)) ** 0.5, n, sampled)
    extra = {"running_words": float(frequent.total), "words_kept": float(kept), "rate_kept": 2.0**-distinct.level}
    extra["count_too_small_by_at_most"] = float(frequent.floor)
    if given.other is not None:
        theirs = given.other.states["vocabulary"]
        assert isinstance(theirs, Vocabulary)
        share, se, _ = union_share(distinct, theirs.distinct)
        folded["union_share"] = _sketched(share, se, n, se > 0)
    details = {"top": [[word, count] for word, count in frequent.top(TOP_WORDS)], "total": frequent.total}
    absent = () if given.other is not None else ("union_share",)
    return Scores({}, extra, folded=folded, details=details, absent=absent)


def _sketched(value: float, se: float, n: int, sampled: bool) -> Estimate:
    """Return a figure of the whole, with the error of its sketch."""
    if not sampled:
        return Estimate(value, None, None, None, n, n)
    return Estimate(value, se, value - Z95 * se, value + Z95 * se, n, n)


def flagged(given: Given) -> Scores:
    """Score the share of captions that have each flag, and of those that say what another said before."""
    state, n = given.survey.states["flags"], given.survey.content.captions
    assert isinstance(state, Flagged)
    known = [name for name in ("any", *flags.NAMES) if name in state.counts or name != "copied"]
    folded = {name: share_of(state.counts[name], n) for name in known}
    again = max(0.0, 1 - state.texts.count / n)
    folded["duplicate"] = _sketched(again, (1 - again) * state.texts.relative_error, n, state.texts.level > 0)
    sample = given.survey.sample
    of = {id(one): flags.flags(one.text, one.original, flags.CUT if one.cut else None) for one in sample.drawn}
    items = {name: items_of(sample, _having(of, name)) for name in known if name != "any"}
    items["any"] = items_of(sample, lambda one: bool({*of[id(one)]} - {flags.COPIED}))
    absent = () if "copied" in known else ("copied",)
    return Scores(items, {}, folded=folded, absent=absent)


def _having(of: dict[int, tuple[str, ...]], name: str) -> Callable[[Drawn], float]:
    return lambda one: float(name in of[id(one)])
