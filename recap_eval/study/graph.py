"""From a study to its nodes: every step at every place of the grid, with its words, its inputs and its key. Pure.

A node's key is a digest of its command and of its inputs' keys, with the root left open: a folder that was moved is
still done, and a changed parameter runs again exactly what depends on it.
"""

from __future__ import annotations

import fnmatch
import itertools
import os
import re
import string
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from recap_eval.errors import UserError, unknown_name
from recap_eval.files import digest_json
from recap_eval.study.spec import OWN, Step, Study

ROOT = "\0"  # stands for the root while keys are made; no path or argument can hold it


@dataclass(frozen=True)
class Node:
    """A step at one place of the grid.

    Args:
        name: Its name, fit for a file.
        step: The step's name.
        values: Where on the grid.
        words: The command.
        out: What it makes, or None.
        into: The shared folder it writes into, or None.
        needs: Names of the nodes that must be done before.
        key: Digest of the command and the inputs' keys.
        always: Run every time.
        processes: How many processes torchrun starts of it; 1 without torchrun.
        estimate: What it takes, as the study's author reckons.
    """

    name: str
    step: str
    values: dict[str, str]
    words: tuple[str, ...]
    out: Path | None
    into: Path | None
    needs: tuple[str, ...]
    key: str
    always: bool
    processes: int = 1
    estimate: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Graph:
    """All nodes of a study.

    Args:
        root: Folder under which everything lies.
        nodes: By name, each after what it needs.
    """

    root: Path
    nodes: dict[str, Node]

    def select(self, patterns: list[str] | None) -> set[str]:
        """Return the nodes whose name matches one of some patterns, with all they need; all of them for None.

        Raises:
            UserError: A pattern matches none.
        """
        if not patterns:
            return set(self.nodes)
        matching = {pattern: set(fnmatch.filter(self.nodes, pattern)) for pattern in patterns}
        if lost := [pattern for pattern, names in matching.items() if not names]:
            raise unknown_name("node", lost[0], self.nodes, "recap-eval study FILE --dry-run (a pattern such as 'clip-*')")
        found = set().union(*matching.values())
        for name in reversed(self.nodes):
            found |= set(self.nodes[name].needs) if name in found else set()
        return found

    def dependants(self, name: str) -> set[str]:
        """Return all nodes that need a node, directly or through others."""
        found = {name}
        for node in self.nodes.values():
            found |= {node.name} if found & set(node.needs) else set()
        return found - {name}


def build_graph(study: Study) -> Graph:
    """Return a study's graph.

    Raises:
        UserError: An unknown step, axis or placeholder; steps that need each other; nodes of one name or one `out`.
    """
    steps = _by_name(study)
    for step in steps.values():
        _check_axes(step, study)
    made: dict[str, list[Node]] = {}
    for name in _ordered(steps):
        made[name] = [_node(study, steps, steps[name], values, made) for values in _places(study, steps[name])]
    nodes: dict[str, Node] = {}
    for node in itertools.chain.from_iterable(made.values()):
        if node.name in nodes:
            raise UserError(f"Two nodes are called {node.name}.", "Rename a step or a value of the grid.")
        nodes[node.name] = node
    _check_outs(nodes)
    root = Path(study.root).expanduser()
    return Graph(root, {name: _rooted(node, str(root)) for name, node in nodes.items()})


def _by_name(study: Study) -> dict[str, Step]:
    steps: dict[str, Step] = {}
    for step in study.steps:
        if step.name in steps:
            raise UserError(f"Two steps are called {step.name}.", "Rename one of them.")
        steps[step.name] = step
    return steps


def _check_axes(step: Step, study: Study) -> None:
    for axis in step.over:
        if axis not in study.grid:
            raise _at(step, unknown_name("axis", axis, study.grid, ", ".join(study.grid) or "the study has no grid"))
    if len(set(step.over)) < len(step.over):
        raise UserError(f"Step {step.name}: an axis stands twice in over.", "Leave one out.")


def _at(step: Step, error: UserError) -> UserError:
    return UserError(f"Step {step.name}: {error.what}", error.hint)


