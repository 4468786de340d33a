"""Tables and plot of what `benchmarks/truth.py` measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.corruptions import FAMILIES
from recap_eval.metrics.rank_correlation import RankCorrelation, rank_correlation

TRUTH, CLEAN = "truth", "clean"
UPWARD = {
    "looker": True, "looker, all true": True, "CLIP score": True, "R-precision": True, "FD, CLIP": False, "KID, CLIP": False,
    "CMMD, CLIP": False, "precision, CLIP": True, "recall, CLIP": True, "density, CLIP": True, "coverage, CLIP": True,
    "FD, random net": False, "FD, pixels": False,
}  # fmt: skip
SEMANTIC = tuple(name for name, family in FAMILIES.items() if family.pixels is None)
Row = dict[str, Any]


def chosen(rows: Sequence[Row], families: Sequence[str]) -> list[Row]:
    """Return the sets of some families, the clean ones among them."""
    return [row for row in rows if row["family"] in (*families, CLEAN)]


def goodness(rows: Sequence[Row], metric: str) -> np.ndarray:
    """Return a metric of each set, turned so that higher is better."""
    return np.array([row["values"][metric] for row in rows]) * (1 if UPWARD[metric] else -1)


def against_truth(rows: Sequence[Row], metric: str) -> RankCorrelation | None:
    """Return how a metric ranks sets by their truth."""
    return rank_correlation(np.array([row["values"][TRUTH] for row in rows]), goodness(rows, metric))


def moved(rows: Sequence[Row], family: str, metric: str) -> float:
    """Return how far a family's strongest grade worsens a metric, in standard deviations over seeds."""

    def of(name: str, grade: float) -> np.ndarray:
        return goodness([row for row in rows if (row["family"], row["grade"]) == (name, grade)], metric)

    same = [of(name, grade) for name, grade in {(row["family"], row["grade"]) for row in chosen(rows, SEMANTIC)}]
    spread = np.sqrt(np.mean([values.var(ddof=1) for values in same])) if min(map(len, same)) > 1 else np.nan
    return float((of(CLEAN, 0.0).mean() - of(family, FAMILIES[family].grades[-1]).mean()) / spread)


def _cell(found: RankCorrelation | None, tau: bool = False) -> str:
    if found is None:
        return "–"
    value, (low, high) = (found.kendall, found.kendall_ci) if tau else (found.spearman, found.spearman_ci)
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(["| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *lines)])


def tables(rows: Sequence[Row]) -> str:
    """Return the report in markdown."""
    semantic = chosen(rows, SEMANTIC)
    ways = {"all six": semantic} | {name: chosen(rows, [name]) for name in SEMANTIC}
    rho = [[metric, *(_cell(against_truth(some, metric)) for some in ways.values())] for metric in UPWARD]
    everything = []
    for metric in UPWARD:
        some, every = against_truth(semantic, metric), against_truth(rows, metric)
        everything.append([metric, _cell(some, True), _cell(every), _cell(every, True)])
    reaction = [[metric, *(f"{moved(rows, name, metric):.1f}" for name in FAMILIES)] for metric in UPWARD]
    truths = [[name, *(_both(rows, name, grade) for grade in family.grades)] for name, family in FAMILIES.items()]
    parts = {
        "Spearman's rank correlation with the truth, by family": _table(["metric", *ways], rho),
        "Kendall's, and with the pixel families among the sets": _table(
            ["metric", "tau, all six", "rho, all ten", "tau, all ten"], everything
        ),
        "How far the strongest grade worsens a metric, in standard deviations over seeds": _table(
            ["metric", *FAMILIES], reaction
        ),
        "Truth by construction / by the looker, at each grade": _table(["family", *map(str, range(1, 6))], truths),
    }
    return "\n\n".join(f"**{title}**\n\n{table}" for title, table in parts.items())


def _both(rows: Sequence[Row], name: str, grade: float) -> str:
    some = [row["values"] for row in rows if (row["family"], row["grade"]) == (name, grade)]
    return " / ".join(f"{np.mean([one[metric] for one in some]):.3f}" for metric in (TRUTH, "looker"))


def plot(rows: Sequence[Row], path: Path) -> None:
    """Draw each metric over the truth, a colour a family."""
    from matplotlib.figure import Figure

    shown = ("looker", "CLIP score", "R-precision", "FD, CLIP", "KID, CLIP", "precision, CLIP", "FD, random net", "FD, pixels")
    figure = Figure(figsize=(12, 5.6), layout="constrained")
    panels = figure.subplots(2, 4, sharex=True).ravel()
    for panel, metric in zip(panels, shown, strict=True):
        for number, name in enumerate(FAMILIES):
            some = [row for row in rows if row["family"] == name]
            mark = "o" if name in SEMANTIC else "x"
            truth = [row["values"][TRUTH] for row in some]
            panel.scatter(truth, [row["values"][metric] for row in some], 16, f"C{number}", mark, label=name, linewidths=1)
        panel.set_title(f"{metric} ({'higher' if UPWARD[metric] else 'lower'} is better)", fontsize=9)
        panel.tick_params(labelsize=8)
    for panel in panels[4:]:
        panel.set_xlabel("truth by construction", fontsize=8)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=8)
    figure.savefig(path, dpi=90)


def write_report(rows: Sequence[Row], out: Path) -> str:
    """Write truth.md and truth.png, and return the former."""
    text = tables(rows)
    (out / "truth.md").write_text(text + "\n")
    plot(rows, out / "truth.png")
    return text
