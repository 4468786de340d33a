"""What a recipe gains along the axis of a board over another that was trained alike."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from recap_eval.artifact import RUN_FACTS
from recap_eval.differences import by_seed, corrected, difference, value_of
from recap_eval.results import n_items
from recap_eval.stats import mean_over_seeds, paired_items
from recap_eval.table import Cell, Difference, Gains, Place, Row, Sweep

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np

    from recap_eval.column_scores import ColumnScores
    from recap_eval.results import Result

MEAN, SLOPE = "mean", "slope"
RECIPE = ("recipe", "recipe_digest")


@dataclass(frozen=True)
class Pair:
    """Two sweeps at their common places, with the seeds that both have at all of them.

    Args:
        places: The P places.
        seeds: The seeds.
        cells: Of the one and of the other sweep, P cells.
    """

    places: tuple[float, ...]
    seeds: tuple[int, ...]
    cells: tuple[list[Cell], list[Cell]]

    def results(self, seed: int) -> tuple[list[Result], list[Result]]:
        """Return of both the P results of a seed."""
        ours, base = ([by_seed(cell)[seed] for cell in cells] for cells in self.cells)
        return ours, base


def along(one: Sweep, two: Sweep, number: int) -> Pair:
    """Return where two sweeps can be held against each other in a column."""
    ours, base = ({row.axis: row.cells[number] for row in sweep.rows if number in row.cells} for sweep in (one, two))
    places = tuple(sorted(place for place in ours if place is not None and place in base))
    cells = ([ours[place] for place in places], [base[place] for place in places])
    seeds = [set(by_seed(cell)) for some in cells for cell in some]
    return Pair(places, tuple(sorted(set.intersection(*seeds))) if seeds else (), cells)


def alike(sweeps: Sequence[Sweep], number: int, recipes: tuple[str, str]) -> list[tuple[Sweep, Sweep]]:
    """Return the pairs of sweeps of two recipes that differ in nothing else, as the makers of a column's models told."""
    known = [(sweep, _facts(sweep, [number])) for sweep in sweeps]
    return [
        (one, two)
        for one, ours in known
        for two, base in known
        if (ours.get("recipe"), base.get("recipe")) == recipes and _rest(ours) == _rest(base)
    ]


def gain(pair: Pair, scores: ColumnScores, of: str) -> Difference | None:
    """Return the gain over common seeds, or over items if there is one: an item's gains at all places are one figure of it.

    Args:
        pair: Two sweeps; they have a seed in common.
        scores: The column's per-item scores.
        of: "mean": the mean of the gains over the places. "slope": by how much the gain is higher at 1 of the axis than at
            0, by least squares through the places.

    Returns:
        None if they share one seed and were not measured on the same items.

    Raises:
        DataError: See `Result.items`.
    """
    weights = _weights(pair.places, of)
    by_seeds = [pair.results(seed) for seed in pair.seeds]
    if len(by_seeds) > 1:
        gains = [weights @ (_values(ours, scores.metric) - _values(base, scores.metric)) for ours, base in by_seeds]
        return Difference(mean_over_seeds([float(one) for one in gains]), "seeds")
    results = [found for some in by_seeds[0] for found in some]
    kept = all(n_items(found.record["metrics"][scores.metric]) for found in results)
    aligned = scores.aligned(results) if kept else None
    if aligned is None:
        return None
    ours, base = aligned[0][: len(weights)], aligned[0][len(weights) :]
    return Difference(paired_items(weights @ ours, weights @ base, aligned[1]), "items")


@dataclass(frozen=True)
class RecipePair:
    """Two sweeps that differ in their recipe alone, measured against each other column by column.

    Args:
        names: The recipe, and the one that it is held against.
        one: The sweep.
        two: The other.
    """

    names: tuple[str, str]
    one: Sweep
    two: Sweep
    _cells: dict[Place, dict[int, Cell]] = field(default_factory=dict)
    _means: dict[int, Difference] = field(default_factory=dict)

    def measure(self, number: int, scores: ColumnScores) -> None:
        """Measure one column.

        Raises:
            DataError: See `Result.items`.
        """
        ours, base = ({row.place: row.cells[number] for row in _with(sweep, number)} for sweep in (self.one, self.two))
        told = corrected({place: difference(ours[place], base[place], scores) for place in ours if place in base})
        for place, change in told.items():
            self._cells.setdefault(place, {})[number] = replace(ours[place], to_baseline=change, best=False, tied=False)
        pair = along(self.one, self.two, number)
        if pair.seeds and (mean := gain(pair, scores, MEAN)) is not None:
            self._means[number] = mean

    def gains(self) -> Gains:
        """Return what was measured."""
        rows = [replace(row, cells=self._cells[row.place]) for row in self.one.shown if row.place in self._cells]
        return Gains(*self.names, tuple(rows), self._means)


def recipe_pairs(sweeps: Sequence[Sweep], columns: Sequence[int]) -> list[RecipePair]:
    """Return each sweep beside that of the recipe with fewest parameters, where they differ in their recipe alone."""
    known = [(sweep, _facts(sweep, columns)) for sweep in sweeps]
    found = []
    for one, ours in known:
        two, base = min((each for each in known if _rest(each[1]) == _rest(ours)), key=lambda each: _size(each[1]))
        names = [facts.get("recipe") for facts in (ours, base)]
        if None not in names and names[0] != names[1]:
            found.append(RecipePair((str(names[0]), str(names[1])), one, two))
    return found


def _with(sweep: Sweep, number: int) -> Iterable[Row]:
    return (row for row in sweep.shown if number in row.cells)


def _facts(sweep: Sweep, columns: Iterable[int]) -> dict[str, object]:
    """Return what is told of the making of the sweep's models, by the first of them that was measured in these columns."""
    cells = (row.cells[number] for number in columns for row in sweep.rows if number in row.cells)
    return next((facts for cell in cells if (facts := cell.results[0].meta)), {})


def _size(facts: dict[str, object]) -> tuple[int, str]:
    parameters = facts.get("parameters")
    return parameters if isinstance(parameters, int) else 0, str(facts.get("recipe"))


def _rest(facts: dict[str, object]) -> list[object]:
    return [facts.get(fact) for fact in RUN_FACTS if fact not in RECIPE]


def _values(results: Sequence[Result], metric: str) -> np.ndarray:
    import numpy as np

    return np.array([value_of(found, metric) for found in results], dtype=np.float64)


def _weights(places: tuple[float, ...], of: str) -> np.ndarray:
    """Return (P,) weights whose product with the gains at P places is their mean, or their slope over the places."""
    import numpy as np

    if of == MEAN:
        return np.full(len(places), 1 / len(places))
    off = np.array(places) - np.mean(places)
    weights: np.ndarray = off / (off @ off)
    return weights
