"""COCO's images by their ids: the digest that a set of them is known by, and how some of a set are chosen."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from recap_eval.hashrand import combine, text_key

JUDGED = "judge-3k"  # the purpose by which images for a judge are chosen
NAME = re.compile(r"(?:COCO_(?:train|val|test)\d{4}_)?(\d{1,12})(?:\.jpe?g)?")


@dataclass(frozen=True)
class Lock:
    """Which images a name stands for.

    Args:
        n: How many.
        digest: `digest_of_ids` of their ids.
        presumed: No list of them could be had to check this against: another set is told and recorded, not refused.
    """

    n: int
    digest: str
    presumed: bool = False


def coco_id(key: str) -> int | None:
    """Return the id of an image by what data sets call it: 42, 000000000042, COCO_val2014_000000000042.jpg; None if none."""
    found = NAME.fullmatch(Path(key).name)
    return int(found[1]) if found else None


def draw_number(key: str, reference: str = "") -> int:
    """Return the number by which an image is drawn: the id of its image of COCO, or of what has none a hash of the key.

    Args:
        key: The key, of a prompt or an image.
        reference: The real image that is meant, where it is known.
    """
    found = coco_id(reference or key)
    return text_key(key) if found is None else found


def digest_of_ids(ids: Iterable[int]) -> str:
    """Return the sha256 of ids in ascending order, in decimal, each with a line feed: `sort -n ids.txt | sha256sum`."""
    return hashlib.sha256("".join(f"{number}\n" for number in sorted(ids)).encode()).hexdigest()


def chosen(ids: Iterable[int], n: int, purpose: str) -> list[int]:
    """Return the `n` ids with the smallest hash, `combine(text_key(purpose), id)` of hashrand.py, in ascending order."""
    return sorted(sorted(ids, key=lambda number: combine(text_key(purpose), number))[:n])
