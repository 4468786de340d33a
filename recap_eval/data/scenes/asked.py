"""A split of scenes as questions to a captioner: its questions and answers, or its images to be captioned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recap_eval.data.questions import Question, Questions
from recap_eval.data.scenes.locate import scenes_folder
from recap_eval.data.scenes.read import read_split

INSTRUCTION = "\nAnswer the question using a single word or phrase."  # of LLaVA-1.5, as in MMMU's open questions


def objects(row: dict[str, Any]) -> str:
    """Return the group of a scene: how many things are in it."""
    return f"objects_{len(row['objects'])}"


def questions(root: Path, split: str = "test") -> Questions:
    """Read the questions of a split, four a scene, each with its one right answer.

    Raises:
        DataError: Files are missing, corrupt or do not match each other.
    """
    samples, rows, source = read_split(scenes_folder(root), split)
    items = [
        Question(
            f"{row['key']}/{asked['kind']}", (sample, asked["question"] + INSTRUCTION), asked["answer"], row["key"],
            asked["kind"], (asked["kind"], objects(row)),
        )
        for sample, row in zip(samples, rows, strict=True)
        for asked in row["questions"]
    ]  # fmt: skip
    return Questions(source, items)


def to_caption(root: Path, prompt: str, split: str = "test") -> Questions:
    """Read a split's images to be captioned; what is right is the scene.

    Raises:
        DataError: Files are missing, corrupt or do not match each other.
    """
    samples, rows, source = read_split(scenes_folder(root), split)
    truth = [{name: row[name] for name in ("objects", "ground", "texture")} for row in rows]
    items = [
        Question(row["key"], (sample, prompt), scene, row["key"], groups=(objects(row),))
        for sample, row, scene in zip(samples, rows, truth, strict=True)
    ]
    return Questions(source, items)
