"""Whether a cheap measure of captions goes with what training on them gains: over worlds, by rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from recap_eval.board import Column
from recap_eval.differences import SeedScores, seed_scores
from recap_eval.report.cells import NOT_RUN, Link, base_name, plain
from recap_eval.report.forms import Form, form, named
from recap_eval.report.moves import EMPTY, Trend, World, figure, resampled_trend
from recap_eval.table import ProxyFigures, Table

if TYPE_CHECKING:
    import numpy as np

    from recap_eval.results import Result

RECAPTIONS = 0.0  # the place at which no original caption is shown
FEWEST = 3  # worlds that are ranked: two always agree, or always do not
DIGITS = 12  # of figures that are ranked, so that ties stay ties in whatever order they are summed
TITLE = "Does a cheap measure of the captions go with the gain?"
GAINS = {f"p = {RECAPTIONS:g}": False, "best p": True}  # whether the best place counts
VALUES = "What the cheap measures say of each world:"


@dataclass(frozen=True)
class Gain:
    """What a world's trainings gain over the baseline, seed by seed.

    Args:
        scores: Figures along the axis.
        base: Which place is the baseline.
        among: The places of which the best counts.
    """

    scores: SeedScores
    base: int
    among: tuple[int, ...]

    def of(self, weights: np.ndarray, seeds: Sequence[int]) -> float:
        """Return the gain in the mean over seeds, weighted by how often each counts; more is better."""
        import numpy as np

        there = [self.scores.seeds.index(seed) for seed in seeds]
        means = weights @ np.array(self.scores.scores)[there] / weights.sum() * (1 if self.scores.upward else -1)
        return round(float(means[list(self.among)].max() - means[self.base]), DIGITS)


def gain(table: Table, world: World, number: int, best: bool = False) -> Gain | None:
    """Return what a world gains in a column: by recaptions alone, or at the best place.

    Returns:
        None if that place or the baseline was not trained, or they have no seed in common.
    """
    base, sweep = table.board.baseline, world.sweep
    ends = replace(sweep, rows=tuple(row for row in sweep.rows if row.axis in (RECAPTIONS, base)))
    one = seed_scores(sweep if best else ends, number, table.board.columns[number].metric)
    places = [] if one is None else [row.axis for row in one.rows]
    if one is None or base not in places or (not best and RECAPTIONS not in places):
        return None
    among = tuple(range(len(places))) if best else (places.index(RECAPTIONS),)
    return Gain(one, places.index(base), among)


def proxy_trend(table: Table, found: Sequence[World], figures: ProxyFigures, number: int, best: bool) -> tuple[Trend, int]:
    """Return how a column's gain goes with a proxy, and over how many worlds."""
    pairs = [(figures.values.get(world.at), gain(table, world, number, best)) for world in found]
    known = [(round(value, DIGITS), one) for value, one in pairs if value is not None and one is not None]
    common = sorted(set.intersection(*(set(one.scores.seeds) for _, one in known))) if known else []
    if len(known) < FEWEST or not common:
        return Trend(None, None, None), len(known)
    tells = [partial(one.of, seeds=common) for _, one in known]
    return resampled_trend([value for value, _ in known], tells, len(common)), len(known)


def shown(table: Table, found: Sequence[World]) -> list[ProxyFigures]:
    """Return the proxies that a report tells of: all if any was measured in a world that was trained, else none."""
    ats = {world.at for world in found}
    return list(table.proxies) if any(at in ats for one in table.proxies for at in one.values) else []


def grid(table: Table, found: Sequence[World]) -> list[list[str]]:
    """Return correlations as text, header first: a proxy and gain a row, a column of the board a column."""
    lines = [["measure", "gain", "worlds", *(column.label for column in table.board.columns)]]
    for figures in shown(table, found):
        if not figures.values:
            lines.append([figures.proxy.label, EMPTY, EMPTY, *[NOT_RUN] * len(table.board.columns)])
            continue
        for name, best in GAINS.items():
            told = [proxy_trend(table, found, figures, number, best) for number in range(len(table.board.columns))]
            n = _worlds(found, figures, [n for _, n in told])
            lines.append([figures.proxy.label, name, n, *(figure(one) for one, _ in told)])
    return lines


