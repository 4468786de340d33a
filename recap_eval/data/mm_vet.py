"""MM-Vet (Yu et al. 2024) as its release unpacks: mm-vet.json and images/.

DATA_ROOT/mm-vet/mm-vet.json      {"v1_0": {"imagename", "question", "answer", "capability": ["ocr", "math"]}, …}
DATA_ROOT/mm-vet/images/v1_0.png
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recap_eval.data.annotations import find_images, take
from recap_eval.data.items import DataId, FileImage
from recap_eval.data.questions import Question, Questions
from recap_eval.errors import DataError
from recap_eval.files import read_json

FOLDER, NAME = "mm-vet", "mm-vet.json"
OFFICIAL = 218  # questions
CAPABILITIES = ("rec", "ocr", "know", "gen", "spat", "math")
FORM = "id: {imagename, question, answer, capability} (mm-vet.json)"
FIELDS = {"imagename": str, "question": str, "answer": str, "capability": list}


def missing(root: Path) -> list[str]:
    """Return what a data root lacks of MM-Vet."""
    return [f"{FOLDER}/{name}" for name in (NAME, "images") if not (root / FOLDER / name).exists()]


def read(root: Path) -> Questions:
    """Read all questions, in the file's order; questions of one image are a cluster.

    Raises:
        DataError: The file is of another form, names an unknown capability, or images are absent.
    """
    path = root / FOLDER / NAME
    table: Any = read_json(path)
    if not isinstance(table, dict) or not table:
        raise DataError(f"{path} is no table of questions.", f"It should hold {FORM}.")
    rows = [(key, *take(row, FIELDS, f"{path}: {key}", FORM)) for key, row in table.items()]
    for key, _, _, _, capabilities in rows:
        if unknown := [name for name in capabilities if name not in CAPABILITIES]:
            raise DataError(f"{path}: {key} asks for {unknown[0]!r}.", f"Known are {', '.join(CAPABILITIES)}.")
    files = find_images(path.parent / "images", [(name,) for _, name, *_ in rows], path)
    items = [
        Question(key, (FileImage(key, file), question), answer, cluster=name, groups=tuple(capabilities))
        for (key, name, question, answer, capabilities), file in zip(rows, files, strict=True)
    ]
    return Questions(
        DataId("mm-vet", "test", "", "questions on web images that ask for several skills at once"), items, {}, OFFICIAL
    )
