"""From results to a table of cells: values, errors, differences, provenance. No formatting.

A board says which columns it has; results that answer a column's question in the same way (task version, settings, data,
completeness) stand in it, and those that do not are left out with the field that differs.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recap_eval.artifact import RUN_FACTS
from recap_eval.board import Board, as_measured, asked, comparable, load_board, with_variants
from recap_eval.published import PublishedTable, load_published
from recap_eval.results import Result, estimate_of, n_items, read_results
from recap_eval.stats import ALPHA, BestPlace, Estimate, best_place, holm, mean_over_seeds, paired_items


@dataclass(frozen=True)
class Difference:
    """A paired difference.

    Args:
        estimate: Mean, interval and raw p-value.
        basis: "seeds" (training randomness is in the interval) or "items" (one seed: it is not).
        p_holm: p-value after Holm's correction over the rows of the column.
    """

    estimate: Estimate
    basis: str
    p_holm: float | None = None

    @property
    def separable(self) -> bool:
        """True if the difference is not 0 by the corrected test at 5 %."""
        return self.p_holm is not None and self.p_holm < ALPHA


@dataclass(frozen=True)
class Cell:
    """One figure.

    Args:
        estimate: Mean over seeds with its interval; of one seed, the interval over items.
        results: The records behind it, one per seed.
        n: Items measured.
        to_baseline: Difference to the row at the board's baseline, or None.
        best: Best of its column, by the metric's direction.
        tied: Not separable from the best.
    """

    estimate: Estimate
    results: tuple[Result, ...]
    n: int
    to_baseline: Difference | None = None
    best: bool = False
    tied: bool = False


@dataclass(frozen=True)
class Row:
    """Models that differ in nothing but their training seed.

    Args:
        label: Name of the row.
        axis: Value on the board's axis; None for models that have none.
        seeds: Training seeds.
        cells: By column number; a missing one was not run.
    """

    label: str
    axis: float | None
    seeds: tuple[int, ...]
    cells: dict[int, Cell]


@dataclass(frozen=True)
class Sweep:
    """Rows that may be compared: same recipe, data and number of samples, along the axis."""

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Group:
    """Rows without an axis, measured on the same data.

    Args:
        rows: The rows.
        title: Which data they are of, on a board that has a section for each; "" on others.
    """

    rows: tuple[Row, ...]
    title: str = ""


@dataclass(frozen=True)
class Table:
    """A board, filled.

    Args:
        board: Its definition.
        sweeps: Comparable rows along the axis.
        groups: Models without a place on the axis: one group, or one for each data set.
        left_out: Sentence by result that cannot stand in the table.
        sources: The data behind the columns: column number and record of `data`.
        published: Published figures for the same columns, in no rank, difference or interval.
    """

    board: Board
    sweeps: tuple[Sweep, ...]
    groups: tuple[Group, ...]
    left_out: tuple[str, ...]
    sources: tuple[tuple[int, dict[str, Any]], ...] = ()
    published: tuple[PublishedTable, ...] = ()

    @property
    def parts(self) -> tuple[Sweep | Group, ...]:
        """Everything that was measured, section by section."""
        return (*self.sweeps, *self.groups)

    @property
    def measured(self) -> bool:
        """True if any result stands in the table."""
        return bool(self.parts)


def build_table(name: str, leaderboards: Path) -> Table:
    """Fill a board from the results of a leaderboards folder.

    Raises:
        UserError, DataError: See `load_board`, `load_published` and `read_results`.
    """
    results = read_results(leaderboards)
    board = with_variants(load_board(name, leaderboards), results)
    parts = _by_data(board, results)
    filled = [_fill(board, some) for some in parts.values()]
    found = [[one for part, _ in filled for one in part[number]] for number in range(len(board.columns))]
    board = replace(board, columns=tuple(map(as_measured, board.columns, found)))
    apart = [one.maker for column in found for one in column if _sweep_key(one.meta, board.axis) is None]
    labels = _labels(list(dict.fromkeys(apart)))
    rows = [_rows(board, part, labels) for part, _ in filled]
    groups = [Group(others, title) for (_, others), title in zip(rows, parts, strict=True) if others]
    left_out = dict.fromkeys(sentence for _, odd in filled for sentence in odd)
    sources = [(number, one[0].record["data"]) for part, _ in filled for number, one in part.items() if one]
    published = tuple(load_published(reference, leaderboards) for reference in board.published)
    sweeps = tuple(sweep for part, _ in rows for sweep in part)
    return Table(board, sweeps, tuple(groups), tuple(left_out), tuple(sources), published)


def _by_data(board: Board, results: list[Result]) -> dict[str, list[Result]]:
    """Return what is to be compared together: all results, or by a title those of each data set that a column asks for."""
    if not board.by_data:
        return {"": results}
    order = {column.task: number for number, column in reversed(list(enumerate(board.columns)))}
    named: dict[str, list[Result]] = defaultdict(list)
    for found in sorted((one for one in results if one.task in order), key=lambda one: order[one.task]):
        named[found.record["data"]["name"]].append(found)
    return {f"{name}: {some[0].record['data']['reference']}": some for name, some in sorted(named.items())}


def _fill(board: Board, results: list[Result]) -> tuple[dict[int, list[Result]], list[str]]:
    """Return the results that stand in each column, and a sentence on each that does not."""
    by_column: dict[int, list[Result]] = {}
    left_out: list[str] = []
    for number, column in enumerate(board.columns):
        alike, odd = comparable(asked(board, number, results), column)
        by_column[number], repeated = _one_a_seed(alike, board.axis)
        left_out += odd + repeated
    return by_column, left_out


def _one_a_seed(results: list[Result], axis: str) -> tuple[list[Result], list[str]]:
    """Keep the first result of each run that is to stand for itself; sentences on the others."""
    first: dict[tuple[object, ...], Result] = {}
    sentences = []
    for found in results:
        sweep = _sweep_key(found.meta, axis)
        who = found.maker if sweep is None else (*sweep, found.meta[axis], _seed(found))
        if first.setdefault(who, found) is not found:
            sentences.append(f"{found.model} on {found.task}: {first[who].path.parent.name} is of the same run and seed")
    return list(first.values()), sentences


def _sweep_key(meta: dict[str, Any], axis: str) -> tuple[str, ...] | None:
    """Return what rows of a sweep have in common, or None for a model that has no value on the axis."""
    if not isinstance(meta.get(axis), int | float):
        return None
    return tuple(str(meta.get(fact)) for fact in RUN_FACTS)


Labels = dict[tuple[str, str], str]  # of models, by name and revision


def _rows(board: Board, by_column: dict[int, list[Result]], labels: Labels) -> tuple[tuple[Sweep, ...], tuple[Row, ...]]:
    groups: dict[tuple[str, ...], dict[float, dict[int, list[Result]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    single: dict[tuple[str, str], dict[int, list[Result]]] = defaultdict(lambda: defaultdict(list))
    for number, results in by_column.items():
        for found in results:
            key = _sweep_key(found.meta, board.axis)
            if key is None:
                single[found.maker][number].append(found)
            else:
                groups[key][float(found.meta[board.axis])][number].append(found)
    sweeps = tuple(_sweep(board, key, groups[key]) for key in sorted(groups))
    return sweeps, tuple(_row(board, labels[who], None, cells) for who, cells in sorted(single.items()))


def _labels(makers: list[tuple[str, str]]) -> Labels:
    """Return what models are called: by name, with the revision where the name alone is not clear."""
    names = [name for name, _ in makers]
    return {(name, told): name if names.count(name) == 1 else f"{name} ({_short(told)})" for name, told in makers}


def _short(revision: str) -> str:
    digest, *sampling = revision.split(", ")
    return ", ".join([digest[:12], *sampling])


def _seed(result: Result) -> int:
    return int(result.meta.get("seed", 0))


def _value(result: Result, metric: str) -> float:
    return float(result.record["metrics"][metric]["value"])


def _row(board: Board, label: str, axis: float | None, columns: dict[int, list[Result]]) -> Row:
    cells = {}
    for number, results in columns.items():
        chosen = tuple(sorted(results, key=_seed))
        cells[number] = Cell(_estimate(chosen, board.columns[number].metric), chosen, _items(chosen, board, number))
    seeds = sorted({_seed(found) for cell in cells.values() for found in cell.results})
    return Row(label, axis, tuple(seeds), cells)


def _items(results: tuple[Result, ...], board: Board, number: int) -> int:
    """Return how many items were measured; of a figure of the whole, how many it was made of."""
    n = int(results[0].record["metrics"][board.columns[number].metric]["n"])
    return n or int(results[0].record["settings"].get("n", 0))


def _estimate(results: tuple[Result, ...], metric: str) -> Estimate:
    """Mean over seeds; of one seed, its own interval over items."""
    if len(results) > 1:
        return mean_over_seeds([_value(found, metric) for found in results])
    return estimate_of(results[0].record["metrics"][metric])


def difference(ours: Cell, base: Cell, metric: str) -> Difference | None:
    """Return the paired difference of two cells: over their common seeds, or over items if they share only one.

    Returns:
        None if they share no seed, or one and their figures are of the whole.
    """
    left = {_seed(found): found for found in ours.results}
    right = {_seed(found): found for found in base.results}
    common = sorted(left.keys() & right.keys())
    if len(common) > 1:
        return Difference(mean_over_seeds([_value(left[s], metric) - _value(right[s], metric) for s in common]), "seeds")
    if not common or not all(n_items(found[common[0]].record["metrics"][metric]) for found in (left, right)):
        return None
    one, two = left[common[0]].items(metric), right[common[0]].items(metric)
    if one.items != two.items:
        return None
    return Difference(paired_items(one.values, two.values, one.clusters), "items")


def best_along_axis(sweep: Sweep, number: int, metric: str) -> tuple[list[Row], BestPlace] | None:
    """Return the rows that were measured in a column, and where among them the best lies by resampling their common seeds.

    Returns:
        None if there are fewer than two such rows, or fewer than two seeds common to all of them.
    """
    rows = [row for row in sweep.rows if number in row.cells]
    scores = [{_seed(found): _value(found, metric) for found in row.cells[number].results} for row in rows]
    if len(rows) < 2:
        return None
    common = sorted(set.intersection(*(set(known) for known in scores)))
    upward = rows[0].cells[number].results[0].record["metrics"][metric]["higher_is_better"]
    found = best_place([[known[seed] for known in scores] for seed in common], upward) if common else None
    return None if found is None else (rows, found)


def _corrected(found: dict[float, Difference | None]) -> dict[float, Difference]:
    """Give each difference its Holm-corrected p-value among those of its column."""
    known = {axis: diff for axis, diff in found.items() if diff is not None and diff.estimate.p_value is not None}
    adjusted = holm([diff.estimate.p_value or 0.0 for diff in known.values()])
    return {axis: replace(diff, p_holm=p) for (axis, diff), p in zip(known.items(), adjusted, strict=True)}


def _sweep(board: Board, key: tuple[str, ...], points: dict[float, dict[int, list[Result]]]) -> Sweep:
    rows = {axis: _row(board, f"{axis:g}", axis, points[axis]) for axis in sorted(points)}
    for number, column in enumerate(board.columns):
        cells = {axis: row.cells[number] for axis, row in rows.items() if number in row.cells}
        for axis, cell in _judged(cells, column.metric, board.baseline).items():
            rows[axis].cells[number] = cell
    return Sweep(_title(dict(zip(RUN_FACTS, key, strict=True))), tuple(rows.values()))


def _title(facts: dict[str, str]) -> str:
    """Say what the runs of a sweep have in common, as far as their makers told."""
    known = {fact: value for fact, value in facts.items() if value != str(None)}
    known |= {"samples_seen": f"{int(known['samples_seen']):,} samples seen"} if "samples_seen" in known else {}
    known |= {"train_data": f"training data {known['train_data'][:8]}"} if "train_data" in known else {}
    known |= {"sampled": f"sampled with {known['sampled']}"} if "sampled" in known else {}
    order = ("recipe", "samples_seen", "precision", "mix", "train_data", "sampled")
    return ", ".join(known[fact] for fact in order if fact in known) or "runs of one kind"


def _judged(cells: dict[float, Cell], metric: str, baseline: float) -> dict[float, Cell]:
    """Mark one column: differences to the baseline, the best, and what is not separable from it."""
    if not cells:
        return {}
    upward = next(iter(cells.values())).results[0].record["metrics"][metric]["higher_is_better"]
    top = max(cells, key=lambda axis: cells[axis].estimate.value * (1 if upward else -1))
    rest = {axis: cell for axis, cell in cells.items() if axis != top}
    to_best = _corrected({axis: difference(cell, cells[top], metric) for axis, cell in rest.items()})
    to_base: dict[float, Difference] = {}
    if baseline in cells:
        others = {axis: cell for axis, cell in cells.items() if axis != baseline}
        to_base = _corrected({axis: difference(cell, cells[baseline], metric) for axis, cell in others.items()})
    return {
        axis: replace(
            cell,
            to_baseline=to_base.get(axis),
            best=axis == top and len(cells) > 1,
            tied=axis != top and not (axis in to_best and to_best[axis].separable),
        )
        for axis, cell in cells.items()
    }
