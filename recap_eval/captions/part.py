"""What one batch of rows gives a caption set: its captions, split into words once for all that is asked of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from recap_eval.captions.flags import CUT
from recap_eval.captions.words import Lexicon, Words
from recap_eval.hashrand import text_hashes

if TYPE_CHECKING:
    import pyarrow as pa

MISSING, EMPTY, FAILED = "missing", "empty", "failed"


@dataclass(frozen=True)
class Rows:
    """A batch of N rows of caption files.

    Args:
        keys: (N,) keys.
        texts: (N,) texts by column, null where there is none.
        ok: (N,) False where a status says that captioning failed; None without a status.
        status: (N,) the status itself, or None.
        finish: (N,) why the model stopped, or None.
        sha256: (N,) digests of the images as the file states them; None where it does not, or nobody asked.
    """

    keys: pa.LargeStringArray
    texts: dict[str, pa.LargeStringArray]
    ok: np.ndarray | None = None
    status: pa.LargeStringArray | None = None
    finish: pa.LargeStringArray | None = None
    sha256: pa.LargeStringArray | None = None

    def __len__(self) -> int:
        return len(self.keys)

    def first(self, n: int) -> Rows:
        """Return the first n rows."""
        cut = {name: column.slice(0, n) for name, column in self.texts.items()}
        rest = (None if column is None else column[:n] for column in (self.ok, self.status, self.finish, self.sha256))
        return Rows(self.keys.slice(0, n), cut, *rest)


@dataclass(frozen=True)
class Part:
    """The M captions of a batch, those left out that are missing, empty or failed.

    Args:
        keys: (M,) their keys.
        ranks: (M,) hashes of their keys.
        texts: (M,) the captions.
        hashes: (M,) hashes of the captions.
        words: Their words.
        lexicon: Where the words have their numbers.
        originals: (M,) the texts of the column that they are held against, or None.
        cut: (M,) whether the limit of tokens cut them, or None.
        left_out: Rows by why they are not here: missing, empty, failed.
        asked: (N,) hashes of the keys of all rows, with captions or not; None if these are all.
    """

    keys: pa.LargeStringArray
    ranks: np.ndarray
    texts: pa.LargeStringArray
    hashes: np.ndarray
    words: Words
    lexicon: Lexicon = field(repr=False)
    originals: pa.LargeStringArray | None = None
    cut: np.ndarray | None = None
    left_out: dict[str, int] = field(default_factory=dict)
    asked: np.ndarray | None = None


def take_part(rows: Rows, key_hashes: np.ndarray, column: str, original: str | None, generated: bool, lexicon: Lexicon) -> Part:
    """Return the captions of a column.

    Args:
        rows: The batch.
        key_hashes: (N,) hashes of its keys.
        column: The column.
        original: The column of the texts that they are to replace, or None.
        generated: Whether status and finish_reason are about this column.
        lexicon: Gives words their numbers.
    """
    texts = rows.texts[column]
    there = texts.is_valid().to_numpy(zero_copy_only=False)
    good = rows.ok if generated and rows.ok is not None else np.ones(len(rows), dtype=bool)
    filled = texts.fill_null("")
    words = lexicon.split(filled)
    kept = there & good & (words.lengths > 0)
    left_out = {
        FAILED: int((~good).sum()),
        MISSING: int((good & ~there).sum()),
        EMPTY: int((good & there & (words.lengths == 0)).sum()),
    }
    some = None if kept.all() else np.flatnonzero(kept)
    chosen = filled if some is None else filled.take(some)
    cut = None
    if generated and rows.finish is not None:
        cut = np.array([reason == CUT for reason in _take(rows.finish, some).to_pylist()], dtype=bool)
    return Part(
        _take(rows.keys, some), key_hashes if some is None else key_hashes[some], chosen,
        text_hashes(chosen.to_numpy(zero_copy_only=False)), words if some is None else _chosen(words, kept), lexicon,
        None if original is None else _take(rows.texts[original], some), cut, left_out, key_hashes,
    )  # fmt: skip


def _take(column: pa.LargeStringArray, some: np.ndarray | None) -> pa.LargeStringArray:
    return column if some is None else column.take(some)


def _chosen(words: Words, kept: np.ndarray) -> Words:
    """Return the words of some texts; those left out must have been counted, or have none."""
    lengths = words.lengths
    ids = words.ids[np.repeat(kept, lengths)]
    return Words(np.concatenate([[0], np.cumsum(lengths[kept])]), ids)
