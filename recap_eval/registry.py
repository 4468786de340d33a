"""The names a user can type, each with where its object lives; nothing is imported before it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from recap_eval.errors import unknown_name

if TYPE_CHECKING:
    from recap_eval.tasks.base import Task

TASKS = {
    "scenes-zeroshot": "recap_eval.tasks.zero_shot:scenes_zeroshot",
    "scenes-retrieval": "recap_eval.tasks.retrieval:scenes_retrieval",
    "scenes-long": "recap_eval.tasks.retrieval:scenes_long",
    "scenes-attributes": "recap_eval.tasks.pairs:scenes_attributes",
    "scenes-relations": "recap_eval.tasks.pairs:scenes_relations",
}


def resolve(target: str) -> Any:
    """Return the object that "module:attribute" names."""
    module, _, attribute = target.partition(":")
    return getattr(import_module(module), attribute)


def get_task(name: str) -> Task:
    """Return a task by name.

    Raises:
        UserError: No such task; the message names the nearest.
    """
    if name not in TASKS:
        raise unknown_name("task", name, TASKS, "recap-eval list tasks")
    task: Task = resolve(TASKS[name])
    return task
