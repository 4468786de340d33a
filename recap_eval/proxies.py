"""Cheap measures of captions, by world: which results a board's proxies ask for. No formatting."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from recap_eval.artifact import FACTS
from recap_eval.board import VARIANT, Board, Proxy
from recap_eval.captions.files import label
from recap_eval.files import canonical_json
from recap_eval.results import Result, scale_of, unit_of
from recap_eval.table import At, ProxyFigures

OF_A_WORLD = frozenset({"settings.pair", "settings.truth"})  # name a world's own captions: no other way of measuring
Found = dict[tuple[At, str], Result]  # by world and column of captions


def proxy_figures(board: Board, results: Sequence[Result]) -> tuple[tuple[ProxyFigures, ...], list[str]]:
    """Return a board's proxies as far as they were measured, and sentences on results that were measured otherwise.

    A proxy that several measured (TASK@WHO) stands once for each; one that nobody measured has no values. Among the ways in
    which one was measured (settings, images), the one that tells of most worlds counts.

    Returns:
        No proxy at all if none was measured.
    """
    made: list[ProxyFigures] = []
    left: dict[Path, str] = {}
    for proxy in board.proxies:
        known = [one for one in results if _asked(proxy, one)]
        for task in sorted({one.task for one in known}) or [proxy.task]:
            figures, others = _figures(board, proxy, [one for one in known if one.task == task])
            made.append(figures)
            left |= {one.path: one.task for one in others}
    why = "measured otherwise than most, or a second time"
    told = [f"{count} results on {task}: {why}" for task, count in sorted(Counter(left.values()).items())]
    return (tuple(made) if any(one.values for one in made) else ()), told


def _asked(proxy: Proxy, result: Result) -> bool:
    there = result.task.partition(VARIANT)[0] == proxy.task and proxy.metric in result.record["metrics"]
    return there and label(result.meta.get("column", "")) in (proxy.of, proxy.minus or proxy.of)


def _figures(board: Board, proxy: Proxy, results: list[Result]) -> tuple[ProxyFigures, list[Result]]:
    """Return a proxy as one measured it, and the results that were left out."""
    who = results[0].task.partition(VARIANT)[2] if results else ""
    proxy = replace(proxy, label=f"{proxy.label} by {who}" if who else proxy.label)
    ways: dict[str, Found] = defaultdict(dict)
    for one in results:
        way = {name: value for name, value in one.protocol().items() if name not in OF_A_WORLD}
        if way["task version"] == proxy.version and not one.partial:
            at = tuple(one.meta[FACTS][name] for name in board.facts)
            ways[canonical_json(way)].setdefault((at, label(one.meta["column"])), one)
    known = {way: _behind(proxy, found) for way, found in ways.items()}
    most = max(known, key=lambda way: (len(known[way]), way), default=None)
    if most is None:
        return ProxyFigures(proxy, {}, {}), results
    kept = list(ways[most].values())
    values = {at: _value(proxy, ours) - sum(_value(proxy, one) for one in less) for at, (ours, *less) in known[most].items()}
    cell = kept[0].record["metrics"][proxy.metric]
    figures = ProxyFigures(proxy, values, known[most], scale_of(cell), unit_of(cell))
    return figures, [one for one in results if one not in kept]


def _behind(proxy: Proxy, found: Found) -> dict[At, tuple[Result, ...]]:
    """Return the results that a proxy is made of in each world that has all: of its captions, then of those it is less."""
    columns = [proxy.of, *([proxy.minus] if proxy.minus else [])]
    worlds = sorted({at for at, _ in found}, key=canonical_json)
    return {at: tuple(found[at, one] for one in columns) for at in worlds if all((at, one) in found for one in columns)}


def _value(proxy: Proxy, result: Result) -> float:
    return float(result.record["metrics"][proxy.metric]["value"])
