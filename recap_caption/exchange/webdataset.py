"""Images with both captions as webdataset shards, in img2dataset's layout: what `recap-train clip` and others train from.

KEY.txt is the recaption and KEY.json has both by name, as after a download by the set's authors' own recipe; so the preset
`recap-datacomp` fits. The same images and captions give the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from recap_caption.exchange.told import PAIRED, UNREADABLE, Told
from recap_caption.sources.base import Item
from recap_eval.data.shards import IMAGE_SUFFIXES
from recap_eval.errors import DataError
from recap_eval.files import read_json, replacing, write_json

PRESET = "recap-datacomp"
PLAIN = re.compile(r"[A-Za-z0-9_-]{1,90}")  # keys that every reader of tars takes for one word
FORMS = ((b"\xff\xd8\xff", 0, ".jpg"), (b"\x89PNG\r\n\x1a\n", 0, ".png"), (b"WEBP", 8, ".webp"))
SHOWN = 5  # unreadable images that are named
Counts = dict[str, Any]  # outcomes, found_by, unread: see `pairing.Writer`


class ShardWriter:
    """Writes tars, and beside each, last, its counts."""

    def recall(self, root: Path, name: str, question: str) -> Counts | None:
        """Return the counts of a shard that is there; see `pairing.Writer`."""
        told = root / f"{name}_stats.json"
        if told.is_file() and (known := read_json(told)).get("question") == question:
            return dict(known["counts"])
        return None

    def write(self, root: Path, name: str, pairs: Sequence[tuple[Item, Told]], question: str, torn: str | None) -> Counts:
        """Write a shard; see `pairing.Writer`."""
        path = root / f"{name}.tar"
        path.unlink(missing_ok=True)  # of a run that was stopped between a shard and its counts
        writing = [(item, one) for item, one in pairs if one.outcome == PAIRED]
        found_by, unread = _write_tar(path, writing) if writing else (Counter[str](), [])
        outcomes = Counter(one.outcome for _, one in pairs)
        outcomes[PAIRED] -= len(unread)
        outcomes[UNREADABLE] += len(unread)
        counts = {"outcomes": dict(+outcomes), "found_by": dict(+found_by), "unread": unread[:SHOWN], "torn": torn}
        facts = {"count": len(pairs), "successes": outcomes[PAIRED], "question": question, "counts": counts}
        write_json(root / f"{name}_stats.json", facts)  # "successes" is what readers of img2dataset's shards look at
        return counts


def _write_tar(path: Path, writing: Sequence[tuple[Item, Told]]) -> tuple[Counter[str], list[str]]:
    """Write a tar; returns how captions were found, and the images that cannot be read."""
    found_by, unread = Counter[str](), list[str]()
    with replacing(path) as part, tarfile.open(part, "w", format=tarfile.USTAR_FORMAT) as tar:
        for item, one, error in _added(tar, writing):
            found_by[one.how] += error is None
            unread += [f"{item.where}: {error}"] if error else []
    if len(unread) == len(writing):
        path.unlink()  # a shard without an image is an error to those who read it
    return found_by, unread


def _added(tar: tarfile.TarFile, pairs: Sequence[tuple[Item, Told]]) -> Iterator[tuple[Item, Told, str | None]]:
    """Add samples; yields each with why it could not be added."""
    for item, told in pairs:
        try:
            payload, suffix = _image(item)
        except DataError as error:
            yield item, told, error.what
            continue
        name = plain_name(item.key)
        for ending, content in ((suffix, payload), (".txt", _text(told)), (".json", _meta(item, told, payload))):
            info = tarfile.TarInfo(f"{name}{ending}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        yield item, told, None


def _image(item: Item) -> tuple[bytes, str]:
    """Return an image's bytes as they are, and the ending that fits them.

    Raises:
        DataError: It cannot be read, or is of no form that the shards' readers know.
    """
    if item.read_image is None:
        raise DataError(item.fault.what if item.fault else "there is no image", "")
    payload = item.read_image()
    for mark, place, suffix in FORMS:
        if payload[place : place + len(mark)] == mark:
            return payload, suffix
    if (stated := PurePosixPath(item.where).suffix.lower()) in IMAGE_SUFFIXES:
        return payload, stated  # img2dataset calls all that it does not re-encode .jpg
    raise DataError("it is neither JPEG nor PNG nor WebP", "")


def plain_name(key: str) -> str:
    """Return a key as the name of a member: itself, or its digest where readers of tars would cut it."""
    return key if PLAIN.fullmatch(key) else hashlib.sha256(key.encode()).hexdigest()[:32]


def _text(told: Told) -> bytes:
    return (told.re_caption or "").encode()


def _meta(item: Item, told: Told, payload: bytes) -> bytes:
    facts = {
        "key": item.key, "url": item.url, "sha256": item.sha256 or hashlib.sha256(payload).hexdigest(),
        "org_caption": told.org_caption, "re_caption": told.re_caption,
    }  # fmt: skip
    facts |= {name: value for name, value in told.facts.items() if value is not None}
    return json.dumps(facts, ensure_ascii=False).encode()
