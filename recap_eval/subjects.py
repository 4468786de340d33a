"""Which model's results a user means: by model name, by folder, by the model's own folder, or by the beginning of either."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from recap_eval.artifact import find_artifact
from recap_eval.errors import DataError, UserError, unknown_name
from recap_eval.results import FOLDER, Result, read_result, read_results, result_folder

SHOWN = 6


@dataclass(frozen=True)
class Subject:
    """One model's results, all of one folder.

    Args:
        name: The model's name.
        folder: The folder of its results.
        results: What is in it.
    """

    name: str
    folder: Path
    results: tuple[Result, ...] = field(repr=False)


def find_subjects(words: list[str], leaderboards: Path) -> list[Subject]:
    """Return the models that a user names, each once.

    Raises:
        UserError: A word that names no model, or several, or one that was named before.
        DataError: There is no result at all, or a record is damaged.
    """
    known: dict[str, list[Result]] = {}
    for result in read_results(leaderboards):
        known.setdefault(result.path.parent.name, []).append(result)
    found: list[Subject] = []
    for word in words:
        results = _results_in(Path(word).expanduser()) or known[_folder_of(word, known, leaderboards)]
        subject = Subject(results[0].model, results[0].path.parent, tuple(results))
        if twice := [word for other in found if other.folder.resolve() == subject.folder.resolve()]:
            raise UserError(f"{twice[0]!r} is {subject.folder.name} again.", "Name each model once.")
        found.append(subject)
    return found


def _results_in(folder: Path) -> list[Result]:
    """Return the results that lie in a folder itself: records with their items beside them."""
    if not folder.is_dir():
        return []
    return [read_result(path) for path in sorted(folder.glob("*.json")) if path.with_suffix(".parquet").is_file()]


def _folder_of(word: str, known: dict[str, list[Result]], leaderboards: Path) -> str:
    if not known:
        raise DataError(f"{leaderboards / FOLDER} holds no result.", "Measure a model: recap-eval clip --model M")
    names = {folder: results[0].model for folder, results in known.items()}
    for fits in _readings(word):
        if found := [folder for folder, name in names.items() if fits(folder, name)]:
            break
    else:
        raise unknown_name("model", word, [*names.values(), *names], f"ls {leaderboards / FOLDER}")
    if len(found) > 1:
        shown = ", ".join(found[:SHOWN]) + (", …" if len(found) > SHOWN else "")
        hint = "Name one of them. Means over training seeds: recap-eval report"
        raise UserError(f"{word!r} stands for {len(found)} models: {shown}.", hint)
    return found[0]


def _readings(word: str) -> list[Callable[[str, str], bool]]:
    """Return what a word may mean, the strictest first: tests of (folder of results, model name)."""
    path = Path(word).expanduser()
    if path.is_dir() and (artifact := find_artifact(path)):
        own = result_folder(artifact.name, artifact.revision)
        return [lambda folder, name: folder == own]
    called = path.resolve().name if path.is_dir() else word.removeprefix("hf-hub:")
    return [
        lambda folder, name: folder == word,
        lambda folder, name: name == called,
        lambda folder, name: name.startswith(word) or folder.startswith(word),
    ]
