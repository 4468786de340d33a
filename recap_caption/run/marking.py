"""What is marked on a part's rows once all are there: flags, repeated captions, unfinished last sentences."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from recap_caption.rows import OK
from recap_eval.captions.flags import CUT, unfinished
from recap_eval.captions.marks import END, PLAIN_TAIL

if TYPE_CHECKING:
    from recap_eval.captions.words import Lexicon

DUPLICATE = "duplicate"
WORD = re.compile(r"\S+")
Row = dict[str, Any]


def mark(rows: list[Row], lexicon: Lexicon) -> None:
    """Fill in flags and trimmed captions of the rows that have a caption.

    Args:
        rows: A part's rows.
        lexicon: Remembers words between parts.
    """
    good = [row for row in rows if row["status"] == OK]
    for row, flags in zip(good, _flags(good, lexicon), strict=True):
        row["flags"] = flags
        row["re_caption_trimmed"] = trimmed(row["re_caption"])
    for row in repeated(good):
        row["flags"].append(DUPLICATE)


def _flags(rows: list[Row], lexicon: Lexicon) -> list[list[str]]:
    import numpy as np
    import pyarrow as pa

    from recap_eval.captions.flag_arrays import Captions, find

    if not rows:
        return []
    lexicon.begin()
    texts = pa.array([row["re_caption"] for row in rows], pa.large_string())
    originals = pa.array([row["org_caption"] for row in rows], pa.large_string())
    cut = np.array([row["finish_reason"] == CUT for row in rows])
    found = find(Captions(texts, lexicon.split(texts), lexicon, originals, cut))
    out: list[list[str]] = [[] for _ in rows]
    for name, has in found.items():
        for place in np.flatnonzero(has):
            out[place].append(name)
    return out


def repeated(rows: list[Row]) -> list[Row]:
    """Return the rows whose caption another image has, too; images are told apart by digest, else by key."""
    images: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        images[row["re_caption"]].add(row["sha256"] or row["key"])
    return [row for row in rows if len(images[row["re_caption"]]) > 1]


def trimmed(caption: str) -> str | None:
    """Return a caption without its unfinished last sentence; None if the last is finished, or is the only one."""
    if not unfinished(caption):
        return None
    ends = [word.end() for word in WORD.finditer(caption) if END.search(word[0][-PLAIN_TAIL:])]
    return caption[: ends[-1]] if ends else None
