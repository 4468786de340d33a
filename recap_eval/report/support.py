"""The sentences that say what a table's figures support; only measured rows are spoken of."""

from __future__ import annotations

from collections.abc import Sequence

from recap_eval.board import Column
from recap_eval.differences import SeedScores, best_along_axis, seed_scores
from recap_eval.report.cells import base_name
from recap_eval.report.forms import Form, forms, is_percent
from recap_eval.stats import ALPHA, BestPlace, holm, pooled_differences
from recap_eval.table import Cell, Row, Sweep, Table

RANGE = {"p_original": (0.0, 1.0)}  # axes that end somewhere
FEW_SEEDS = 5
FEWEST_POOLED = 3  # places: of two, the pooled noise is that of their difference


def support(table: Table, sweep: Sweep) -> list[str]:
    """Return what a sweep's figures support, and what they do not; never more than the statistics allow."""
    lines, shape = [], forms(table)
    for number, column in enumerate(table.board.columns):
        cells = {row.label: row.cells[number] for row in sweep.rows if number in row.cells}
        top = next((label for label, cell in cells.items() if cell.best), None)
        if top is None:
            continue
        shown = shape[number].figure(cells[top].estimate.value)
        said = [f"{column.label}: best at p = {top} ({shown}), {_claim(cells, column, shape[number])}"]
        said += [_where(table, *found)] if (found := best_along_axis(sweep, number, column.metric)) else []
        beside = {row.label: row.cells[number] for row in sweep.beside if number in row.cells}
        said += [apart] if (apart := _apart(table, cells, beside, column)) else []
        said += [pooled] if (pooled := _pooled(table, sweep, number)) else []
        lines.append(". ".join(said) + ".")
    return lines + _limits(table, sweep)


def _claim(cells: dict[str, Cell], column: Column, form: Form) -> str:
    """Say how the best of a column stands to the others and to guessing."""
    best = next(cell for cell in cells.values() if cell.best)
    ties = [label for label, cell in cells.items() if cell.tied]
    claim = f"not separable from p = {spans(ties, list(cells))}" if ties else "separable from every other p"
    seeds = {len(cell.results) for cell in cells.values()}
    if seeds == {1}:
        claim += " on these items, of one training seed"
    elif 1 in seeds:
        claim += " over common training seeds, or on these items where there is but one"
    chance = best.results[0].record["metrics"][column.metric]["chance"]
    if chance is not None and _reaches(best, chance, column.higher_is_better):
        claim += f"; and not separable from guessing ({form.figure(chance)})"
    return claim


def spans(labels: Sequence[str], order: Sequence[str]) -> str:
    """Return labels as a list, three or more that follow each other along the axis as "first to last", then those off it.

    Args:
        labels: The labels.
        order: All that stand along the axis.
    """
    places = [place for place, label in enumerate(order) if label in labels]
    runs: list[list[int]] = []
    for place in places:
        if runs and place == runs[-1][-1] + 1:
            runs[-1].append(place)
        else:
            runs.append([place])
    told = [[f"{order[run[0]]} to {order[run[-1]]}"] if len(run) > 2 else [order[place] for place in run] for run in runs]
    return ", ".join([*(text for some in told for text in some), *(label for label in labels if label not in order)])


def _reaches(cell: Cell, chance: float, upward: bool) -> bool:
    """Return whether an interval, or its being unknown, leaves it open that a figure is no better than guessing."""
    low, high = cell.estimate.low, cell.estimate.high
    return low is None or high is None or (low <= chance if upward else high >= chance)


def _where(table: Table, rows: list[Row], found: BestPlace) -> str:
    """Say where the best lies when seeds are resampled, and whether that reaches an end."""
    order = sorted(range(len(rows)), key=lambda place: -found.shares[place])
    shares = [f"{rows[place].label} ({_share(found.shares[place])})" for place in order if found.shares[place] > 0]
    said = (
        f"Resampled seeds put it at p = {', '.join(shares)}; 95 % set: {', '.join(rows[place].label for place in found.likely)}"
    )
    ends = [rows[place] for place in found.likely if place in (0, len(rows) - 1)]
    return said + (f", {_ends(table, ends)}" if ends else "")


def _share(share: float) -> str:
    """Return a share in whole per cent, without rounding a doubt away."""
    return ">99 %" if 0.995 <= share < 1 - 1e-9 else "<1 %" if share < 0.005 else f"{100 * share:.0f} %"


def _ends(table: Table, ends: list[Row]) -> str:
    """Say what an end of the grid means: nothing lies beyond p = 0 and 1, but something may beyond another end."""
    limits = RANGE.get(table.board.axis, ())
    open_ends = [row.label for row in ends if row.axis not in limits]
    closed = [row.label for row in ends if row.axis in limits]
    said = [f"which holds an end of p's range ({' and '.join(closed)})"] if closed else []
    beyond = f"which holds an end of what was trained ({' and '.join(open_ends)}): the true best may lie beyond"
    return ", ".join(said + ([beyond] if open_ends else []))


def _apart(table: Table, along: dict[str, Cell], beside: dict[str, Cell], column: Column) -> str:
    """Say which rows are different from the baseline after Holm's correction, and in which direction."""
    cells = along | beside
    if all(cell.to_baseline is None for cell in cells.values()):
        return ""
    changes = {
        label: cell.to_baseline.estimate.value
        for label, cell in cells.items()
        if cell.to_baseline is not None and cell.to_baseline.separable
    }
    base = base_name(table.board)
    found = _directions(changes, column)
    said = [f"{word} than {base}: p = {spans(labels, list(along))}" for word, labels in found.items()]
    return ". ".join(said) or f"No p is separable from {base}"


