"""MMMU (Yue et al. 2024) in the layout of its hub repository: a folder a subject, parquet files with the images in them.

    DATA_ROOT/mmmu/Accounting/validation-00000-of-00001.parquet

Prompts are those of the authors' evaluation of LLaVA-1.5 (github.com/MMMU-Benchmark/MMMU at
bb0b95a945998d91dfef37e969e07d49d1139438, mmmu/configs/llava1.5.yaml and mmmu/utils/data_utils.py).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recap_eval.data.items import DataId, ImageItem
from recap_eval.data.parquet import RowGroups, images_in, read_columns
from recap_eval.data.questions import Question, Questions
from recap_eval.errors import DataError, UserError

FOLDER, SPLIT = "mmmu", "validation"
CHOICE, OPEN = "multiple_choice", "open"
MULTIPLE_CHOICE = "multiple-choice"  # as the data calls it
CHOICE_PROMPT = "{question}\n{options}\nAnswer with the option's letter from the given choices directly."
OPEN_PROMPT = "{question}\nAnswer the question using a single word or phrase."
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
OFFICIAL = 900  # questions
IMAGES = 7  # columns of images
MARK = re.compile(r"<image (\d)>")
SHOWN = ("first", "all")  # image_1 alone before the text, as in the authors' script; or every image where the text names it
DISCIPLINES = {
    "art_and_design": ("Art", "Art_Theory", "Design", "Music"),
    "business": ("Accounting", "Economics", "Finance", "Manage", "Marketing"),
    "science": ("Biology", "Chemistry", "Geography", "Math", "Physics"),
    "health_and_medicine": (
        "Basic_Medical_Science", "Clinical_Medicine", "Diagnostics_and_Laboratory_Medicine", "Pharmacy", "Public_Health",
    ),
    "humanities_and_social_science": ("History", "Literature", "Psychology", "Sociology"),
    "tech_and_engineering": (
        "Agriculture", "Architecture_and_Engineering", "Computer_Science", "Electronics", "Energy_and_Power", "Materials",
        "Mechanical_Engineering",
    ),
}  # fmt: skip
SUBJECTS = tuple(sorted(subject for subjects in DISCIPLINES.values() for subject in subjects))
COLUMNS = ("id", "question", "options", "answer", "question_type")
HINT = "Get it again: hf download MMMU/MMMU --repo-type dataset --local-dir DATA_ROOT/mmmu"


def missing(root: Path) -> list[str]:
    """Return what a data root lacks of MMMU: its folder, or nothing; a subject that is absent makes a result partial."""
    found = any(_files(root, subject) for subject in SUBJECTS)
    return [] if found else [f"{FOLDER}/SUBJECT/{SPLIT}-*.parquet"]


def _files(root: Path, subject: str) -> list[Path]:
    return sorted((root / FOLDER / subject).glob(f"{SPLIT}-*.parquet"))


def read(root: Path, shown: str = "first") -> Questions:
    """Read the validation split, subject by subject.

    Args:
        root: The data root.
        shown: "first" or "all": which images are shown.

    Raises:
        UserError: Another word.
        DataError: A file is damaged or of another layout, or a question occurs twice.
    """
    if shown not in SHOWN:
        raise UserError(f"--mmmu-images {shown!r} is unknown.", f"Choose one of {', '.join(SHOWN)}.")
    groups = RowGroups()
    items = [
        question
        for subject in SUBJECTS
        for path in _files(root, subject)
        for question in _read_file(path, subject, shown, groups)
    ]
    if not items:
        raise DataError(f"{root / FOLDER} holds no question.", HINT)
    keys = [item.key for item in items]
    if len(set(keys)) < len(keys):
        twice = next(key for place, key in enumerate(keys) if key in keys[:place])
        raise DataError(f"{root / FOLDER} holds {twice} twice.", HINT)
    source = DataId("mmmu", SPLIT, "", "college exams with images, 30 subjects, validation split")
    return Questions(source, items, {"images": shown}, OFFICIAL)


def _read_file(path: Path, subject: str, shown: str, groups: RowGroups) -> list[Question]:
    rows = list(zip(*read_columns(path, COLUMNS), strict=True))
    columns = [images_in(path, f"image_{number}", _keys(rows, number), groups) for number in range(1, IMAGES + 1)]
    pictures = list(zip(*columns, strict=True))
    discipline = next(name for name, subjects in DISCIPLINES.items() if subject in subjects)
    return [_question(path, row, own, shown, (discipline, subject)) for row, own in zip(rows, pictures, strict=True)]


def _keys(rows: Sequence[Any], number: int) -> list[str]:
    return [f"{row[0]}/image_{number}" for row in rows]


def _question(path: Path, row: Any, images: Sequence[ImageItem], shown: str, groups: tuple[str, ...]) -> Question:
    key, question, options, answer, kind = row
    if not all(isinstance(value, str) for value in row):
        raise DataError(f"{path}: {key} lacks one of {', '.join(COLUMNS)}.", HINT)
    if kind != MULTIPLE_CHOICE:
        prompt = OPEN_PROMPT.format(question=question)
        return Question(key, _parts(prompt, images, shown), _answers(answer), kind=OPEN, groups=groups)
    choices = _options(path, key, options)
    if answer not in tuple(LETTERS[: len(choices)]):
        raise DataError(f"{path}: the answer of {key} is {answer!r}, none of its {len(choices)} options.", HINT)
    told = "".join(f"({letter}) {option}\n" for letter, option in zip(LETTERS, choices, strict=False))
    prompt = CHOICE_PROMPT.format(question=question, options=told)
    return Question(key, _parts(prompt, images, shown), [answer], kind=CHOICE, groups=groups, options=choices)


def _options(path: Path, key: str, text: str) -> tuple[str, ...]:
    """Return the options, which the data holds as a list in Python's notation; nothing in it is executed."""
    try:
        found: object = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise DataError(f"{path}: the options of {key} are no list.", HINT) from error
    if not isinstance(found, list) or not 1 <= len(found) <= len(LETTERS):
        raise DataError(f"{path}: the options of {key} are no list of 1 to {len(LETTERS)}.", HINT)
    return tuple(str(option) for option in found)


def _answers(text: str) -> list[str]:
    """Return the answers that are right: one, or those of a list in Python's notation."""
    if text.startswith("["):
        try:
            found: object = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return [text]
        if isinstance(found, list) and found:
            return [str(answer) for answer in found]
    return [text]


def _parts(prompt: str, images: Sequence[ImageItem], shown: str) -> tuple[str | ImageItem, ...]:
    """Return the prompt with its images: the first before it, or each in every place that names it."""
    if shown == "first":
        return images[0], prompt
    parts: list[str | ImageItem] = []
    for place, piece in enumerate(MARK.split(prompt)):
        if place % 2 == 0:
            parts += [piece] if piece else []
        elif 1 <= int(piece) <= len(images):
            parts.append(images[int(piece) - 1])
        else:
            parts.append(f"<image {piece}>")
    return tuple(parts) if any(not isinstance(part, str) for part in parts) else (images[0], *parts)
