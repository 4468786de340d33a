"""Answers of captioners, kept for good; what is there is not generated again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from types import TracebackType

from recap_eval.kept import KeptRows
from recap_eval.models.captioner import Ask, Said

NAME = "captioner.sqlite"  # in the cache folder
COLUMNS = ("key TEXT", "text TEXT", "finish_reason TEXT", "tokens_in INTEGER", "tokens_out INTEGER")


class Kept:
    """The file of answers; use it as a context, from any thread.

    Args:
        path: The file; it is made with its folder if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._rows = KeptRows(path, "said", COLUMNS, "--answers")

    def __enter__(self) -> Kept:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._rows.close()

    def get(self, keys: Sequence[str]) -> dict[str, Said]:
        """Return the answers that are there, by key.

        Raises:
            DataError: The file is damaged.
        """
        return {key: Said(*rest) for key, *rest in self._rows.get(keys)}

    def add(self, answers: Sequence[tuple[Ask, Said]]) -> None:
        """Write answers to disk; of a key that is there already the first answer stays.

        Raises:
            DataError: The disk is full, or the file is damaged.
        """
        self._rows.add((ask.key, *astuple(said)) for ask, said in answers)