def _directions(changes: dict[str, float], column: Column) -> dict[str, list[str]]:
    """Return the rows that are better, and those that are worse; a direction that none has is left out."""
    better = [label for label, change in changes.items() if (change > 0) == column.higher_is_better]
    worse = [label for label in changes if label not in better]
    return {word: labels for word, labels in (("Better", better), ("Worse", worse)) if labels}


def _poolable(table: Table, sweep: Sweep, number: int) -> SeedScores | None:
    """Return a column's figures by seed if their noise can be pooled: two seeds, three places, the baseline one of them."""
    found = seed_scores(sweep, number, table.board.columns[number].metric)
    if found is None or len(found.rows) < FEWEST_POOLED or len(found.seeds) < 2:
        return None
    return found if any(row.axis == table.board.baseline for row in found.rows) else None


def _pooled(table: Table, sweep: Sweep, number: int) -> str:
    """Say which places are different from the baseline if runs scatter alike at all of them."""
    found = _poolable(table, sweep, number)
    if found is None:
        return ""
    labels = [row.label for row in found.rows]
    base = next(at for at, row in enumerate(found.rows) if row.axis == table.board.baseline)
    estimates = pooled_differences(found.scores, base) or []
    known = {label: one for at, (label, one) in enumerate(zip(labels, estimates, strict=True)) if at != base}
    adjusted = holm([one.p_value or 0.0 for one in known.values()])
    changes = {label: one.value for (label, one), p in zip(known.items(), adjusted, strict=True) if p < ALPHA}
    apart = _directions(changes, table.board.columns[number])
    said = [f"{word.lower()}: {spans(some, labels)}" for word, some in apart.items()]
    return f"With noise pooled over p, {'; '.join(said) or 'none is separable'}"


def _pooling(table: Table, sweep: Sweep) -> list[str]:
    """Say what pooling assumes; nothing if no column was pooled."""
    found = [one for number in range(len(table.board.columns)) if (one := _poolable(table, sweep, number)) is not None]
    if not found:
        return []
    least = min((len(one.seeds) - 1) * (len(one.rows) - 1) for one in found)
    return [
        f"Pooled over p: seeds and p as two factors, their residual ({least} degrees of freedom) the noise of every difference "
        f"to {base_name(table.board)}, Holm-corrected. It sees more than tests p by p, marked *, and assumes what so few seeds "
        "cannot show, that runs scatter alike at every p: where the two disagree, more seeds decide."
    ]


def _resampling(table: Table, sweep: Sweep) -> list[str]:
    """Say how the best was looked for, and what too few seeds cannot tell."""
    known = [best_along_axis(sweep, number, column.metric) for number, column in enumerate(table.board.columns)]
    found = [place for _, place in filter(None, known)]
    if not found:
        return ["No two training seeds are common to all p: nothing can be said of where the best p lies."]
    least = min(found, key=lambda place: place.seeds)
    how = f"all {least.resamples:,} resamples" if least.exact else f"{least.resamples:,} resamples"
    said = f"Where the best lies: {how} of {least.seeds} seeds, all p of a seed together"
    few = "So few understate how far the best may move: where the set names fewer p than are not separable, trust the latter."
    return [f"{said}. {few}" if least.seeds < FEW_SEEDS else f"{said}."]


def _limits(table: Table, sweep: Sweep) -> list[str]:
    seeds = min(len(row.seeds) for row in sweep.rows)
    points = ", ".join(row.label for row in sweep.rows)
    lines = [f"Only p = {points} were trained: nothing is said of the values between."]
    if seeds == 1:
        lines.append("One training seed for some p: the intervals do not cover training randomness.")
    elif seeds < FEW_SEEDS:
        degrees = "1 degree" if seeds == 2 else f"{seeds - 1} degrees"
        lines.append(f"{seeds} training seeds: intervals are wide (Student's t on {degrees} of freedom).")
    lines += _resampling(table, sweep) if len(sweep.rows) > 1 else []
    lines += _pooling(table, sweep)
    if seeds > 1:
        lines.append(f"Intervals over seeds hold for these test items; other items alone would move {_moved(table, sweep)}.")
    if all(row.axis != table.board.baseline for row in sweep.rows):
        lines.append(f"No run at p = {table.board.baseline:g}: there is no baseline to differ from.")
    return lines


def _moved(table: Table, sweep: Sweep) -> str:
    """Say how far other items would move figures: of per cent alone in one number, else column by column."""
    columns, shape = table.board.columns, forms(table)
    widths = [_widest_item_interval(sweep, number, column) for number, column in enumerate(columns)]
    if all(is_percent(column) for column in columns):
        return f"a figure by up to ± {shape[0].figure(max(widths))}"
    told = [
        f"{column.label} by up to ± {form.figure(width)}"
        for column, form, width in zip(columns, shape, widths, strict=True)
        if width
    ]
    return ", ".join(told) or "figures by what is not known"


def _widest_item_interval(sweep: Sweep, number: int, column: Column) -> float:
    """Return the widest half-width over items that any one result of a column has."""
    cells = [row.cells[number] for row in sweep.rows if number in row.cells]
    found = [result.record["metrics"][column.metric]["ci95"] for cell in cells for result in cell.results]
    return max([0.0, *(float(high - low) / 2 for low, high in filter(None, found))])
