"""A table as markdown, csv and terminal text, and the sentences that say what it supports."""

from __future__ import annotations

from recap_eval.leaderboard import Board, Cell, Column, Row, Sweep, Table

BEST, TIED, SEPARABLE = "**", "~", "*"
NOT_RUN = "not run"
LEGEND = (  # {base} is the baseline's name
    "Figures are × 100, mean over training seeds ± half-width of the 95 % t-interval (one seed: over items, clustered by "
    "image). **Bold**: best of its column. ~: not separable from the best. Δ: paired difference to {base} with its 95 % "
    "interval. *: different from {base} at 5 % after Holm's correction over the rows of the column."
)


def base_name(board: Board) -> str:
    """Return what the baseline's row is called."""
    return f"p = {board.baseline:g}"


def figure(value: float) -> str:
    """Return a share x 100 with one decimal."""
    return f"{100 * value:.1f}"


def half_width(cell: Cell) -> str:
    """Return "± h", or nothing if the interval is not known."""
    found = cell.estimate
    return "" if found.low is None or found.high is None else f" ± {100 * (found.high - found.low) / 2:.1f}"


def cell_text(cell: Cell | None) -> str:
    """Return a figure with its half-width and marks."""
    if cell is None:
        return NOT_RUN
    value = f"{BEST}{figure(cell.estimate.value)}{BEST}" if cell.best else figure(cell.estimate.value)
    return f"{value}{half_width(cell)}{' ' + TIED if cell.tied else ''}"


def delta_text(cell: Cell | None) -> str:
    """Return the difference to the baseline with its interval and mark; a dash for the baseline itself."""
    if cell is None or cell.to_baseline is None:
        return "–"
    found, mark = cell.to_baseline.estimate, SEPARABLE if cell.to_baseline.separable else ""
    if found.low is None or found.high is None:
        return f"{100 * found.value:+.1f}"
    return f"{100 * found.value:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]{mark}"


def headers(table: Table) -> list[str]:
    """Return the column headers: label, direction, n, chance."""
    out = []
    for number, column in enumerate(table.board.columns):
        cell = next((row.cells[number] for row in all_rows(table) if number in row.cells), None)
        facts, arrow = [], ""
        if cell is not None:
            metric = cell.results[0].record["metrics"][column.metric]
            facts = [f"n={cell.n}"] + ([f"chance {100 * metric['chance']:.1f}"] if metric["chance"] is not None else [])
            arrow = " ↑" if metric["higher_is_better"] else " ↓"
        out.append(f"{column.label}{arrow}" + (f" ({', '.join(facts)})" if facts else ""))
    return out


def all_rows(table: Table) -> list[Row]:
    """Return every row of the table."""
    return [row for sweep in table.sweeps for row in sweep.rows] + list(table.others)


def seeds_text(row: Row) -> str:
    """Return the number of training seeds."""
    return str(len(row.seeds)) if row.axis is not None else "–"


def grid(table: Table, rows: tuple[Row, ...], first: str, deltas: bool) -> list[list[str]]:
    """Return the rows of one table as text, header first."""
    text = delta_text if deltas else cell_text
    lines = [[first, "seeds", *headers(table)]]
    for row in rows:
        cells = [text(row.cells.get(number)) for number in range(len(table.board.columns))]
        lines.append([row.label, seeds_text(row), *cells])
    return lines


def _pipe(lines: list[list[str]]) -> str:
    head, *body = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, rule, *body])


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


def sources_text(table: Table) -> list[str]:
    """Return one line per data set: name, split, what it is, fingerprint."""
    seen: dict[str, list[str]] = {}
    for number, source in table.sources.items():
        line = f"{source['name']} {source['split']}: {source['reference']}, fingerprint {source['fingerprint'][:12]}"
        seen.setdefault(line, []).append(table.board.columns[number].label)
    return [f"{line} ({', '.join(labels)})" for line, labels in seen.items()]


