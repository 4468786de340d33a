"""What of a study is done: a stamp a node, written after its success; and how long the rest will take.

<root>/done/NODE.json     key, command, seconds        <root>/logs/NODE.log     what the command said
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from recap_eval.errors import DataError
from recap_eval.files import read_json, write_json
from recap_eval.study.graph import Graph, Node
from recap_eval.study.spec import RESOURCES

DONE, LOGS, LOCK = "done", "logs", "study.lock"


@dataclass(frozen=True)
class Stamp:
    """That a node was done.

    Args:
        key: The node's key then.
        seconds: Wall time of the run that finished it.
        resumed: That run went on from an interrupted one, so its time is not the whole.
        command: The words.
    """

    key: str
    seconds: float
    resumed: bool
    command: list[str]


def log_path(root: Path, node: Node) -> Path:
    """Return where a node's log lies."""
    return root / LOGS / f"{node.name}.log"


def write_stamp(root: Path, node: Node, seconds: float, resumed: bool) -> None:
    """Record that a node is done."""
    write_json(root / DONE / f"{node.name}.json", asdict(Stamp(node.key, round(seconds, 2), resumed, list(node.words))))


def read_stamps(graph: Graph) -> dict[str, Stamp]:
    """Return the stamps of the nodes that were done: same key, and what they made is still there.

    Those that run every time have one too, for their times. A damaged stamp is none: the node runs again.
    """
    found = {}
    for node in graph.nodes.values():
        stamp = _read(graph.root / DONE / f"{node.name}.json")
        there = all(path.exists() for path in (node.out, node.into) if path is not None)
        if stamp is not None and stamp.key == node.key and there:
            found[node.name] = stamp
    return found


def _read(path: Path) -> Stamp | None:
    if not path.is_file():
        return None
    try:
        return Stamp(**read_json(path))
    except (DataError, TypeError):
        return None


def rates(graph: Graph, stamps: dict[str, Stamp]) -> dict[str, float]:
    """Return seconds a node by step, from finished nodes, those done in one go if there is any; else as the author reckons."""
    found: dict[str, list[Stamp]] = {}
    for name, stamp in stamps.items():
        found.setdefault(graph.nodes[name].step, []).append(stamp)
    means = {node.step: 3600 * node.estimate["hours"] for node in graph.nodes.values() if "hours" in node.estimate}
    for step, known in found.items():
        whole = [stamp.seconds for stamp in known if not stamp.resumed] or [stamp.seconds for stamp in known]
        means[step] = sum(whole) / len(whole)
    return means


@dataclass(frozen=True)
class Estimate:
    """How long the rest takes.

    Args:
        seconds: Of the nodes whose step has a finished one.
        nodes: How many those are.
        unknown: Steps of which no node was finished yet.
    """

    seconds: float
    nodes: int
    unknown: tuple[str, ...]

    def text(self) -> str:
        """Return it in words."""
        known = f"about {duration(self.seconds)}" if self.nodes else ""
        unknown = f"no time known yet for {', '.join(self.unknown)}" if self.unknown else ""
        return "; ".join(part for part in (known, unknown) if part)


def remaining(graph: Graph, left: dict[str, float], known: dict[str, float], jobs: int) -> Estimate:
    """Estimate the time that unfinished nodes take.

    Args:
        graph: The graph.
        left: Seconds that each unfinished node has run already.
        known: Seconds a node by step.
        jobs: Nodes at once.
    """
    seconds = [max(0.0, known[graph.nodes[n].step] - ran) for n, ran in left.items() if graph.nodes[n].step in known]
    unknown = dict.fromkeys(graph.nodes[n].step for n in left if graph.nodes[n].step not in known)
    longest = max(seconds, default=0.0)
    return Estimate(max(sum(seconds) / jobs, longest), len(seconds), tuple(unknown))


def taken(graph: Graph, names: Iterable[str]) -> dict[str, float]:
    """Return what nodes take together, as the study's author reckons, by resource."""
    total: dict[str, float] = {}
    for name in names:
        for resource, amount in graph.nodes[name].estimate.items():
            total[resource] = total.get(resource, 0.0) + amount
    return {resource: total[resource] for resource in RESOURCES if resource in total}


def taken_text(amounts: dict[str, float]) -> str:
    """Return amounts in words; less than an hour as a duration."""
    return ", ".join(
        duration(3600 * amount)
        if name == "hours" and amount < 1
        else RESOURCES[name].format(f"{amount:,.3g}" if amount < 100 else f"{amount:,.0f}")
        for name, amount in amounts.items()
    )


def duration(seconds: float) -> str:
    """Return a time in two units at most."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole < 600 else f"{round(whole / 60)} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
