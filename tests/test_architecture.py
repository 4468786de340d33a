"""What the design promises about the code itself."""

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest
from support import ROOT

from recap_eval.board import board_files, load_board
from recap_eval.registry import get_task
from recap_eval.tasks.base import Task
from recap_eval.tasks.captioner import TASKS as CAPTIONER_TASKS
from recap_eval.tasks.captions import FAMILIES, TWO_WAY
from recap_eval.tasks.catalog import KINDS, load_catalog
from recap_eval.tasks.generation import TABLE, find_metrics

PACKAGES = ("recap_eval", "recap_train", "recap_caption")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
MOST_LINES, MOST_FUNCTION = 400, 60
# Of which boards show what was published, and nothing else yet.
TO_COME = {"t2i-judge", "captions-human"}
VAGUE = {"utils.py", "common.py", "helpers.py", "misc.py", "types.py"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_short(path):
    text = path.read_text()
    assert text.count("\n") <= MOST_LINES and path.name not in VAGUE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or node.lineno) - node.lineno < MOST_FUNCTION, node.name


@pytest.mark.parametrize("name", load_catalog())
def test_every_task_in_the_table_is_there(name):
    task = get_task(name)
    assert isinstance(task, Task) and task.name == name and task.metrics and task.summary
    assert task.kind in KINDS and task.missing(Path("/nowhere")) and task.row.get
    module, _, attribute = task.row.reader.partition(":")
    assert callable(getattr(import_module(module), attribute))


def test_boards_ask_for_tasks_that_exist():
    tables = (TABLE, FAMILIES, TWO_WAY, CAPTIONER_TASKS)
    rows = [*(metric for table in tables for metric in table.values()), *find_metrics("fd:inception")]
    drawn = {metric.name: metric for metric in rows}
    for name in board_files(Path("/nowhere")):
        for column in load_board(name, Path("/nowhere")).columns:
            if column.task in TO_COME:
                continue
            task = drawn.get(column.task) or get_task(column.task)
            (metric,) = [metric for metric in task.metrics if metric.name == column.metric]
            assert column.version == task.version and (column.scale, column.unit) == (metric.scale, metric.unit)
            assert column.higher_is_better == metric.higher_is_better


def test_importing_changes_nothing():
    """No module writes to the environment or seeds a generator when imported."""
    import os
    import random

    from transformers import TrainerCallback  # torch, behind it, notes its compiler's cache in the environment

    assert TrainerCallback is not None
    before, state = dict(os.environ), random.getstate()
    for path in SOURCES:
        import_module(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
    assert dict(os.environ) == before and random.getstate() == state


def test_the_tree_names_no_place_outside_it():
    """No committed text names a person's machine or a registry's host."""
    import subprocess

    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    words = ("/" + "root/", "/" + "home/", "/" + "work/", "index" + "-url", "find" + "-links")
    for name in files:
        path = ROOT / name
        if path.suffix in (".py", ".md", ".toml", ".txt", ".json", ".sh", ".yaml", ".html", ".csv") and path.is_file():
            text = path.read_text(encoding="utf-8")
            assert not [word for word in words if word in text], name


def test_every_link_of_readme_and_docs_leads_somewhere():
    for page in (ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")):
        for place in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            assert "://" in place or (page.parent / place).exists(), f"{page.name}: {place}"
