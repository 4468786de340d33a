"""A table as markdown, csv and terminal text."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from recap_eval.board import Board, Column
from recap_eval.published import IMPORTED, PUBLISHED, PublishedRow, PublishedTable
from recap_eval.report import moves, proxies, recipes
from recap_eval.report.cells import (
    BEST,
    Link,
    aligned,
    base_name,
    course_grid,
    course_sections,
    course_title,
    escaped,
    grid,
    group_grid,
    group_title,
    not_run,
    pipe,
    published_grid,
    published_label,
)  # fmt: skip
from recap_eval.report.forms import is_percent, times
from recap_eval.report.opening import opening
from recap_eval.report.printed import derived
from recap_eval.report.support import support
from recap_eval.results import Result
from recap_eval.table import Cell, Row, Table
from recap_eval.tasks.generation import TABLE

NOT_MEASURED = "No measured result yet: every figure below is {kinds}."
NOT_RANKED = {
    PUBLISHED: "{figures}, as printed there; not measured here, and in no rank, difference or interval of this report.",
    IMPORTED: "{figures}, as measured there; not measured here, and in no rank or difference of this report.",
}
BEHIND = (
    "Each figure leads to its records in {page}: command, data, protocol, seeds, files of all items, and the first of them."
)
MOVES = (
    "Each cell: the best p, in braces all that hold it in 95 % of resampled seeds, then what it gains over the baseline with "
    "its 95 % interval; *: after Holm's correction within its training data."
)
Looks = Sequence[tuple[str, str]]
LEGEND_ITEMS = "{figures} ± half-width of the 95 % t-interval over items, clustered by image."
LEGEND = (  # {base} is the baseline's name
    "{figures}, mean over training seeds ± half-width of the 95 % t-interval (one seed: over items, clustered by "
    "image). **Bold**: the best p of its column. ~: not separable from the best. Δ: paired difference to {base} with its 95 % "
    "interval. *: different from {base} at 5 % after Holm's correction over the rows of the column."
)


def scales_text(board: Board) -> str:
    """Say by what the figures of a board are multiplied."""
    if board.by_data:
        return "Figures are in the units beside their names"
    found: dict[str, list[str]] = {}
    for column in board.columns:
        found.setdefault(times(column) or "unscaled", []).append(column.label)
    if len(found) == 1:
        return f"Figures are {next(iter(found))}"
    return "Figures are " + "; ".join(f"{how} ({', '.join(labels)})" for how, labels in found.items())


def not_ranked(board: Board, kind: str = PUBLISHED) -> str:
    """Return what is said of figures that a paper printed, or another program measured."""
    return NOT_RANKED[kind].format(figures=scales_text(board))


def not_measured(table: Table) -> str:
    """Return what is said of a board without a measured result."""
    return NOT_MEASURED.format(kinds=" or ".join(dict.fromkeys(group.kind for group in table.published)))


def legend(board: Board) -> str:
    """Return what the figures and marks of a sweep mean."""
    return LEGEND.format(figures=scales_text(board), base=base_name(board))


def legend_items(board: Board) -> str:
    """Return what the figures of models without a sweep mean."""
    return LEGEND_ITEMS.format(figures=scales_text(board))


def sources_text(table: Table) -> list[str]:
    """Return one line per data set: name, split, what it is, fingerprint."""
    seen: dict[str, list[str]] = {}
    for number, source in table.sources:
        line = f"{source['name']} {source['split']}: {source['reference']}, fingerprint {source['fingerprint'][:12]}"
        label = table.board.columns[number].label
        if label not in seen.setdefault(line, []):
            seen[line].append(label)
    return [f"{line} ({', '.join(labels)})" for line, labels in seen.items()]


def markdown(table: Table, plots: dict[str, str], links: dict[str, str], looks: Looks = ()) -> str:
    """Render a table as markdown.

    Args:
        table: The table.
        plots: Titles by name of the plot's file beside the report.
        links: Where a result record is told, relative to the report, by the record's path.
        looks: Pages of items with their images, as (title, link).
    """
    board, link = table.board, partial(_linked, links)
    parts = [f"# {board.title}", board.note, "\n".join(f"> {line}  " for line in opening(table)).rstrip()]
    parts += [f"![{title}]({file})" for file, title in plots.items()]
    parts += _over_worlds(table, link)
    for sweep in table.sweeps:
        rows = sweep.shown
        parts += [f"## {sweep.title}", "\n".join(f"- {line}" for line in support(table, sweep))]
        parts += [pipe(grid(table, rows, "p", deltas=False, link=link)), f"Paired difference to {base_name(board)}:"]
        parts += [pipe(grid(table, rows, "p", deltas=True, link=link)), legend(board)]
    for gains in table.gains:
        parts += [f"## {recipes.title(gains)}", "\n".join(f"- {line}" for line in recipes.sentences(table, gains))]
        parts.append(pipe(recipes.gains_grid(table, gains, link)))
    if not table.measured:
        parts.append(f"{not_measured(table)} Measure a model: `{measure_command(board)}`")
    for group in table.groups:
        parts += [f"## {group_title(board, group)}", pipe(group_grid(table, group, link)), not_run(table, group)]
    for course in course_sections(table):
        parts += [f"## {course_title(course)}", pipe(course_grid(table, course, link))]
    if table.measured and not table.sweeps:
        parts.append(legend_items(board))
    for printed in table.published:
        told = f"[{printed.title}]({printed.url}){_comma(printed.place)}. {not_ranked(board, printed.kind)}"
        parts += [
            f"## {published_title(printed)}",
            told,
            "\n".join(f"- {note}" for note in [*printed.notes, *derived(table, printed)]),
        ]
        parts.append(pipe(published_grid(table, printed, around="_")))
    if table.left_out:
        parts += ["## Left out: not comparable", "\n".join(f"- {line}" for line in table.left_out)]
    if table.measured:
        parts += ["## Data", "\n".join(f"- {line}" for line in sources_text(table))]
        parts += ["## Results", BEHIND.format(page=f"[{board.name}-records.md]({board.name}-records.md)"), _looked(looks)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _over_worlds(table: Table, link: Link) -> list[str]:
    """Return what is told of several worlds together: where the best p lies, and what cheap measures say of the gain."""
    if not (found := moves.worlds(table)):
        return []
    parts = [f"## {moves.title(table)}", "\n".join(f"- {line}" for line in moves.sentences(table, found))]
    parts += [pipe(moves.grid(table, found, link)), MOVES]
    if proxies.shown(table, found):
        parts += [f"## {proxies.TITLE}", "\n".join(f"- {line}" for line in proxies.sentences(table, found))]
        parts += [pipe(proxies.grid(table, found), ("gain",)), proxies.VALUES, pipe(proxies.values(table, found, link))]
    return parts


def published_title(group: PublishedTable) -> str:
    """Return the heading of rows that a paper printed, or another program measured."""
    return f"{group.kind.capitalize()}: {group.place or group.title}"


def _comma(place: str) -> str:
    return f", {place}" if place else ""


def measure_command(board: Board) -> str:
    """Return what to type to fill a board; of generated images, what can be measured so far."""
    if board.measure:
        return board.measure
    tasks = dict.fromkeys(column.task for column in board.columns)
    drawn = [word for word, metric in TABLE.items() if metric.name in tasks]
    if drawn:
        return f"recap-eval t2i --images DIR --reference R --metrics {','.join(drawn)}"
    return f"recap-eval clip --model M --tasks {','.join(tasks)}"


def _looked(looks: Looks) -> str:
    """Return a sentence with links to pages of items; "" if there are none."""
    return f"With images: {', '.join(f'[{escaped(title)}]({link})' for title, link in looks)}." if looks else ""


def _linked(links: dict[str, str], shown: str, result: Result) -> str:
    return f"[{shown}]({links[str(result.path)]})"


def records(table: Table) -> list[dict[str, object]]:
    """Return the table in long form, one record a figure, for csv and plots.

    Where there are published rows, or cheap measures of captions, `kind` and `source` tell them from measured ones; they have
    neither interval nor rank.
    Values are not scaled. Where not all are shares, `unit` says what they are and `table_scale` by what tables multiply them.
    """
    groups = [(sweep.title, sweep.shown) for sweep in table.sweeps] + [(group.title, group.rows) for group in table.groups]
    groups += [(course_title(course), course.rows) for course in table.courses]
    out = [
        _record(table, title, row, number, cell)
        for title, rows in groups
        for row in rows
        for number, cell in sorted(row.cells.items())
    ]
    printed = [(group, row, number) for group in table.published for row, number in _printed(table, group)]
    told = _proxy_records(table) + [_published_record(table, *one) for one in printed]
    return [{"kind": "measured", "source": ""} | record for record in out] + told if told else out


def _proxy_records(table: Table) -> list[dict[str, object]]:
    """Return the cheap measures of captions that a report tells of, a world a record."""
    found, names = moves.worlds(table), table.board.facts
    return [
        {"kind": "proxy", "source": " ".join(one.model for one in figures.results[at])}
        | {"sweep": ", ".join(f"{name} {value:g}" for name, value in zip(names, at, strict=True)), "row": figures.proxy.label}
        | {"task": figures.results[at][0].task, "task_version": figures.proxy.version, "metric": figures.proxy.metric}
        | {"label": figures.proxy.label, "value": _rounded(figures.values[at])}
        for figures in proxies.measured(table, found)
        for at in proxies.places(found)
        if at in figures.values
    ]


def _printed(table: Table, group: PublishedTable) -> list[tuple[PublishedRow, int]]:
    return [
        (row, number)
        for row in group.rows
        for number, column in enumerate(table.board.columns)
        if row.figure(column.task, column.metric, column.data_name) is not None
    ]


def _published_record(table: Table, group: PublishedTable, row: PublishedRow, number: int) -> dict[str, object]:
    board, column = table.board, table.board.columns[number]
    facts: dict[str, object] = {
        "kind": group.kind,
        "source": f"{group.url} {group.place}".strip(),
        "row": published_label(board, row),
    }
    facts |= {board.axis: row.place(board.axis)} if board.axis else {}
    facts |= {"task": column.task, "metric": column.metric, "label": column.label}
    where = (column.task, column.metric, column.data_name)
    interval = row.interval(*where)
    known = {"low": _rounded(interval[0]), "high": _rounded(interval[1])} if interval else {}
    return facts | _units(board, column) | {"value": row.figure(*where)} | known


def _units(board: Board, column: Column) -> dict[str, object]:
    """Return what a column's values are, on boards where not all are shares and not all of one data set."""
    told: dict[str, object] = {"data": column.data_name} if any(other.data_name for other in board.columns) else {}
    if all(is_percent(other) for other in board.columns):
        return told
    return told | {"unit": column.unit, "table_scale": float(column.scale), "higher_is_better": column.higher_is_better}


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
        **({table.board.axis: row.axis} if table.board.axis else {}),
        "seeds": " ".join(map(str, row.seeds)),
        "task": column.task,
        "task_version": column.version,
        "metric": column.metric,
        "label": column.label,
        **_units(table.board, column),
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

    text: str = pd.DataFrame(records(table), dtype=object).to_csv(index=False, lineterminator="\n")
    return text


