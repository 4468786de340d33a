"""The row of figures that a suite ends in: data, and text for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recap_eval.errors import DataError
from recap_eval.results import Result, scale_of
from recap_eval.suite import Suite, SuiteColumn
from recap_eval.tasks.generation import SetMetric, find_metrics

if TYPE_CHECKING:
    from recap_eval.runner import Outcome


def row_of(suite: Suite, outcomes: dict[str, Outcome], failed: dict[str, DataError]) -> list[dict[str, Any]]:
    """Return the figure of every column, as results hold it, or what it lacks.

    Args:
        suite: The suite.
        outcomes: What came of the sets that were scored.
        failed: Why the others were not.
    """
    return [{"label": column.label, "set": column.set} | _figure(column, outcomes, failed) for column in suite.columns]


def _figure(column: SuiteColumn, outcomes: dict[str, Outcome], failed: dict[str, DataError]) -> dict[str, Any]:
    if column.lacks:
        return {"lacks": column.lacks}
    if column.set not in outcomes:
        return {"lacks": failed[column.set].what}
    (metric,) = find_metrics(column.metric)
    outcome = outcomes[column.set]
    if metric.name in outcome.failed:
        return {"lacks": outcome.failed[metric.name].what}
    return _cell(metric, next(found for found in outcome.results if found.task == metric.name))


def _cell(metric: SetMetric, found: Result) -> dict[str, Any]:
    cell = found.record["metrics"][metric.primary.name]
    scale = scale_of(cell)
    interval = None if cell["ci95"] is None else [scale * end for end in cell["ci95"]]
    facts = {"metric": metric.name, "value": scale * cell["value"], "ci95": interval, "n": found.record["settings"]["n"]}
    return facts | {"partial": found.partial, "path": str(found.path)}


def shown(suite: Suite, row: list[dict[str, Any]]) -> str:
    """Return the row for a terminal, a line a column."""
    width = max((len(figure["label"]) for figure in row), default=0)
    return "\n".join([f"{suite.name}: {suite.title}", *(f"  {figure['label']:<{width}}  {_told(figure)}" for figure in row)])


def _told(figure: dict[str, Any]) -> str:
    if "lacks" in figure:
        return f"     –   not measured: {figure['lacks']}"
    interval = figure["ci95"]
    half = f" ± {(interval[1] - interval[0]) / 2:.2g}" if interval else ""
    return f"{figure['value']:8.4g}{half}  (n={figure['n']:,}{', PARTIAL' if figure['partial'] else ''})"
