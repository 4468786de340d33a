"""Reference captions by key: COCO's annotations, or any caption file."""

from __future__ import annotations

from recap_eval.captions.files import Wanted, find_files, read_rows
from recap_eval.errors import DataError


def read_references(words: str, column: str = "caption", key: str | None = None) -> dict[str, list[str]]:
    """Return the captions of files by key; in COCO's annotations the key is `image_id`.

    Args:
        words: A file, a folder or a pattern.
        column: The column of captions.
        key: The column of keys; None for the usual ones.

    Raises:
        DataError: A file is damaged or lacks a column, or there is no caption.
    """
    found: dict[str, list[str]] = {}
    for path in find_files([words]):
        for rows in read_rows(path, Wanted((column,), key)):
            for name, text in zip(rows.keys.to_pylist(), rows.texts[column].to_pylist(), strict=True):
                if text and text.strip():
                    found.setdefault(name, []).append(text)
    if not found:
        raise DataError(f"{words} holds no caption in {column!r}.", "Name another column: --reference-column")
    return found
