"""The sentences that say what a table's figures support; only measured rows are spoken of."""

from __future__ import annotations

from recap_eval.board import Column
from recap_eval.leaderboard import Cell, Sweep, Table
from recap_eval.report.cells import figure


def support(table: Table, sweep: Sweep) -> list[str]:
    """Return what a sweep's figures support, and what they do not; never more than the statistics allow."""
    lines = []
    for number, column in enumerate(table.board.columns):
        cells = {row.label: row.cells[number] for row in sweep.rows if number in row.cells}
        top = next((label for label, cell in cells.items() if cell.best), None)
        if top is None:
            continue
        lines.append(f"{column.label}: best at p = {top} ({figure(cells[top].estimate.value)}), {_claim(cells, column)}.")
    return lines + _limits(table, sweep)


def _claim(cells: dict[str, Cell], column: Column) -> str:
    """Say how the best of a column stands to the others and to guessing."""
    best = next(cell for cell in cells.values() if cell.best)
    ties = [label for label, cell in cells.items() if cell.tied]
    claim = f"not separable from p = {', '.join(ties)}" if ties else "separable from every other p"
    if any(len(cell.results) == 1 for cell in cells.values()):
        claim += " on these items, of one training seed"
    chance, low = best.results[0].record["metrics"][column.metric]["chance"], best.estimate.low
    if chance is not None and (low is None or low <= chance):
        claim += f"; and not separable from guessing ({figure(chance)})"
    return claim


def _limits(table: Table, sweep: Sweep) -> list[str]:
    seeds = min(len(row.seeds) for row in sweep.rows)
    points = ", ".join(row.label for row in sweep.rows)
    lines = [f"Only p = {points} were trained: nothing is said of the values between."]
    if seeds == 1:
        lines.append("One training seed for some p: the intervals do not cover training randomness.")
    elif seeds < 5:
        lines.append(f"{seeds} training seeds: intervals are wide (Student's t on {seeds - 1} degrees of freedom).")
    if seeds > 1:
        other = figure(_widest_item_interval(table, sweep))
        lines.append(
            f"Intervals over seeds hold for these test items; other items alone would move a figure by up to ± {other}."
        )
    if all(row.axis != table.board.baseline for row in sweep.rows):
        lines.append(f"No run at p = {table.board.baseline:g}: there is no baseline to differ from.")
    return lines


def _widest_item_interval(table: Table, sweep: Sweep) -> float:
    """Return the widest half-width over items that any one result of the sweep has."""
    widths = [0.0]
    for row in sweep.rows:
        for number, cell in row.cells.items():
            for result in cell.results:
                low, high = result.record["metrics"][table.board.columns[number].metric]["ci95"] or (0.0, 0.0)
                widths.append((high - low) / 2)
    return max(widths)