def _worlds(found: Sequence[World], figures: ProxyFigures, counts: Sequence[int]) -> str:
    """Return how many worlds are ranked, and how many values the proxy has in them where these are fewer."""
    few, many = min(counts), max(counts)
    values = {round(figures.values[world.at], DIGITS) for world in found if world.at in figures.values}
    ties = f" ({len(values)} value{'s' if len(values) > 1 else ''})" if 0 < len(values) < many else ""
    return (f"{few}" if few == many else f"{few}–{many}") + ties


def measured(table: Table, found: Sequence[World]) -> list[ProxyFigures]:
    """Return the proxies of a report that were measured."""
    return [one for one in shown(table, found) if one.values]


def places(found: Sequence[World]) -> list[tuple[float, ...]]:
    """Return what was said of each world, in their order, each once."""
    return list(dict.fromkeys(world.at for world in found))


def form_of(figures: ProxyFigures) -> Form:
    """Return the form in which a proxy's figures are told."""
    return form(figures.scale, figures.unit, figures.values.values())


def as_column(figures: ProxyFigures) -> Column:
    """Return a proxy as a column of figures."""
    one = figures.proxy
    return Column(one.task, one.version, one.metric, one.label, scale=figures.scale, unit=figures.unit)


def values(table: Table, found: Sequence[World], link: Link = plain) -> list[list[str]]:
    """Return what the proxies that were measured say of each world as text, header first."""
    lines = [[*table.board.facts, *(named(as_column(one)) for one in measured(table, found))]]
    for at in places(found):
        told = [NOT_RUN if result is None else link(shown, result) for shown, result in figures_at(table, found, at)]
        lines.append([*(f"{value:g}" for value in at), *told])
    return lines


def figures_at(table: Table, found: Sequence[World], at: tuple[float, ...]) -> list[tuple[str, Result | None]]:
    """Return what the proxies that were measured say of one world, each with the first of the records behind it."""
    return [
        (form_of(one).figure(one.values[at]), one.results[at][0]) if at in one.values else (NOT_RUN, None)
        for one in measured(table, found)
    ]


def sentences(table: Table, found: Sequence[World]) -> list[str]:
    """Return what the correlations are, and what they are worth."""
    base, seeds = base_name(table.board), min(len(row.seeds) for world in found for row in world.sweep.rows)
    n, facts = len({world.at for world in found}), " and ".join(table.board.facts)
    missing = [one.proxy.label for one in shown(table, found) if not one.values]
    return [
        f"Gain at p = {RECAPTIONS:g}: recaptions alone against {base}, paired by training seed. Gain at the best p: of the "
        "best mean, which is picked on the seeds that it is told of and so flatters.",
        "Each figure: Spearman's rank correlation between a measure of the captions, which takes no training, and the gain, "
        f"over the worlds that have both ({EMPTY}: fewer than {FEWEST}, or all alike); in brackets what holds 95 % of "
        f"resampled seeds ({seeds} of each training). The measures' own errors, other images and other worlds are not in it.",
        "A measure is a mean over the captions that it applies to: images without a caption are in none, and those whose "
        "caption claims nothing not in that of true claims. So differences are of means, not of pairs.",
        f"The {n} worlds are settings of {facts} in one laboratory, which the measures follow by construction. A high figure "
        "says that a measure orders these worlds as their gains do, not that it would foretell gains on other data; over so "
        "few worlds, figures that differ need not differ elsewhere. Nothing is tested.",
        *([f"Not run: {', '.join(missing)}."] if missing else []),
    ]
