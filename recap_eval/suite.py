"""A suite of text-to-image: sets of prompts, how images of them are sampled, and what they are measured by; a file, no code.

[generate]  [score]     options of `recap-eval generate` and `t2i`, by name: { value = …, source = "who says so" }
[[sets]]                a set of prompts: name, prompts, column, metrics, source; its images lie in DIR/NAME
[[columns]]             the row of figures that it ends in: label, set, and the metric, or what it lacks
[judge]                 which images a judge is to see: how many, and the purpose that names the draw
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recap_eval.data.coco_ids import chosen, draw_number
from recap_eval.errors import DataError, UserError, unknown_name
from recap_eval.generate.prompts import PromptSet
from recap_eval.tasks.generation import find_metrics

SHIPPED = Path(__file__).parent / "suites"
GENERATE = ("scheduler", "steps", "guidance_scale", "height", "width", "negative_prompt", "samples")
SCORE = ("reference", "frame", "resize")
SCORER = "{scorer}"  # in a metric: the model that a user names


@dataclass(frozen=True)
class Constant:
    """A value and who says so."""

    value: Any
    source: str


@dataclass(frozen=True)
class SuiteSet:
    """One set of prompts.

    Args:
        name: Its name, and that of its folder.
        prompts: A name of presets.py, or a file.
        column: "raw" or "recap"; "" for a file.
        metrics: What its images are measured by, as in `--metrics`.
        source: Who says so.
    """

    name: str
    prompts: str
    metrics: tuple[str, ...]
    source: str
    column: str = ""


@dataclass(frozen=True)
class SuiteColumn:
    """One figure of the row that a suite ends in.

    Args:
        label: What it is called.
        set: Name of the set.
        metric: One of the set's metrics; "" if it cannot be measured.
        lacks: Why not.
    """

    label: str
    set: str
    metric: str = ""
    lacks: str = ""


@dataclass(frozen=True)
class Judge:
    """Which images a judge is to see.

    Args:
        images: How many.
        purpose: Names the draw; see `coco_ids.chosen`.
        source: Who says so.
        digest: Digest of the ids of COCO, where the set is one that is known.
    """

    images: int
    purpose: str
    source: str
    digest: str = ""


@dataclass(frozen=True)
class Suite:
    """A suite; see the head of this file.

    Args:
        name: Its name, that of its file.
        title: What it is, in a line.
        generate: How images are sampled.
        score: What they are held against.
        sets: The sets of prompts.
        columns: The row of figures.
        judge: Which images a judge is to see.
    """

    name: str
    title: str
    generate: dict[str, Constant]
    score: dict[str, Constant]
    sets: tuple[SuiteSet, ...]
    columns: tuple[SuiteColumn, ...] = ()
    judge: Judge | None = None

    def constant(self, name: str) -> Constant | None:
        """Return a constant by the name of its option."""
        return self.generate.get(name) or self.score.get(name)

    @property
    def takes_scorer(self) -> bool:
        """True if its metrics leave a model to the user."""
        return any(SCORER in metric for one in self.sets for metric in one.metrics)

    def scored_by(self, model: str) -> Suite:
        """Return the suite with that model in its metrics."""
        sets = [replace(one, metrics=tuple(word.replace(SCORER, model) for word in one.metrics)) for one in self.sets]
        columns = [replace(column, metric=column.metric.replace(SCORER, model)) for column in self.columns]
        return replace(self, sets=tuple(sets), columns=tuple(columns))


def suite_files() -> dict[str, Path]:
    """Return the shipped suites by name."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.toml"))}


def load_suite(word: str) -> Suite:
    """Read a suite: a shipped one by name, or a file.

    Raises:
        UserError: No such suite.
        DataError: The file is none.
    """
    files, path = suite_files(), Path(word).expanduser()
    if word not in files and path.suffix != ".toml":
        raise unknown_name("suite", word, files, ", ".join(files) + ", or a file: .toml")
    path = files.get(word, path)
    try:
        suite = _suite(path.stem, tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist.", "Check the path.") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, TypeError, KeyError, ValueError, AttributeError) as error:
        raise DataError(f"{path} is not a suite ({error}).", "Model it on the shipped suites/scenes.toml.") from error
    return suite


def _suite(name: str, record: dict[str, Any]) -> Suite:
    sets = tuple(SuiteSet(**one | {"metrics": tuple(one["metrics"])}) for one in record.pop("sets"))
    columns = tuple(SuiteColumn(**one) for one in record.pop("columns", []))
    judge = Judge(**record.pop("judge")) if "judge" in record else None
    generate, score = (_constants(record.pop(part, {}), known) for part, known in (("generate", GENERATE), ("score", SCORE)))
    found = Suite(name, generate=generate, score=score, sets=sets, columns=columns, judge=judge, **record)
    _check_sets(found)
    _check_columns(found)
    return found


def _constants(record: dict[str, Any], known: tuple[str, ...]) -> dict[str, Constant]:
    if strange := [name for name in record if name not in known]:
        raise ValueError(f"{strange[0]!r} is none of {', '.join(known)}")
    return {name: Constant(**constant) for name, constant in record.items()}


def _check_sets(suite: Suite) -> None:
    names = [one.name for one in suite.sets]
    if not names or len(set(names)) < len(names) or not all(name.replace("-", "").isalnum() for name in names):
        raise ValueError("sets need names, distinct and of letters, digits and '-'")
    for one in suite.sets:
        tasks = [metric.name for metric in find_metrics(",".join(one.metrics))]
        if not tasks or len(set(tasks)) < len(tasks):
            raise ValueError(f"set {one.name!r} needs metrics, each kind once")


def _check_columns(suite: Suite) -> None:
    metrics = {one.name: one.metrics for one in suite.sets}
    for column in suite.columns:
        if column.set not in metrics or bool(column.metric) == bool(column.lacks):
            raise ValueError(f"column {column.label!r} needs one of the sets, and a metric or what it lacks")
        if column.metric and column.metric not in metrics[column.set]:
            raise ValueError(f"column {column.label!r}: set {column.set!r} has no metric {column.metric!r}")


def judged(judge: Judge, prompts: PromptSet) -> list[str]:
    """Return the ids of the prompts whose images a judge is to see, in the order of the prompts.

    They are those with the smallest hash of their image of COCO; of prompts that have none, of their id.
    """
    numbers = [draw_number(prompt.id, prompt.reference) for prompt in prompts.prompts]
    kept = set(chosen(numbers, judge.images, judge.purpose))
    return [prompt.id for number, prompt in zip(numbers, prompts.prompts, strict=True) if number in kept]
