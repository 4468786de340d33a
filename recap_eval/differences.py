"""Differences between cells of a table, over common training seeds or item by item, and what they make of its rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from recap_eval.results import n_items
from recap_eval.stats import BestPlace, best_place, holm, mean_over_seeds
from recap_eval.table import Cell, Difference, Place, Row, Sweep

if TYPE_CHECKING:
    from recap_eval.column_scores import ColumnScores
    from recap_eval.results import Result


def seed_of(result: Result) -> int:
    """Return the training seed of the model behind a result; 0 if it told none."""
    return int(result.meta.get("seed", 0))


def value_of(result: Result, metric: str) -> float:
    """Return a figure."""
    return float(result.record["metrics"][metric]["value"])


def difference(ours: Cell, base: Cell, scores: ColumnScores) -> Difference | None:
    """Return the paired difference of two cells: over their common seeds, or over items if they share only one.

    Args:
        ours: One cell of a column.
        base: Another one.
        scores: The column's per-item scores.

    Returns:
        None if they share no seed, or one and their figures are of the whole.
    """
    metric = scores.metric
    left, right = by_seed(ours), by_seed(base)
    common = sorted(left.keys() & right.keys())
    if len(common) > 1:
        return Difference(mean_over_seeds([value_of(left[s], metric) - value_of(right[s], metric) for s in common]), "seeds")
    if not common or not all(n_items(found[common[0]].record["metrics"][metric]) for found in (left, right)):
        return None
    found = scores.paired(left[common[0]], right[common[0]])
    return None if found is None else Difference(found, "items")


def by_seed(cell: Cell) -> dict[int, Result]:
    """Return the results behind a cell by their training seed."""
    return {seed_of(found): found for found in cell.results}


def best_along_axis(sweep: Sweep, number: int, metric: str) -> tuple[list[Row], BestPlace] | None:
    """Return the rows that were measured in a column, and where among them the best lies by resampling their common seeds.

    Returns:
        None if there are fewer than two such rows, or fewer than two seeds common to all of them.
    """
    found = seed_scores(sweep, number, metric)
    best = None if found is None else best_place(found.scores, found.upward)
    return None if found is None or best is None else (list(found.rows), best)


@dataclass(frozen=True)
class SeedScores:
    """A column's figures along the axis, seed by seed.

    Args:
        rows: The rows that have it.
        seeds: Training seeds that all of them have.
        scores: A list a seed: a figure a row.
        upward: Whether higher is better.
    """

    rows: tuple[Row, ...]
    seeds: tuple[int, ...]
    scores: tuple[tuple[float, ...], ...]
    upward: bool


def seed_scores(sweep: Sweep, number: int, metric: str) -> SeedScores | None:
    """Return a column's figures by seed; None if fewer than two rows have it, or no seed all of them."""
    rows = tuple(row for row in sweep.rows if number in row.cells)
    known = [{seed: value_of(found, metric) for seed, found in by_seed(row.cells[number]).items()} for row in rows]
    common = sorted(set.intersection(*(set(one) for one in known))) if len(rows) > 1 else []
    if not common:
        return None
    upward = bool(rows[0].cells[number].results[0].record["metrics"][metric]["higher_is_better"])
    return SeedScores(rows, tuple(common), tuple(tuple(one[seed] for one in known) for seed in common), upward)


def corrected(found: dict[Place, Difference | None]) -> dict[Place, Difference]:
    """Give each difference its Holm-corrected p-value among those of its column."""
    known = {place: diff for place, diff in found.items() if diff is not None and diff.estimate.p_value is not None}
    adjusted = holm([diff.estimate.p_value or 0.0 for diff in known.values()])
    return {place: replace(diff, p_holm=p) for (place, diff), p in zip(known.items(), adjusted, strict=True)}


def mark(sweep: Sweep, number: int, scores: ColumnScores, baseline: float) -> None:
    """Mark the cells of one column: differences to the baseline, the best along the axis, and what is not separable from it.

    Args:
        sweep: Its cells are replaced by marked ones.
        number: The column.
        scores: The column's per-item scores.
        baseline: The place that differences are to.

    Raises:
        DataError: See `Result.items`.
    """
    rows = {row.place: row for row in sweep.shown if number in row.cells}
    cells = {place: row.cells[number] for place, row in rows.items()}
    along = [place for place in cells if isinstance(place, float)]
    if not along:
        return
    upward = cells[along[0]].results[0].record["metrics"][scores.metric]["higher_is_better"]
    top = max(along, key=lambda place: cells[place].estimate.value * (1 if upward else -1))
    to_best = corrected({place: difference(cells[place], cells[top], scores) for place in along if place != top})
    to_base: dict[Place, Difference] = {}
    if baseline in cells:
        others = {place: cell for place, cell in cells.items() if place != baseline}
        to_base = corrected({place: difference(cell, cells[baseline], scores) for place, cell in others.items()})
    for place, row in rows.items():
        row.cells[number] = replace(
            cells[place],
            to_baseline=to_base.get(place),
            best=place == top and len(along) > 1,
            tied=place in along and place != top and not (place in to_best and to_best[place].separable),
        )
