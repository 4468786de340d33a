"""`recap-eval study`: run a declared grid of our commands, or show it."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from recap_eval.study.graph import Graph, build_graph
from recap_eval.study.run import How, Outcome, command_line, run_graph, tail, why
from recap_eval.study.spec import Study, read_study
from recap_eval.study.state import Stamp, duration, log_path, rates, read_stamps, remaining, taken, taken_text

MORE = 75  # sysexits' "try again": a loop, or a scheduler, gives the same command once more


def run_file(args: argparse.Namespace) -> int:
    """Run a study file's nodes that are not done.

    Returns:
        0, 1 if a node failed, 75 if its time is over and there is more to do, 130 if it was stopped.

    Raises:
        UserError: The file is no study; nothing was run.
        DataError: Another study runs in its root.
    """
    study = read_study(args.file, args.set, args.root)
    graph = build_graph(study)
    chosen = graph.select(args.only)
    if args.dry_run:
        _show_plan(study, graph, chosen, args)
        return 0
    live = args.jobs == 1 and sys.stderr.isatty()
    seconds = None if args.hours is None else 3600 * args.hours
    outcome = run_graph(graph, chosen, How(args.jobs, _say, _shower(args.json) if args.jobs == 1 else None, live, seconds))
    if args.json:
        print(json.dumps(_facts(study, graph, outcome)))
    _tell_end(study, graph, outcome)
    if outcome.stopped:
        return MORE if outcome.over else 130
    return 1 if outcome.codes else 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _shower(as_json: bool) -> Any:
    """Return what shows a running command: on standard output, unless that is for machines."""
    stream = (sys.stderr if as_json else sys.stdout).buffer

    def show(more: bytes) -> None:
        stream.write(more)
        stream.flush()

    return show


def _show_plan(study: Study, graph: Graph, chosen: set[str], args: argparse.Namespace) -> None:
    known = read_stamps(graph)
    stamps = {name: stamp for name, stamp in known.items() if not graph.nodes[name].always}
    left = [name for name in graph.nodes if name in chosen and name not in stamps]
    estimate = remaining(graph, dict.fromkeys(left, 0.0), rates(graph, known), args.jobs)
    if args.json:
        nodes = [
            _node_facts(graph, name, "done before" if name in stamps else "waiting") for name in graph.nodes if name in chosen
        ]
        facts = {"study": study.name, "root": str(graph.root), "nodes": nodes}
        print(json.dumps(facts | {"seconds": estimate.seconds, "unknown": estimate.unknown, "estimate": taken(graph, left)}))
        return
    print(f"{study.name}: {study.about}" if study.about else study.name)
    for number, name in enumerate([name for name in graph.nodes if name in chosen], 1):
        print(f"\n[{number}/{len(chosen)}] {name}: {_state_text(stamps.get(name), graph, name)}")
        print(f"$ {command_line(graph.nodes[name])}")
    rest = f"{len(left)} to run" + (f": {estimate.text()}" if left else "")
    print(f"\n{len(chosen)} nodes under {graph.root}: {len(chosen) - len(left)} done, {rest}")
    amounts = taken(graph, left)
    if amounts.keys() - {"hours"}:  # which the estimate tells already
        print(f"As the study's author reckons they take {taken_text(amounts)}.")


def _state_text(stamp: Stamp | None, graph: Graph, name: str) -> str:
    if stamp is not None:
        return f"done ({duration(stamp.seconds)})"
    amounts = taken(graph, [name])
    return "to run" + (f" ({taken_text(amounts)})" if amounts else "")


def _node_facts(graph: Graph, name: str, state: str) -> dict[str, Any]:
    node = graph.nodes[name]
    facts: dict[str, Any] = {"name": name, "step": node.step, "at": node.values, "command": list(node.words), "state": state}
    facts |= {"processes": node.processes, "estimate": node.estimate}
    return facts | {"needs": list(node.needs), "key": node.key, "log": str(log_path(graph.root, node))}


def _facts(study: Study, graph: Graph, outcome: Outcome) -> dict[str, Any]:
    nodes = [
        _node_facts(graph, name, state) | {"seconds": outcome.seconds.get(name), "exit_code": outcome.codes.get(name)}
        for name, state in outcome.state.items()
    ]
    return {"study": study.name, "root": str(graph.root), "stopped": outcome.stopped, "nodes": nodes}


def _tell_end(study: Study, graph: Graph, outcome: Outcome) -> None:
    """Say what became of the whole; of what failed, the end of its log."""
    for name, code in outcome.codes.items():
        log = log_path(graph.root, graph.nodes[name])
        lines = "\n".join(f"  {line}" for line in tail(log))
        _say(f"\nerror: {name} failed ({why(graph.nodes[name], code)}). The end of {log}:\n{lines}")
    if lost := outcome.of("not run"):
        _say(f"not run, because what they need failed: {', '.join(lost)}")
    before, now, total = len(outcome.of("done before")), len(outcome.of("done")), len(outcome.state)
    _say(f"\n{study.name}: {before + now} of {total} nodes done ({before} of them before) under {graph.root}")
    if outcome.over:
        _say("its time is over; the same command goes on from here.")
    elif outcome.stopped:
        _say("stopped; the same command goes on from here.")
    elif outcome.codes:
        _say("When the cause is mended, the same command runs what is left.")
