"""A study file, read and checked: parameters, a grid, and steps that are commands of ours. Nothing is run here.

Everything in the file is text as it was typed (YAML's scalars are not guessed at): `1.0` stays `1.0`, `no` stays `no`.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from recap_eval.errors import UserError, unknown_name

PROGRAMS = {"recap-eval": "recap_eval.cli", "recap-train": "recap_train.cli", "recap-caption": "recap_caption.cli"}
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
RESOURCES = {  # what a node takes, and how that is told: on GPUs, by the clock, on disk, paid to others
    "gpu_hours": "{} GPU-hours", "hours": "{} hours", "disk_gb": "{} GB", "usd": "${}",
}  # fmt: skip
TIMES = ("seconds", "samples", "per_second")  # other ways to say hours: in seconds, as so many samples at a speed, or both
OWN = ("root", "out", "steps")  # placeholders that are no parameter
EXTENDS = "extends"
SEE = "docs/studies.md, studies/clip-mix.yaml"


@dataclass(frozen=True)
class Step:
    """One command, repeated over axes of the grid.

    Args:
        name: Its name.
        command: Its words, with placeholders.
        over: Axes it is repeated over.
        out: File or folder that one node alone makes; empty if there is none.
        into: Folder that several nodes write into; without it none of them counts as done.
        needs: Steps that must be done before, besides those whose `out` the command names.
        always: Run every time, because it is quick and depends on more than its inputs.
        processes: How many processes torchrun starts of it on this machine; empty for one, without torchrun.
        estimate: What one node takes, as the file's author reckons: numbers or placeholders by name, of `RESOURCES` or `TIMES`.
    """

    name: str
    command: tuple[str, ...]
    over: tuple[str, ...] = ()
    out: str = ""
    into: str = ""
    needs: tuple[str, ...] = ()
    always: bool = False
    processes: str = ""
    estimate: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """A study file.

    Args:
        name: Its name.
        root: Folder under which everything of it lies.
        steps: Its steps, in the file's order.
        grid: Values by axis.
        parameters: What `--set` may override; a list stands for several words.
        about: What it is for.
    """

    name: str
    root: str
    steps: tuple[Step, ...]
    grid: dict[str, tuple[str, ...]] = field(default_factory=dict)
    parameters: dict[str, str | tuple[str, ...]] = field(default_factory=dict)
    about: str = ""


def read_study(path: Path, sets: list[str], root: Path | None = None) -> Study:
    """Read a study file.

    Args:
        path: The file.
        sets: What to override, each "NAME=VALUE"; for an axis the values with commas between.
        root: Another root.

    Raises:
        UserError: No such file, or it is not a study; the message names the place in it.
    """
    record, place = _extended(path), str(path)
    for key in ("name", "root", "steps"):
        if not record.get(key):
            raise UserError(f"{place}: {key} is missing.", f"Model it on {SEE}.")
    grid = {name: _words(values, f"{place}: axis {name}") for name, values in _table(record, "grid", place).items()}
    given = _table(record, "parameters", place)
    parameters = {name: _value(value, f"{place}: parameter {name}") for name, value in given.items()}
    _check_names(grid, parameters, place)
    for text in sets:
        _override(text, grid, parameters)
    for name, values in grid.items():
        _check_axis(name, values, place)
    study_root = str(root) if root is not None else _text(record["root"], f"{place}: root")
    steps = tuple(_step(entry, f"{place}: step {number}") for number, entry in enumerate(_list(record["steps"], place), 1))
    return Study(_text(record["name"], place), study_root, steps, grid, parameters, _text(record.get("about", ""), place))


def _extended(path: Path) -> dict[str, Any]:
    """Return a file's record; of one that extends another, the other's with what this one says put in its place.

    Parameters and axes are replaced one by one and must be known to the other; steps are the other's.
    """
    record, place = _load(path), str(path)
    _known(record, [*(f.name for f in fields(Study)), EXTENDS], place)
    if EXTENDS not in record:
        return record
    base = path.parent / _text(record.pop(EXTENDS), f"{place}: {EXTENDS}")
    found = _load(base)
    if EXTENDS in found:
        raise UserError(f"{place} extends {base}, which extends another.", "Extend that one.")
    if "steps" in record:
        raise UserError(f"{place} extends {base} and has steps of its own.", "Leave them out, or extend nothing.")
    for key in ("parameters", "grid"):
        mine, theirs = _table(record, key, place), _table(found, key, str(base))
        _known(mine, list(theirs), f"{place}: {key}")
        record[key] = theirs | mine
    return found | record


def _load(path: Path) -> dict[str, Any]:
    import yaml

    class Plain(yaml.BaseLoader):  # type: ignore[misc]
        """Makes texts, lists and tables only; a key given twice is an error instead of a silent last word."""

    def table(loader: Any, node: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = loader.construct_object(key_node, deep=True)
            if not isinstance(key, str) or key in found:
                raise UserError(f"{path}:{key_node.start_mark.line + 1}: {key!r} stands there twice.", "Leave one out.")
            found[key] = loader.construct_object(value_node, deep=True)
        return found

    Plain.add_constructor("tag:yaml.org,2002:map", table)
    try:
        record = yaml.load(path.read_text(encoding="utf-8"), Loader=Plain)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{path} cannot be read: {reason}.", "Name a study file: ls studies") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise UserError(f"{where} is not YAML: {getattr(error, 'problem', error)}.", f"Model it on {SEE}.") from error
    if not isinstance(record, dict):
        raise UserError(f"{path} is not a study.", f"Model it on {SEE}.")
    return record


def _known(record: dict[str, Any], names: list[str], place: str) -> None:
    for key in record:
        if key not in names:
            error = unknown_name("key", key, names, f"{', '.join(names)} ({SEE})")
            raise UserError(f"{place}: {error.what}", error.hint)


def _table(record: dict[str, Any], key: str, place: str) -> dict[str, Any]:
    found = record.get(key) or {}
    if not isinstance(found, dict):
        raise UserError(f"{place}: {key} is not a table of names and values.", f"Model it on {SEE}.")
    return found


def _list(value: object, place: str) -> list[Any]:
    if not isinstance(value, list):
        raise UserError(f"{place}: {str(value)[:40]!r} should be a list.", f"Model it on {SEE}.")
    return value


def _text(value: object, place: str) -> str:
    if not isinstance(value, str):
        raise UserError(f"{place}: {str(value)[:40]!r} should be one text.", f"Model it on {SEE}.")
    return value


def _words(value: object, place: str) -> tuple[str, ...]:
    """Return a list's texts; one text stands for a list of one."""
    values = [value] if isinstance(value, str) else _list(value, place)
    return tuple(_text(entry, place) for entry in values)


