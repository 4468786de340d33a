"""A comparison of models as terminal text, markdown and JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from recap_eval.compare import FEW, Against, Comparison, Question, letter, same_run
from recap_eval.report.cells import pipe
from recap_eval.stats import ALPHA, Estimate
from recap_eval.tasks.base import PERCENT

SEEDS = "Training randomness is not in these intervals: another seed may differ by more. Means over seeds: recap-eval report."
WORDS = ("task", "metric", "model", "results", "role", "verdict")  # columns of words, flush left


def grid(found: Comparison) -> list[list[str]]:
    """Return one line a model and question, header first; what repeats is left blank."""
    p = "p (Holm)" if len(found.subjects) > 2 else "p"
    lines = [["task", "metric", "n", "A", "model", "value", "Δ to A", "95 % interval", p, "differ", "won : lost", "verdict"]]
    for question in found.questions:
        head = [_task(question), question.metric, f"{question.value.n}", _shown(question.value.value, question.scale)]
        for number, against in enumerate(question.against):
            lines.append([*([""] * len(head) if number else head), *_cells(against, question.scale)])
    return lines


def _task(question: Question) -> str:
    return question.result.task + (f" ({question.apart})" if question.apart else "")


def _cells(against: Against, scale: float) -> list[str]:
    counts, found = against.counts, against.difference
    share = "–" if counts is None else f"{100 * counts.share:.1f} %"
    games = "–" if counts is None else f"{counts.won} : {counts.lost}"
    own = [letter(against.model), _shown(against.value.value, scale)]
    return [*own, _shown(found.value, scale, "+"), _interval(found, scale), _p(against.p_holm), share, games, _verdict(against)]


def _verdict(against: Against) -> str:
    told = against.verdict
    return f"{letter(against.model)} is {told}" if told in ("better", "worse", "higher", "lower") else told


def _shown(value: float, scale: float, sign: str = "") -> str:
    """Return a share × 100 with one decimal; of a distance, four digits."""
    return f"{scale * value:{sign}.1f}" if scale == PERCENT else f"{scale * value:{sign}.4g}"


def _interval(found: Estimate, scale: float) -> str:
    return (
        "–"
        if found.low is None or found.high is None
        else f"[{_shown(found.low, scale, '+')}, {_shown(found.high, scale, '+')}]"
    )


def _p(value: float | None) -> str:
    return "–" if value is None else "<0.0001" if value < 0.0001 else f"{value:.4f}"


def _models(found: Comparison) -> list[list[str]]:
    base = found.subjects[0]
    roles = ["baseline", *("another seed of A's run" if same_run(base, one) else "" for one in found.subjects[1:])]
    return [
        [letter(number), one.name, one.folder.name, role]
        for number, (one, role) in enumerate(zip(found.subjects, roles, strict=True))
    ]


def notes(found: Comparison) -> list[str]:
    """Return what a reader must know: what the figures are, over what p is corrected, and what is not covered."""
    several = len(found.subjects) - 1
    holm = f"corrected by Holm over the {several} models of one task and metric" if several > 1 else "of one test a line"
    return [
        "Shares are × 100, KID × 1000, distances as they are. Δ to A is paired by item, its t-interval clustered by image.",
        f"p is {holm}, and not corrected over tasks and metrics.",
        f"Better or worse: p < {ALPHA}, and at least {FEW} images have items that differ.",
        "differ: share of items whose score is not A's. won : lost: items on which the model is better and worse than A.",
        SEEDS,
    ]


def terminal(found: Comparison) -> str:
    """Render a comparison for a terminal: aligned columns, no markup."""
    parts = [_columns(_models(found), 4), "", _columns(grid(found)), "", *notes(found)]
    if found.left_out:
        parts += ["", "left out, not comparable:", *[f"  {line}" for line in found.left_out]]
    return "\n".join(parts)


def _columns(lines: list[list[str]], words: int = 0) -> str:
    """Align columns: the first `words` and those of words flush left, figures flush right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    left = [number < words or name in WORDS for number, name in enumerate(lines[0])]
    shown = []
    for line in lines:
        cells = [cell.ljust(w) if flush else cell.rjust(w) for cell, w, flush in zip(line, widths, left, strict=True)]
        shown.append("  ".join(cells).rstrip())
    return "\n".join(shown)


def markdown(found: Comparison) -> str:
    """Render a comparison as markdown."""
    names = [one.name for one in found.subjects]
    models = pipe([["", "model", "results", "role"], *_models(found)], WORDS)
    parts = [
        f"# {', '.join(names[1:])} against {names[0]}",
        models,
        pipe(grid(found), WORDS),
        "\n".join(f"- {line}" for line in notes(found)),
    ]
    if found.left_out:
        parts += ["## Left out: not comparable", "\n".join(f"- {line}" for line in found.left_out)]
    return "\n\n".join(parts) + "\n"


def as_json(found: Comparison) -> dict[str, Any]:
    """Return a comparison for machines; shares, not × 100."""
    models = [
        {"letter": letter(number), "name": one.name, "results": str(one.folder), "baseline": number == 0}
        for number, one in enumerate(found.subjects)
    ]
    return {"models": models, "questions": [_question_json(one) for one in found.questions], "left_out": list(found.left_out)}


def _question_json(question: Question) -> dict[str, Any]:
    record = question.result.record
    facts = {"task": question.result.task, "version": record["task"]["version"], "metric": question.metric}
    facts |= {"partial": question.result.partial, "settings": record["settings"], "data": record["data"]}
    facts |= {"higher_is_better": record["metrics"][question.metric]["higher_is_better"]}
    return facts | {"baseline": _value(question.value), "against": [_against_json(one) for one in question.against]}


def _value(found: Estimate) -> dict[str, Any]:
    return {
        "value": found.value,
        "se": found.se,
        "low": found.low,
        "high": found.high,
        "n": found.n,
        "n_clusters": found.n_clusters,
    }


def _against_json(against: Against) -> dict[str, Any]:
    counts = against.counts
    return {
        "model": letter(against.model),
        "value": _value(against.value),
        "difference": _value(against.difference) | {"p": against.difference.p_value, "p_holm": against.p_holm},
        "items": None if counts is None else asdict(counts) | {"share": counts.share},
        "verdict": against.verdict,
    }
