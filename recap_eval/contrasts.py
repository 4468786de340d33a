"""Differences on a board that a finding rests on: of two places on its axis, of two rows, of two recipes along the axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from recap_eval.column_scores import ColumnScores
from recap_eval.differences import difference, seed_scores
from recap_eval.gains import SLOPE, alike, along, gain
from recap_eval.stats import mean_over_seeds, paired_items
from recap_eval.table import Cell, Difference, Place, Row, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recap_eval.results import Result


@dataclass(frozen=True)
class Contrast:
    """A difference, and of which places or over which it is.

    Args:
        difference: The difference; None if nothing can be said.
        places: Places on the board's axis, or names of rows beside it: the two that are compared, or all that a gain is taken
            over.
    """

    difference: Difference | None
    places: tuple[Place, ...] = ()


def of_places(table: Table, number: int, places: tuple[Place, Place]) -> Contrast | None:
    """Return the first place's figure less the second's, in the sweep that has most seeds there.

    For a place strictly between 0 and 1 that a sweep has not, the nearest such place stands. Among sweeps with as many seeds
    the one that comes nearest counts, then the one with most places, then the first.

    Args:
        table: The board's table.
        number: The column.
        places: Two places on its axis, or names of rows beside it.

    Returns:
        None if no sweep has both.
    """
    found = []
    for sweep in table.sweeps:
        rows: dict[Place, Row] = {row.place: row for row in sweep.shown if number in row.cells}
        near = [_nearest(place, list(rows)) for place in places]
        at = tuple(place for place in near if place is not None)
        if len(set(at)) == 2:
            cells = [rows[place].cells[number] for place in at]
            off = sum(abs(a - b) for a, b in zip(at, places, strict=True) if isinstance(a, float) and isinstance(b, float))
            found.append(((min(len(cell.results) for cell in cells), -off, len(rows)), cells, at))
    if not found:
        return None
    _, (ours, base), at = max(found, key=lambda one: one[0])
    return Contrast(difference(ours, base, ColumnScores(table.board.columns[number].metric)), at)


def _nearest(place: Place, trained: list[Place]) -> Place | None:
    if place in trained or isinstance(place, str) or not 0 < place < 1:
        return place if place in trained else None
    mixes = [other for other in trained if isinstance(other, float) and 0 < other < 1]
    return min(mixes, key=lambda other: abs(other - place), default=None)


def of_best_mix(table: Table, number: int, base: float) -> Contrast | None:
    """Return what the best place strictly between 0 and 1 has over another place, without the flattery of choosing it.

    For each training seed the place is chosen by the mean of the other seeds and told of this one; what it is told of had no
    part in choosing it. The sweep with most common seeds counts, then the one with most places.

    Args:
        table: The board's table.
        number: The column.
        base: The other place.

    Returns:
        None if no sweep has that place, one between 0 and 1, and two seeds common to all its places.
    """
    import numpy as np

    metric = table.board.columns[number].metric
    able = []
    for found in (seed_scores(sweep, number, metric) for sweep in table.sweeps):
        places = [] if found is None else [row.axis for row in found.rows]
        mixes = [at for at, place in enumerate(places) if place is not None and 0 < place < 1]
        if found is not None and len(found.seeds) > 1 and base in places and mixes:
            able.append((found, mixes, places.index(base)))
    if not able:
        return None
    found, mixes, at_base = max(able, key=lambda one: (len(one[0].seeds), len(one[0].rows)))
    scores = np.array(found.scores) * (1 if found.upward else -1)
    chosen = [mixes[int(np.delete(scores, seed, axis=0)[:, mixes].mean(axis=0).argmax())] for seed in range(len(scores))]
    changes = [found.scores[seed][best] - found.scores[seed][at_base] for seed, best in enumerate(chosen)]
    at = sorted({place for best in chosen if (place := found.rows[best].axis) is not None})
    return Contrast(Difference(mean_over_seeds(changes), "seeds"), tuple(at))


def of_rows(table: Table, number: int, labels: Sequence[str]) -> Contrast | None:
    """Return one row's figure less another's over the items that both have, or less chance.

    Args:
        table: The table of a board without an axis.
        number: The column.
        labels: One row or two.

    Returns:
        None unless all of them are there.
    """
    rows: dict[str, Row] = {row.label: row for group in table.groups for row in group.rows if number in row.cells}
    found = [rows[label].cells[number] for label in labels if label in rows]
    return Contrast(_over_common(found, table.board.columns[number].metric)) if len(found) == len(labels) else None


def _over_common(cells: Sequence[Cell], metric: str) -> Difference | None:
    import numpy as np

    ours = _items(cells[0].results[0], metric)
    chance = cells[0].results[0].record["metrics"][metric]["chance"]
    if len(cells) > 1:
        base = {item: value for item, (value, _) in _items(cells[1].results[0], metric).items()}
    else:
        base = {} if chance is None else dict.fromkeys(ours, float(chance))
    common = [item for item in ours if item in base]
    clusters = [ours[item][1] for item in common]
    if len(set(clusters)) < 2:
        return None
    values, less = (np.array(column) for column in zip(*((ours[item][0], base[item]) for item in common), strict=True))
    return Difference(paired_items(values, less, clusters), "items")


def _items(result: Result, metric: str) -> dict[str, tuple[float, str]]:
    """Return value and cluster by item."""
    rows = result.rows(metric, ("item", "cluster"))
    item, value, cluster = (rows[name].to_pylist() for name in ("item", "value", "cluster"))
    return dict(zip(item, zip(value, cluster, strict=True), strict=True))


def of_recipes(table: Table, number: int, recipes: tuple[str, str], of: str) -> Contrast | None:
    """Return what one recipe gains over another that was trained alike, along the axis.

    The pair of sweeps with most common seeds counts, then the one with most places.

    Args:
        table: The board's table.
        number: The column.
        recipes: The one, and the one that it is held against.
        of: "mean": the mean of the gains over the places that both have. "slope": by how much the gain is higher at 1 of the
            axis than at 0, by least squares through these places.

    Returns:
        None if no two sweeps of these recipes have enough places and a seed in common.
    """
    found = [along(one, two, number) for one, two in alike(table.sweeps, number, recipes)]
    able = [pair for pair in found if pair.seeds and len(pair.places) >= (2 if of == SLOPE else 1)]
    if not able:
        return None
    pair = max(able, key=lambda one: (len(one.seeds), len(one.places)))
    return Contrast(gain(pair, ColumnScores(table.board.columns[number].metric), of), pair.places)