def _ordered(steps: dict[str, Step]) -> list[str]:
    """Return the steps' names, each after what it needs, else in the file's order."""
    needs = {name: _inputs(step, steps) for name, step in steps.items()}
    try:
        return list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        circle = " needs ".join(reversed(error.args[1]))
        raise UserError(f"Steps need each other: {circle}.", "Take one of these needs out.") from error


def _inputs(step: Step, steps: dict[str, Step]) -> list[str]:
    """Return the steps that a step needs: those it names, and those whose `out` its texts name."""
    named = list(step.needs)
    for text in (*step.command, step.out, step.into):
        for name in placeholders(text, step):
            if name.partition(".")[0] == "steps":
                named.append(_named_step(name, step))
    for name in named:
        if name not in steps:
            raise _at(step, unknown_name("step", name, steps, ", ".join(steps)))
    return list(dict.fromkeys(named))


def _named_step(placeholder: str, step: Step) -> str:
    _, _, rest = placeholder.partition(".")
    name, dot, what = rest.rpartition(".")
    if not dot or what != "out":
        raise UserError(f"Step {step.name}: unknown placeholder {{{placeholder}}}.", "Write {steps.NAME.out}.")
    return name


def placeholders(text: str, step: Step) -> list[str]:
    """Return the names between braces in a text; double braces stand for themselves.

    Raises:
        UserError: Braces that do not match, or hold more than a name.
    """
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError as error:
        raise UserError(f"Step {step.name}: {text!r}: {error}.", "A brace itself is written twice: {{ or }}.") from error
    for _, name, form, conversion in parts:
        if name is not None and (form or conversion or not name):
            raise UserError(f"Step {step.name}: {text!r} holds no plain name between braces.", "Write {p} or {steps.NAME.out}.")
    return [name for _, name, _, _ in parts if name is not None]


def _places(study: Study, step: Step) -> list[dict[str, str]]:
    axes = [study.grid[axis] for axis in step.over]
    return [dict(zip(step.over, values, strict=True)) for values in itertools.product(*axes)]


def _node(study: Study, steps: dict[str, Step], step: Step, values: dict[str, str], made: dict[str, list[Node]]) -> Node:
    parameters = {name: _parameter(name, value, step) for name, value in study.parameters.items()}
    inputs = {name: _matching(made[name], values) for name in _inputs(step, steps)}
    known: dict[str, tuple[str, ...]] = {"root": (ROOT,)} | parameters | {axis: (value,) for axis, value in values.items()}
    known |= {f"steps.{name}.out": tuple(str(node.out) for node in nodes if node.out) for name, nodes in inputs.items()}
    out, into = (_one(text, known, step, study) if text else None for text in (step.out, step.into))
    known |= {"out": (out,)} if out else {}
    words = tuple(word for text in step.command for word in _fill(text, known, step, study))
    needs = [node for nodes in inputs.values() for node in nodes]
    key = digest_json([words, out, into, sorted(node.key for node in needs)])
    name = re.sub(r"[^A-Za-z0-9._=+-]+", "_", "-".join([step.name, *(f"{axis}={value}" for axis, value in values.items())]))
    made_in = [Path(text) if text else None for text in (out, into)]
    return Node(
        name, step.name, values, words, made_in[0], made_in[1], tuple(node.name for node in needs), key, step.always,
        _processes(step, known, study), _estimate(step, known, study),
    )  # fmt: skip


def _processes(step: Step, known: dict[str, tuple[str, ...]], study: Study) -> int:
    """Return how many processes a step's nodes have; they are no part of its key, since a run may go on with others."""
    text = _one(step.processes, known, step, study) if step.processes else "1"
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"Step {step.name}: processes is {text!r}.", "Write how many torchrun starts: processes: 8")
    return int(text)


def _estimate(step: Step, known: dict[str, tuple[str, ...]], study: Study) -> dict[str, float]:
    """Return what a node takes by resource; it is no part of the node's key either."""
    amounts = {name: _amount(name, _one(text, known, step, study), step) for name, text in step.estimate.items()}
    samples, speed = amounts.pop("samples", None), amounts.pop("per_second", None)
    if (samples is None) != (speed is None) or speed == 0:
        raise UserError(f"Step {step.name}: samples take time at a speed.", "Write both: {samples: 100000, per_second: 700}")
    seconds = amounts.pop("seconds", 0.0) + (samples / speed if samples is not None and speed else 0.0)
    return amounts | ({"hours": amounts.get("hours", 0.0) + seconds / 3600} if seconds else {})