def terminal(table: Table) -> str:
    """Render the table for a terminal: aligned columns, no markup."""
    parts = [table.board.title]
    if found := moves.worlds(table):
        parts += [moves.title(table), aligned(moves.grid(table, found)), *moves.sentences(table, found)]
    if proxies.shown(table, found):
        parts += [proxies.TITLE, aligned(proxies.grid(table, found)), *proxies.sentences(table, found)]
        parts += [proxies.VALUES, aligned(proxies.values(table, found))]
    for sweep in table.sweeps:
        parts += [sweep.title, _plain(table, sweep.shown, "p")]
        parts += [f"paired difference to {base_name(table.board)}:", _plain(table, sweep.shown, "p", deltas=True)]
    for gains in table.gains:
        parts += [recipes.title(gains), _plain(table, gains.rows, "p", deltas=True), *recipes.sentences(table, gains)]
    for part in table.groups:
        parts += [part.title, aligned(group_grid(table, part)), not_run(table, part)] if table.board.by_data else []
        parts += [] if table.board.by_data else [_plain(table, part.rows, "model")]
    for course in course_sections(table):
        parts += [course_title(course), aligned(course_grid(table, course))]
    if not table.measured:
        parts += [not_measured(table), f"Measure a model: {measure_command(table.board)}"]
    for group in table.published:
        parts += [f"{group.kind}, not measured here: {f'{group.title} {group.place}'.strip()}, {group.url}"]
        parts += [aligned(published_grid(table, group)), *[f"  {note}" for note in [*group.notes, *derived(table, group)]]]
    if table.left_out:
        parts += ["left out, not comparable:", *[f"  {line}" for line in table.left_out]]
    return "\n".join(part for part in parts if part)


def _plain(table: Table, rows: tuple[Row, ...], first: str, deltas: bool = False) -> str:
    lines = grid(table, rows, first, deltas)
    lines[0] = [first, "seeds", *[column.label for column in table.board.columns]]
    return aligned([[cell.replace(BEST, "") for cell in line] for line in lines])
