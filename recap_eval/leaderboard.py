"""From results to a table of cells: values, errors, differences, provenance. No formatting.

A board says which columns it has; results that answer a column's question in the same way (task version, settings, data,
completeness) stand in it, and those that do not are left out with the field that differs.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

from recap_eval.artifact import FACTS, RUN_FACTS, SEEN, TOTAL
from recap_eval.board import Board, as_measured, asked, belongs, comparable, load_board, with_variants
from recap_eval.column_scores import ColumnScores
from recap_eval.differences import mark, seed_of, value_of
from recap_eval.files import canonical_json
from recap_eval.gains import recipe_pairs
from recap_eval.imported import imported_tables
from recap_eval.proxies import proxy_figures
from recap_eval.published import load_published
from recap_eval.results import Result, estimate_of, read_results
from recap_eval.stats import Estimate, mean_over_seeds
from recap_eval.table import Cell, Course, Gains, Group, Row, Sweep, Table

MIX, JOINED = "p_original", "concat"  # an axis; what trainings on both captions joined, at no place on it, say of their mix


class Tables:
    """The tables of a leaderboards folder: its results are read once, and each table is made once.

    Args:
        leaderboards: The folder.
    """

    def __init__(self, leaderboards: Path) -> None:
        self._leaderboards = leaderboards
        self._results: list[Result] | None = None
        self._made: dict[str, Table] = {}

    def of(self, name: str) -> Table:
        """Return a board's table.

        Raises:
            UserError, DataError: See `build_table`.
        """
        if self._results is None:
            self._results = read_results(self._leaderboards)
        if name not in self._made:
            self._made[name] = build_table(name, self._leaderboards, self._results)
        return self._made[name]


def build_table(name: str, leaderboards: Path, results: list[Result] | None = None) -> Table:
    """Fill a board from the results of a leaderboards folder.

    Args:
        name: The board.
        leaderboards: The folder.
        results: Its results, where they were read already.

    Raises:
        UserError, DataError: See `load_board`, `load_published` and `read_results`.
    """
    board = load_board(name, leaderboards)
    results = [one for one in (read_results(leaderboards) if results is None else results) if belongs(board, one.meta)]
    board = with_variants(board, results)
    parts = _by_data(board, [one for one in results if not one.on_the_way])
    filled = [_fill(board, some) for some in parts.values()]
    underway, apart_underway = _on_the_way(board, results)
    numbers = range(len(board.columns))
    found = [[one for part in (*(part for part, _ in filled), underway) for one in part[number]] for number in numbers]
    board = replace(board, columns=tuple(map(as_measured, board.columns, found)))
    apart = [one.maker for column in found for one in column if not _along(one.meta, board.axis)]
    labels = _labels(list(dict.fromkeys(apart)))
    rows = [_rows(board, part, labels) for part, _ in filled]
    groups = [Group(others, title) for (_, others), title in zip(rows, parts, strict=True) if others]
    left_out = dict.fromkeys(sentence for _, odd in filled for sentence in odd)
    every = (*(part for part, _ in filled), underway)
    sources = [(number, one[0].record["data"]) for part in every for number, one in part.items() if one]
    others, odd = imported_tables(board, leaderboards)
    published = (*(load_published(reference, leaderboards) for reference in board.published), *others)
    sweeps = tuple(sweep for part, _ in rows for sweep in part)
    proxies, unlike = proxy_figures(board, results)
    left = (*left_out, *apart_underway, *odd, *unlike)
    courses, gains = _courses(board, underway), _compare(board, sweeps)
    return Table(board, sweeps, tuple(groups), left, tuple(sources), published, courses, proxies, gains)


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


def _on_the_way(board: Board, results: list[Result]) -> tuple[dict[int, list[Result]], list[str]]:
    """Return each column's results of trainings on their way, and sentences on those that were measured otherwise than most.

    The end of a training is among them where it was measured as they were, on all items or on the same part.
    """
    by_column: dict[int, list[Result]] = {}
    left_out: list[str] = []
    for number, column in enumerate(board.columns):
        found = [] if board.by_data else asked(board, number, results)
        alike, odd = comparable([one for one in found if one.on_the_way], column, whole=False)
        courses = {_course_key(one.meta, board.axis) for one in alike}
        ends = [one for one in found if not one.on_the_way and _course_key(one.meta, board.axis) in courses]
        by_column[number] = alike + [one for one in ends if one.protocol() == alike[0].protocol()]
        left_out += odd
    return by_column, left_out


def _course_key(meta: dict[str, Any], axis: str) -> str:
    """Return what the weights of a training on its way and at its end have in common, its seed apart."""
    rest = [meta.get(fact) for fact in RUN_FACTS if fact != SEEN]
    return canonical_json([rest, meta.get(TOTAL, meta.get(SEEN)), meta.get(axis)])


def _courses(board: Board, by_column: dict[int, list[Result]]) -> tuple[Course, ...]:
    """Return trainings on their way, each as rows by samples seen."""
    courses: dict[str, dict[int, dict[int, list[Result]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for number, results in by_column.items():
        for found in results:
            cell = courses[_course_key(found.meta, board.axis)][found.meta[SEEN]][number]
            if seed_of(found) not in map(seed_of, cell):
                cell.append(found)
    return tuple(_course(board, courses[key]) for key in sorted(courses))


def _course(board: Board, places: dict[int, dict[int, list[Result]]]) -> Course:
    rows = [replace(_row(board, f"{seen:,} samples", None, places[seen]), seen=seen) for seen in sorted(places)]
    meta = next(iter(rows[0].cells.values())).results[0].meta
    axis = meta.get(board.axis)
    facts = dict(zip(RUN_FACTS, _run_facts(meta), strict=True)) | {SEEN: str(meta[TOTAL])}
    return Course(_title(facts), axis, tuple(rows))


def _one_a_seed(results: list[Result], axis: str) -> tuple[list[Result], list[str]]:
    """Keep the first result of each run that is to stand for itself; sentences on the others."""
    first: dict[tuple[object, ...], Result] = {}
    sentences = []
    for found in results:
        place = _place(found.meta, axis)
        who = found.maker if place is None else (*place, seed_of(found))
        if first.setdefault(who, found) is not found:
            sentences.append(f"{found.model} on {found.task}: {first[who].path.parent.name} is of the same run and seed")
    return list(first.values()), sentences


def _along(meta: dict[str, Any], axis: str) -> bool:
    return isinstance(meta.get(axis), int | float)


def _place(meta: dict[str, Any], axis: str) -> tuple[tuple[str, ...], float | str] | None:
    """Return what rows of a sweep have in common, and where a model stands among them: a value on the axis, or JOINED.

    Returns:
        None for a model that stands in no sweep.
    """
    if _along(meta, axis):
        return _run_facts(meta), float(meta[axis])
    how = str(meta.get("mix")).split("; ")
    if axis != MIX or JOINED not in how:
        return None
    return _run_facts(meta | {"mix": "; ".join(word for word in how if word != JOINED) or None}), JOINED


def _run_facts(meta: dict[str, Any]) -> tuple[str, ...]:
    said = meta.get(FACTS) or {}
    told = meta | {FACTS: ", ".join(f"{name} {_plain(value)}" for name, value in sorted(said.items())) or None}
    return tuple(str(told.get(fact)) for fact in RUN_FACTS)


Labels = dict[tuple[str, str], str]  # of models, by name and revision
Points = dict[float | str, dict[int, list[Result]]]  # results by place in a sweep and number of the column


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _rows(board: Board, by_column: dict[int, list[Result]], labels: Labels) -> tuple[tuple[Sweep, ...], tuple[Row, ...]]:
    groups: dict[tuple[str, ...], Points] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    single: dict[tuple[str, str], dict[int, list[Result]]] = defaultdict(lambda: defaultdict(list))
    places = [_place(found.meta, board.axis) for results in by_column.values() for found in results]
    swept = {place[0] for place in places if place and place[1] != JOINED}
    for number, results in by_column.items():
        for found in results:
            place = _place(found.meta, board.axis)
            if place is None or place[0] not in swept:
                single[found.maker][number].append(found)
            else:
                groups[place[0]][place[1]][number].append(found)
    said = RUN_FACTS.index(FACTS)
    sweeps = tuple(_sweep(board, key, groups[key]) for key in sorted(groups, key=lambda key: (key[said], key)))
    return sweeps, tuple(_row(board, labels[who], None, cells) for who, cells in sorted(single.items()))


def _labels(makers: list[tuple[str, str]]) -> Labels:
    """Return what models are called: by name, with the revision where the name alone is not clear."""
    names = [name for name, _ in makers]
    return {(name, told): name if names.count(name) == 1 else f"{name} ({_short(told)})" for name, told in makers}


def _short(revision: str) -> str:
    digest, *sampling = revision.split(", ")
    return ", ".join([digest[:12], *sampling])


def _row(board: Board, label: str, axis: float | None, columns: dict[int, list[Result]]) -> Row:
    cells = {}
    for number, results in columns.items():
        chosen = tuple(sorted(results, key=seed_of))
        cells[number] = Cell(_estimate(chosen, board.columns[number].metric), chosen, _items(chosen, board, number))
    known = [found for cell in cells.values() for found in cell.results if axis is not None or "seed" in found.meta]
    return Row(label, axis, tuple(sorted(set(map(seed_of, known)))), cells)


def _items(results: tuple[Result, ...], board: Board, number: int) -> int:
    """Return how many items were measured; of a figure of the whole, how many it was made of."""
    n = int(results[0].record["metrics"][board.columns[number].metric]["n"])
    return n or int(results[0].record["settings"].get("n", 0))


def _estimate(results: tuple[Result, ...], metric: str) -> Estimate:
    """Mean over seeds; of one seed, its own interval over items."""
    if len(results) > 1:
        return mean_over_seeds([value_of(found, metric) for found in results])
    return estimate_of(results[0].record["metrics"][metric])


def _sweep(board: Board, key: tuple[str, ...], points: Points) -> Sweep:
    along = sorted(place for place in points if isinstance(place, float))
    rows = tuple(_row(board, f"{place:g}", place, points[place]) for place in along)
    beside = tuple(_row(board, place, None, points[place]) for place in points if isinstance(place, str))
    return Sweep(_title(dict(zip(RUN_FACTS, key, strict=True))), rows, beside)


def _compare(board: Board, sweeps: tuple[Sweep, ...]) -> tuple[Gains, ...]:
    """Mark the cells of sweeps and return what recipes gain; by column, so that items of one column are held at a time."""
    pairs = recipe_pairs(sweeps, range(len(board.columns)))
    for number, column in enumerate(board.columns):
        scores = ColumnScores(column.metric)
        for sweep in sweeps:
            mark(sweep, number, scores, board.baseline)
        for pair in pairs:
            pair.measure(number, scores)
    return tuple(found for pair in pairs if (found := pair.gains()).rows)


def _title(facts: dict[str, str]) -> str:
    """Say what the runs of a sweep have in common, as far as their makers told."""
    known = {fact: value for fact, value in facts.items() if value != str(None)}
    known |= {SEEN: f"{int(known[SEEN]):,} samples seen"} if SEEN in known else {}
    known |= {"train_data": f"training data {known['train_data'][:8]}"} if "train_data" in known else {}
    known |= {"sampled": f"sampled with {known['sampled']}"} if "sampled" in known else {}
    order = ("recipe", FACTS, SEEN, "precision", "mix", "train_data", "sampled")
    return ", ".join(known[fact] for fact in order if fact in known) or "runs of one kind"