def _amount(name: str, text: str, step: Step) -> float:
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found < float("inf"):
        raise UserError(f"Step {step.name}: {name} is {text!r}.", "Write a number: gpu_hours: 18900")
    return found


def _parameter(name: str, value: str | tuple[str, ...], step: Step) -> tuple[str, ...]:
    """Return a parameter's words; of placeholders it may hold {root}."""
    words = (value,) if isinstance(value, str) else value
    for word in words:
        if strange := [found for found in placeholders(word, step) if found != "root"]:
            raise UserError(f"Parameter {name} holds {{{strange[0]}}}.", "Of placeholders a parameter may hold {root} only.")
    return tuple(word.format(root=ROOT) for word in words)


def _matching(nodes: list[Node], values: dict[str, str]) -> list[Node]:
    """Return the nodes of a step that agree with a place on the grid in the axes they share."""
    return [node for node in nodes if all(values.get(axis, value) == value for axis, value in node.values.items())]


def _fill(text: str, known: dict[str, tuple[str, ...]], step: Step, study: Study) -> list[str]:
    """Return the words that a text stands for: a placeholder of several values repeats its word for each.

    Raises:
        UserError: An unknown placeholder, or two of several values in one word.
    """
    names = list(dict.fromkeys(placeholders(text, step)))
    for name in names:
        if not known.get(name) and name not in study.parameters:
            raise _unknown_placeholder(name, known, step, study)
    several = [name for name in names if len(known[name]) != 1]
    if len(several) > 1:
        raise UserError(
            f"Step {step.name}: {text!r} holds two placeholders of several values ({', '.join(several)}).", "Keep one a word."
        )
    single = {name: known[name][0] for name in names if name not in several}
    turns = [single | {several[0]: value} for value in known[several[0]]] if several else [single]
    return ["".join(literal + (turn[name] if name else "") for literal, name in _parts(text)) for turn in turns]


def _parts(text: str) -> list[tuple[str, str | None]]:
    return [(literal, name) for literal, name, _, _ in string.Formatter().parse(text)]


def _one(text: str, known: dict[str, tuple[str, ...]], step: Step, study: Study) -> str:
    words = _fill(text, known, step, study)
    if len(words) != 1:
        raise UserError(f"Step {step.name}: {text!r} stands for {len(words)} paths.", "A node has one out.")
    return words[0]


def _unknown_placeholder(name: str, known: dict[str, tuple[str, ...]], step: Step, study: Study) -> UserError:
    if name in study.grid:
        return UserError(f"Step {step.name} says {{{name}}} but is not repeated over it.", f"Add {name} to its over.")
    if name == "out" or name.startswith("steps."):
        owner = step.name if name == "out" else _named_step(name, step)
        return UserError(f"Step {step.name} says {{{name}}}, but step {owner} has no out.", f"Give {owner} an out.")
    names = [*known, *(axis for axis in study.grid if axis not in known), *OWN[1:2], "steps.NAME.out"]
    return _at(step, unknown_name("placeholder", name, names, ", ".join(f"{{{word}}}" for word in dict.fromkeys(names))))


def _check_outs(nodes: dict[str, Node]) -> None:
    owners: dict[str, str] = {}
    for node in nodes.values():
        if node.out is None:
            continue
        other = owners.setdefault(os.path.normpath(node.out), node.name)
        if other != node.name:
            where = str(node.out).replace(ROOT, "{root}")
            raise UserError(f"{other} and {node.name} have the same out: {where}.", "Put what tells them apart into it.")


def _rooted(node: Node, root: str) -> Node:
    """Put the root where it was left open."""
    words = tuple(word.replace(ROOT, root) for word in node.words)
    out, into = (Path(str(path).replace(ROOT, root)).expanduser() if path else None for path in (node.out, node.into))
    return replace(node, words=words, out=out, into=into)
