"""Images with their published captions as rows of ours, a file a shard: what `recap-eval captions` and `recap-train` read."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recap_caption.exchange.told import PAIRED, Told
from recap_caption.exchange.webdataset import Counts
from recap_caption.rows import OK, OURS, PUBLISHED
from recap_caption.run.marking import mark
from recap_caption.run.output import pack, read_facts
from recap_caption.sources.base import Item
from recap_eval.captions.words import Lexicon
from recap_eval.errors import DataError
from recap_eval.files import replacing


class RowWriter:
    """Writes parquet files of rows, with their counts in the files' own metadata.

    Args:
        made: What all rows share: prompt_id, run_id.
    """

    def __init__(self, made: dict[str, Any]) -> None:
        self._made, self._lexicon = made, Lexicon()

    def recall(self, root: Path, name: str, question: str) -> Counts | None:
        """Return the counts of a file that is there; see `pairing.Writer`."""
        path = root / f"{name}.parquet"
        if path.is_file() and (facts := read_facts(path)).get("question") == question:
            return dict(facts["exchange"])
        return None

    def write(self, root: Path, name: str, pairs: Sequence[tuple[Item, Told]], question: str, torn: str | None) -> Counts:
        """Write a row for each image with both captions; see `pairing.Writer`."""
        rows = [_row(item, told, self._made) for item, told in pairs if told.outcome == PAIRED]
        mark(rows, self._lexicon)
        found_by = Counter(told.how for _, told in pairs if told.outcome == PAIRED)
        outcomes = Counter(told.outcome for _, told in pairs)
        counts: Counts = {"outcomes": dict(outcomes), "found_by": dict(found_by), "unread": [], "torn": torn}
        payload = pack(rows, {"question": question, "exchange": counts})
        with replacing(root / f"{name}.parquet") as part:
            part.write_bytes(payload)
        return counts


def _row(item: Item, told: Told, made: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys([*PUBLISHED, *OURS])
    row |= {name: value for name, value in told.facts.items() if name in row}
    row |= {"url": item.url, "sha256": item.sha256 or _digest(item), "key": item.key}
    row |= {"re_caption": told.re_caption, "org_caption": told.org_caption}
    row |= {"re_length": len((told.re_caption or "").split())}
    row |= {"org_length": None if told.org_caption is None else len(told.org_caption.split())}
    return row | {"sample_index": 0, "status": OK, "flags": []} | made


def _digest(item: Item) -> str | None:
    """Return the digest of an image's bytes, as `recap-caption run` does where none is stated; None if it cannot be read."""
    try:
        return hashlib.sha256(item.read_image()).hexdigest() if item.read_image else None
    except DataError:
        return None
