"""Where the best p lies in each of several worlds, and how it moves with what was said of their data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recap_eval.differences import SeedScores, best_along_axis, seed_scores
from recap_eval.report.cells import Link, delta_text, plain
from recap_eval.report.forms import Form, forms
from recap_eval.stats import LEVEL, resamples
from recap_eval.table import Cell, Sweep, Table

if TYPE_CHECKING:
    import numpy as np

EMPTY = "–"


@dataclass(frozen=True)
class Best:
    """Where the best of a column lies in one world.

    Args:
        p: The best place.
        likely: Places of the smallest set that holds the best in 95 % of resampled seeds; that place alone of one seed.
        cell: Its figure, with the difference to the baseline.
        form: How its figures are written.
    """

    p: float
    likely: tuple[float, ...]
    cell: Cell
    form: Form

    def text(self) -> str:
        """Return the place, where else it may lie, and what it gains over the baseline."""
        others = f" {{{', '.join(f'{place:g}' for place in self.likely)}}}" if self.likely != (self.p,) else ""
        return f"{self.p:g}{others}" + (f"; {delta_text(self.cell, self.form)}" if self.cell.to_baseline else "")


@dataclass(frozen=True)
class World:
    """Trainings on the same data.

    Args:
        at: Values of the board's facts.
        sweep: The trainings.
        best: By column; None where fewer than two places were measured.
    """

    at: tuple[float, ...]
    sweep: Sweep
    best: tuple[Best | None, ...]


@dataclass(frozen=True)
class Trend:
    """How two things go together over worlds, by rank.

    Args:
        rho: Spearman's correlation; None if either never changes.
        low, high: Ends of what holds 95 % of resampled seeds, or None of fewer than two seeds.
    """

    rho: float | None
    low: float | None
    high: float | None


def worlds(table: Table) -> list[World]:
    """Return the worlds of a board that asks for facts, in order; none if they are fewer than two, or not numbers."""
    found = []
    for sweep in table.sweeps:
        said = next(iter(sweep.rows[0].cells.values())).results[0].meta.get("facts", {})
        at = tuple(said.get(name) for name in table.board.facts)
        if at and all(isinstance(value, int | float) for value in at) and len(sweep.rows) > 1:
            found.append(World(at, sweep, _bests(table, sweep)))
    return sorted(found, key=lambda world: world.at) if len({world.at for world in found}) > 1 else []


def _bests(table: Table, sweep: Sweep) -> tuple[Best | None, ...]:
    shape = forms(table)
    bests: list[Best | None] = []
    for number, column in enumerate(table.board.columns):
        top = next((row for row in sweep.rows if number in row.cells and row.cells[number].best), None)
        if top is None or top.axis is None:
            bests.append(None)
            continue
        found = best_along_axis(sweep, number, column.metric)
        likely = () if found is None else tuple(found[0][place].axis or 0.0 for place in found[1].likely)
        bests.append(Best(top.axis, likely or (top.axis,), top.cells[number], shape[number]))
    return tuple(bests)


def trend(table: Table, found: Sequence[World], number: int, fact: int) -> Trend:
    """Return how the best place of a column goes with a fact, over all worlds that have the column."""
    metric = table.board.columns[number].metric
    known = [(world.at[fact], one) for world in found if (one := seed_scores(world.sweep, number, metric)) is not None]
    common = sorted(set.intersection(*(set(one.seeds) for _, one in known))) if len(known) > 1 else []
    if not common:
        return Trend(None, None, None)
    return resampled_trend([at for at, _ in known], [_bests_of(one, common) for _, one in known], len(common))


def resampled_trend(facts: Sequence[float], tells: Sequence[Callable[[np.ndarray], float]], seeds: int) -> Trend:
    """Return how something that trainings tell goes with a fact, over worlds, and where resampled seeds put that.

    A seed is drawn in all worlds at once; see `stats.best_place`.

    Args:
        facts: The fact of each world.
        tells: What each world's trainings tell, of how often each of their common seeds counts.
        seeds: How many these are.
    """
    import numpy as np

    counts, weights = resamples(seeds)
    whole = _rho(facts, [tell(np.ones(seeds)) for tell in tells])
    drawn = [(_rho(facts, [tell(row) for tell in tells]), weight) for row, weight in zip(counts, weights, strict=True)]
    there = sorted((rho, weight) for rho, weight in drawn if rho is not None)
    if seeds < 2 or not there:
        return Trend(whole, None, None)
    values, shares = np.array(there).T
    sums, rest = np.cumsum(shares) / shares.sum(), (1 - LEVEL) / 2
    low, high = (float(values[min(len(values) - 1, int(np.searchsorted(sums, end)))]) for end in (rest, 1 - rest))
    return Trend(whole, low, high)


def _bests_of(scores: SeedScores, seeds: Sequence[int]) -> Callable[[np.ndarray], float]:
    """Return what tells the best place of a mean over seeds, weighted by how often each counts."""
    import numpy as np

    there = [scores.seeds.index(seed) for seed in seeds]
    signed = np.array(scores.scores)[there] * (1 if scores.upward else -1)
    return lambda weights: float(scores.rows[int((weights @ signed).argmax())].axis or 0.0)


def _rho(facts: Sequence[float], places: Sequence[float]) -> float | None:
    from scipy.stats import spearmanr

    return None if len(set(facts)) < 2 or len(set(places)) < 2 else float(spearmanr(facts, places).statistic)


def title(table: Table) -> str:
    """Return the heading of what is told here."""
    return f"Where the best p lies, by {' and '.join(table.board.facts)}"


def grid(table: Table, found: Sequence[World], link: Link = plain) -> list[list[str]]:
    """Return the worlds as text, header first: a world a row, a column of the board a column."""
    lines = [[*table.board.facts, *(column.label for column in table.board.columns)]]
    for world in found:
        told = [link(best.text(), best.cell.results[0]) if best else EMPTY for best in world.best]
        lines.append([*(f"{value:g}" for value in world.at), *told])
    return lines


def sentences(table: Table, found: Sequence[World]) -> list[str]:
    """Return how the best place of each column goes with each fact, and what that is worth."""
    lines = []
    for number, column in enumerate(table.board.columns):
        told = [f"{_told(trend(table, found, number, fact))} with {name}" for fact, name in enumerate(table.board.facts)]
        lines.append(f"{column.label}: the best p goes {', '.join(told)}.")
    seeds = min(len(row.seeds) for world in found for row in world.sweep.rows)
    how = f"Spearman's rank correlation over {len(found)} worlds; in brackets what holds 95 % of resampled seeds"
    lines.append(f"{how} ({seeds} of each training): other worlds and other places of p are not in it.")
    return lines


def _told(one: Trend) -> str:
    return figure(one, "nowhere")


def figure(one: Trend, void: str = EMPTY) -> str:
    """Return a correlation with its ends; `void` if it is none."""
    if one.rho is None:
        return void
    ends = "" if one.low is None or one.high is None else f" [{_signed(one.low)}, {_signed(one.high)}]"
    return f"{_signed(one.rho)}{ends}"


def _signed(rho: float) -> str:
    return f"{round(rho, 2) + 0.0:+.2f}"  # no -0.00 from the last bits
