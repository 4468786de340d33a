"""The names a user can type: tasks, and suites that stand for several. Nothing heavy is imported before it is asked for."""

from __future__ import annotations

from pathlib import Path

from recap_eval.errors import UserError, unknown_name
from recap_eval.tasks.base import Task
from recap_eval.tasks.catalog import Row, build_task, load_catalog

SEE = "recap-eval list tasks"


def suites(rows: dict[str, Row]) -> dict[str, list[str]]:
    """Return task names by suite, in the order of the table."""
    found: dict[str, list[str]] = {}
    for name, row in rows.items():
        for suite in row.suites:
            found.setdefault(suite, []).append(name)
    return found


def how_to_get(name: str, row: Row, root: Path) -> str:
    """Say in one line how people get a task's data: by `recap-eval fetch` where a licence allows it, else by hand."""
    by_hand = row.get.replace("DATA_ROOT", str(root))
    return f"recap-eval fetch {name} --data {root} ({by_hand})" if row.fetch else by_hand


def get_task(name: str, root: Path | None = None, templates: str = "") -> Task:
    """Return a task by name.

    Args:
        name: Its name.
        root: Data root whose own tasks.toml counts too.
        templates: Another set of templates, for a zero-shot task.

    Raises:
        UserError: No such task; the message names the nearest.
        DataError: See `load_catalog`.
    """
    rows = load_catalog(root)
    if name not in rows:
        raise unknown_name("task", name, rows, SEE)
    return build_task(name, rows[name], templates)


def choose_tasks(words: str | None, root: Path | None = None, templates: str = "") -> list[Task]:
    """Return the tasks that a user names by task and suite, each once, or all.

    Raises:
        UserError: An unknown name, or none at all.
        DataError: See `load_catalog`.
    """
    rows = load_catalog(root)
    known = suites(rows)
    asked = list(rows) if words is None else [word.strip() for word in words.split(",") if word.strip()]
    if not asked:
        raise UserError("--tasks names no task.", f"All names: {SEE}")
    names: list[str] = []
    for word in asked:
        if word not in rows and word not in known:
            raise unknown_name("task", word, [*rows, *known], SEE)
        names += [word] if word in rows else known[word]
    return [build_task(name, rows[name], templates) for name in dict.fromkeys(names)]