def markdown(table: Table, plot: str | None, links: dict[str, str]) -> str:
    """Render a table as markdown.

    Args:
        table: The table.
        plot: Name of the plot's file beside the report, or None.
        links: Relative link by path of a result record.
    """
    board = table.board
    parts = [f"# {board.title}", board.note]
    for sweep in table.sweeps:
        rows = sweep.rows
        parts += [f"## {sweep.title}", "\n".join(f"- {line}" for line in support(table, sweep))]
        parts += [_pipe(grid(table, rows, "p", deltas=False)), f"Paired difference to {base_name(board)}:"]
        parts += [_pipe(grid(table, rows, "p", deltas=True)), LEGEND.format(base=base_name(board))]
    if plot:
        parts.append(f"![{board.title}]({plot})")
    if table.others:
        parts += ["## Models without a mix", _pipe(grid(table, table.others, "model", deltas=False))]
    if table.left_out:
        parts += ["## Left out: not comparable", "\n".join(f"- {line}" for line in table.left_out)]
    parts += ["## Data", "\n".join(f"- {line}" for line in sources_text(table)) or NOT_RUN]
    parts += ["## Results", "\n".join(_provenance(table, links)) or NOT_RUN]
    return "\n\n".join(parts) + "\n"


def _provenance(table: Table, links: dict[str, str]) -> list[str]:
    lines = []
    for row in all_rows(table):
        found = {str(result.path): result for cell in row.cells.values() for result in cell.results}
        names = [f"[{result.model}, {result.task}]({links[path]})" for path, result in sorted(found.items())]
        lines.append(f"- {row.label}: {', '.join(names)}")
    return lines


def records(table: Table) -> list[dict[str, object]]:
    """Return the table in long form, one record a cell, for csv and plots."""
    out: list[dict[str, object]] = []
    groups = [(sweep.title, sweep.rows) for sweep in table.sweeps] + [("", table.others)]
    for title, rows in groups:
        for row in rows:
            for number, cell in sorted(row.cells.items()):
                out.append(_record(table, title, row, number, cell))
    return out


def _record(table: Table, title: str, row: Row, number: int, cell: Cell) -> dict[str, object]:
    column, diff = table.board.columns[number], cell.to_baseline
    found = {"value": cell.estimate.value, "low": cell.estimate.low, "high": cell.estimate.high}
    delta: dict[str, object] = {"delta": None, "delta_low": None, "delta_high": None, "delta_p_holm": None, "delta_basis": None}
    if diff is not None:
        delta = {"delta": diff.estimate.value, "delta_low": diff.estimate.low, "delta_high": diff.estimate.high}
        delta |= {"delta_p_holm": diff.p_holm, "delta_basis": diff.basis}
    return {
        "sweep": title,
        "row": row.label,
        table.board.axis: row.axis,
        "seeds": " ".join(map(str, row.seeds)),
        "task": column.task,
        "task_version": column.version,
        "metric": column.metric,
        "label": column.label,
        **{key: _rounded(value) for key, value in found.items()},
        "n": cell.n,
        "best": cell.best,
        "tied_with_best": cell.tied,
        **{key: _rounded(value) for key, value in delta.items()},
    }


def _rounded(value: object) -> object:
    """Six significant digits, so that the last bits of another machine's arithmetic do not show."""
    return float(f"{value:.6g}") if isinstance(value, float) else value


def csv(table: Table) -> str:
    """Render a table as csv in long form."""
    import pandas as pd

    text: str = pd.DataFrame(records(table)).to_csv(index=False, lineterminator="\n")
    return text


def terminal(table: Table) -> str:
    """Render the table for a terminal: aligned columns, no markup."""
    parts = [table.board.title]
    for sweep in table.sweeps:
        parts += [sweep.title, _aligned(table, sweep.rows, "p")]
        parts += [f"paired difference to {base_name(table.board)}:", _aligned(table, sweep.rows, "p", deltas=True)]
    if table.others:
        parts += [_aligned(table, table.others, "model")]
    if table.left_out:
        parts += ["left out, not comparable:", *[f"  {line}" for line in table.left_out]]
    return "\n".join(parts)


def _aligned(table: Table, rows: tuple[Row, ...], first: str, deltas: bool = False) -> str:
    lines = grid(table, rows, first, deltas)
    lines[0] = [first, "seeds", *[column.label for column in table.board.columns]]
    lines = [[cell.replace("**", "") for cell in line] for line in lines]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  " + "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
