"""LLaVA's own data: a JSON list of conversations, some about an image (LLaVA-Pretrain, the mix of 665 K).

[{"id": …, "image": "coco/1.jpg", "conversations": [{"from": "human", "value": "<image> …"}, {"from": "gpt", "value": …}]}]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recap_eval.console import progress_bar
from recap_eval.errors import DataError, UserError
from recap_eval.files import digest_file, read_json
from recap_train.captioner.rows import HUMAN, IMAGE, MODEL, SYSTEM, Picture, Row

ROLES = {"human": HUMAN, "user": HUMAN, "gpt": MODEL, "assistant": MODEL, "system": SYSTEM}
LAYOUT = "A row has conversations: [{from: human, value: …}, {from: gpt, value: …}, …]; see docs/captioner.md."
MANY = 100_000  # rows whose images take long enough to look for that a bar is shown


@dataclass(frozen=True)
class Conversations:
    """Rows of a JSON; see `Rows`.

    Args:
        rows: The rows.
        fingerprint: The file's digest, and which rows were left out.
        facts: What was found.
    """

    rows: list[Row] = field(repr=False)
    fingerprint: str
    facts: dict[str, Any]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Row:
        return self.rows[index]

    def lengths(self) -> list[int]:
        """Return the words of each row."""
        return [row.length for row in self.rows]

    def shown(self) -> list[bool]:
        """Return whether each row has an image."""
        return [bool(row.pictures) for row in self.rows]


def read_conversations(path: Path, images: Path | None, max_bad: float = 0.0) -> Conversations:
    """Read a JSON in LLaVA's layout; every image is looked for before anything is spent.

    Args:
        path: The JSON.
        images: What its image paths start from; the JSON's own folder where it is not named.
        max_bad: Share of rows that may be left out since their image is not there.

    Raises:
        DataError: It is no such JSON, or an image is not there.
        UserError: No row is left.
    """
    record = read_json(path)
    if not isinstance(record, list):
        raise DataError(f"{path} is no list of conversations.", LAYOUT)
    root, silent = images or path.parent, 0
    rows: list[Row] = []
    for number, one in enumerate(record):
        row, cut = _row(one, root, f"{path.name}, row {number}")
        silent += cut
        rows.append(row)
    there = [row for row, whole in zip(rows, _there(rows), strict=True) if whole]
    if lost := len(rows) - len(there):
        _refuse(rows, lost, max_bad)
    if not there:
        raise UserError(f"{path} holds no conversation.", LAYOUT)
    facts = {"rows": len(there), "with_image": sum(bool(row.pictures) for row in there), "images_not_there": lost}
    return Conversations(there, digest_file(path) + (f"-{lost}" if lost else ""), facts | {"began_with_an_answer": silent})


def _row(one: Any, root: Path, name: str) -> tuple[Row, bool]:
    """Return a row, and whether it began with an answer, which is left out as LLaVA's own training does."""
    if not isinstance(one, dict) or not isinstance(one.get("conversations"), list):
        raise DataError(f"{name} has no conversations.", LAYOUT)
    name = f"{name} ({one['id']})" if "id" in one else name
    shown = one.get("image") or []
    pictures = tuple(Picture(str(root / place)) for place in ([shown] if isinstance(shown, str) else shown))
    turns = [_turn(turn, name) for turn in one["conversations"]]
    cut = bool(turns) and turns[0][0] == MODEL
    return Row(name, pictures, _checked(turns[cut:], len(pictures), name)), cut


def _turn(turn: Any, name: str) -> tuple[str, str]:
    if not isinstance(turn, dict) or turn.get("from") not in ROLES or not isinstance(turn.get("value"), str):
        raise DataError(f"{name} has a turn that is neither a human's nor gpt's.", LAYOUT)
    return ROLES[turn["from"]], turn["value"]


def _checked(turns: list[tuple[str, str]], images: int, name: str) -> tuple[tuple[str, str], ...]:
    """Return turns without the marks of images, which come first in every conversation."""
    roles = [role for role, _ in turns if role != SYSTEM]
    if roles != [HUMAN, MODEL] * (len(roles) // 2) or not roles or any(role == SYSTEM for role, _ in turns[1:]):
        raise DataError(f"{name}: human and gpt do not take turns.", LAYOUT)
    if not images:
        return tuple(turns)
    marks = sum(text.count(IMAGE) for role, text in turns if role == HUMAN)
    if marks != images:
        raise DataError(f"{name} has {images} images, and {IMAGE} stands in it {marks} times.", LAYOUT)
    return tuple((role, text.replace(IMAGE, "").strip() if role == HUMAN else text) for role, text in turns)


def _there(rows: Sequence[Row]) -> Iterator[bool]:
    """Yield whether all images of each row are there."""
    known: dict[str, bool] = {}
    with progress_bar(len(rows), "looking for images", "row", disable=len(rows) < MANY) as bar:
        for row in rows:
            for one in row.pictures:
                if one.where not in known:
                    known[one.where] = Path(one.where).is_file()
            bar.update()
            yield all(known[one.where] for one in row.pictures)


def _refuse(rows: Sequence[Row], lost: int, max_bad: float) -> None:
    if lost <= max_bad * len(rows):
        return
    first = next(one.where for row in rows for one in row.pictures if not Path(one.where).is_file())
    raise DataError(
        f"{lost:,} of {len(rows):,} rows show an image that is not there, the first {first}.",
        "Name the folder that the paths start from: --images DIR; or leave some out: --skip-bad --max-bad SHARE",
    )