def _value(value: object, place: str) -> str | tuple[str, ...]:
    return value if isinstance(value, str) else _words(value, place)


def _check_names(grid: dict[str, Any], parameters: dict[str, Any], place: str) -> None:
    for name in [*grid, *parameters]:
        if not NAME.fullmatch(name) or name in OWN:
            raise UserError(f"{place}: {name!r} cannot be a name.", f"Letters, digits, _ and -; not {', '.join(OWN)}.")
        if name in grid and name in parameters:
            raise UserError(f"{place}: {name} is both an axis and a parameter.", "Rename one of them.")


def _check_axis(name: str, values: tuple[str, ...], place: str) -> None:
    if not values:
        raise UserError(f"{place}: axis {name} has no value.", f"Give it some: --set {name}=A,B")
    if twice := [value for value in values if values.count(value) > 1]:
        raise UserError(f"{place}: axis {name} holds {twice[0]} twice.", "Leave one out.")


def _override(text: str, grid: dict[str, tuple[str, ...]], parameters: dict[str, str | tuple[str, ...]]) -> None:
    name, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"--set {text} is not NAME=VALUE.", "Example: --set samples=60000, or of an axis: --set p=0,0.5,1")
    if name in grid:
        grid[name] = tuple(part.strip() for part in value.split(",") if part.strip())
    elif name in parameters:
        parameters[name] = value if isinstance(parameters[name], str) else tuple(shlex.split(value))
    else:
        known = [*grid, *parameters]
        raise unknown_name("parameter or axis", name, known, ", ".join(known) or "the file declares none")


def _step(entry: object, place: str) -> Step:
    if not isinstance(entry, dict):
        raise UserError(f"{place} is not a table.", f"Model it on {SEE}.")
    _known(entry, [f.name for f in fields(Step)], place)
    name = _text(entry.get("name", ""), place)
    if not NAME.fullmatch(name):
        raise UserError(f"{place}: name {name!r} is not a name.", "Letters, digits, _ and -.")
    place = place.partition(": step ")[0] + f": step {name}"
    if (always := entry.get("always", "false")) not in ("true", "false"):
        raise UserError(f"{place}: always is {always!r}.", "true or false")
    given = entry.get("command", "")
    try:
        command = tuple(shlex.split(given)) if isinstance(given, str) else _words(given, place)
    except ValueError as error:
        raise UserError(f"{place}: the command's quotes do not match.", "Write it as a list of words.") from error
    _check_program(command, place)
    lists = {key: _words(entry.get(key, []), f"{place}: {key}") for key in ("over", "needs")}
    texts = {key: _text(entry.get(key, ""), f"{place}: {key}") for key in ("out", "into", "processes")}
    return Step(
        name, command, lists["over"], texts["out"], texts["into"], lists["needs"], always == "true", texts["processes"],
        _estimate(_table(entry, "estimate", place), place),
    )  # fmt: skip


def _estimate(table: dict[str, Any], place: str) -> dict[str, str]:
    """Return what a node takes, by names that are known; figures are checked where placeholders are filled."""
    _known(table, [*RESOURCES, *TIMES], f"{place}: estimate")
    return {name: _text(text, f"{place}: {name}") for name, text in table.items()}


def _check_program(command: tuple[str, ...], place: str) -> None:
    """Refuse every program but ours: a study file may be somebody else's."""
    program = command[0] if command else ""
    if program not in PROGRAMS:
        raise UserError(f"{place}: {program!r} is not a command of ours.", f"A study runs {', '.join(PROGRAMS)} only.")
    if "study" in command[1:2]:
        raise UserError(f"{place}: a study runs no study.", "Put its steps into this file.")
