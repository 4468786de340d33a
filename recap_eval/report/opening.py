"""The three sentences that a report opens with: what is there, what the numbers support, what they do not."""

from __future__ import annotations

from collections import Counter

from recap_eval.published import IMPORTED, PUBLISHED
from recap_eval.report.cells import base_name
from recap_eval.report.support import FEW_SEEDS
from recap_eval.table import Cell, Sweep, Table

LISTED = 8  # places on the axis; of more, how many there are and their ends


def opening(table: Table) -> list[str]:
    """Return three sentences, never more than the statistics allow."""
    if not table.measured:
        return _printed_only(table)
    if not table.sweeps and not table.groups:
        return _on_the_way_only(table)
    if not table.sweeps:
        return _models_only(table)
    return [_what(table), _supported(table), _unsupported(table)]


def _printed_only(table: Table) -> list[str]:
    rows = sum(len(group.rows) for group in table.published)
    sources = " and ".join(dict.fromkeys(f"“{group.title}” {group.version}".strip() for group in table.published))
    given = "printed" if all(group.kind == PUBLISHED for group in table.published) else "given"
    return [
        f"Nothing is measured here yet: {'the one row is' if rows == 1 else f'all {rows} rows are'} {given} in {sources}.",
        f"They support what was {given}, and arithmetic on it.",
        "Without errors and items nothing can be said of which differences are more than chance.",
    ]


def _on_the_way_only(table: Table) -> list[str]:
    trainings = "one training" if len(table.courses) == 1 else f"{len(table.courses)} trainings"
    return [
        f"No finished model is measured: {trainings} on the way, on {_data(table)}.",
        "Each figure supports a statement on the weights so far and these items, within its interval.",
        f"They tell neither how a training ends nor whether two differ{_beside(table)}.",
    ]


def _models_only(table: Table) -> list[str]:
    rows = [row for group in table.groups for row in group.rows]
    models, columns = len({row.label for row in rows}), len(table.board.columns)
    filled = sum(len(row.cells) for row in rows)
    kind = "set" if table.board.by_data else "model"
    named = f"One {kind} is" if models == 1 else f"{models} {kind}s are"
    whole = "all columns" if filled == len(rows) * columns else f"{filled} of {len(rows) * columns} cells"
    return [
        f"{named} measured in {whole}, on {_data(table)}.",
        f"Each figure supports a statement on its {kind} and these items, within its interval.",
        f"They are listed, not ranked: whether two differ is told by `recap-eval compare`, item by item{_beside(table)}.",
    ]


def _what(table: Table) -> str:
    parts = []
    for sweep in table.sweeps:
        seeds = sorted({len(row.seeds) for row in sweep.rows})
        each = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
        labels = [row.label for row in sweep.rows]
        along = f"p = {', '.join(labels)}" if len(labels) <= LISTED else f"{len(labels)} p from {labels[0]} to {labels[-1]}"
        places = " and ".join([along, *(row.label for row in sweep.beside)])
        parts.append(f"{places} with {each} training seed{'' if seeds == [1] else 's'} each")
    counted = Counter(parts)
    told = [f"{part}{f', {times} times' if times > 1 else ''}" for part, times in counted.items()]
    return f"Measured: {'; '.join(told)}; on {_data(table)}."


def _data(table: Table) -> str:
    names = list(dict.fromkeys(f"{source['name']} ({source['reference']})" for _, source in table.sources))
    return ", ".join(names[:2]) + (f" and {len(names) - 2} more data sets" if len(names) > 2 else "")


def _supported(table: Table) -> str:
    base, found = base_name(table.board), [_directions(table, sweep) for sweep in table.sweeps]
    kinds = {"some p is better than {base} in {where}": "better", "some p is worse than {base} in {where}": "worse"}
    said = []
    for words, kind in kinds.items():
        some = {label for each in found for label in each[kind]}
        labels = [column.label for column in table.board.columns if column.label in some]
        said += [words.format(base=base, where=_listed(labels))] if labels else []
    if not any(each["asked"] for each in found):
        return f"Supported: the single figures within their intervals; no difference to {base} could be tested."
    if not said:
        return f"Supported: no p is separable from {base} in any column."
    return f"Supported, after Holm's correction: {'; '.join(said)}."


def _directions(table: Table, sweep: Sweep) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {"better": [], "worse": [], "asked": []}
    for number, column in enumerate(table.board.columns):
        cells = [row.cells[number] for row in sweep.rows if number in row.cells and row.cells[number].to_baseline]
        found["asked"] += [column.label] if cells else []
        gains = {_gain(cell, column.higher_is_better) for cell in cells} - {0}
        found["better"] += [column.label] if 1 in gains else []
        found["worse"] += [column.label] if -1 in gains else []
    return found


def _gain(cell: Cell, upward: bool) -> int:
    """Return 1 for separably better than the baseline, -1 for worse, 0 for neither."""
    if cell.to_baseline is None or not cell.to_baseline.separable:
        return 0
    return 1 if (cell.to_baseline.estimate.value > 0) == upward else -1


def _listed(labels: list[str]) -> str:
    return ", ".join(labels)


def _unsupported(table: Table) -> str:
    base, found = base_name(table.board), [_directions(table, sweep) for sweep in table.sweeps]
    apart = {label for each in found for label in [*each["better"], *each["worse"]]}
    still = [label for label in dict.fromkeys(label for each in found for label in each["asked"]) if label not in apart]
    said = [f"any difference to {base} in {_listed(still)}"] if still else []
    fewest = min(len(row.seeds) for sweep in table.sweeps for row in sweep.rows)
    if fewest == 1:
        said.append("anything about other trainings (one seed for some p: intervals are over items only)")
    elif fewest < FEW_SEEDS:
        said.append(f"small differences ({fewest} seeds)")
    said.append("anything about p between those trained, or about other data")
    return f"Not supported: {'; '.join(said)}{_beside(table)}."


def _beside(table: Table) -> str:
    told = {PUBLISHED: "Published rows have another protocol and no error", IMPORTED: "Imported rows are of no known protocol"}
    kinds = dict.fromkeys(told[group.kind] for group in table.published)
    return f". {'; '.join(kinds)}: they are shown, never compared" if kinds else ""
