"""Images and captions, shard by shard, into another form: the one loop behind import and export."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from recap_caption.exchange.place import Place
from recap_caption.exchange.told import PAIRED, WORDS, Captions, Told
from recap_caption.exchange.webdataset import SHOWN, Counts
from recap_caption.sources.base import Item, Opened, Part, Source
from recap_caption.sources.places import check_names
from recap_eval.console import progress_bar, warn
from recap_eval.errors import DataError
from recap_eval.files import digest_json


class Writer(Protocol):
    """Writes parts; each of its files takes its place whole, with its counts."""

    def recall(self, root: Path, name: str, question: str) -> Counts | None:
        """Return the counts of a part that was written before; None if it was not, or as the answer to another question."""

    def write(self, root: Path, name: str, pairs: Sequence[tuple[Item, Told]], question: str, torn: str | None) -> Counts:
        """Write a part.

        Args:
            root: The folder.
            name: The part's name.
            pairs: (N) images and what is told of them; only those with both captions are written.
            question: Digest of what decides the contents.
            torn: Why the part's file ended too early, or None.

        Returns:
            Counts by outcome and by how captions were found, some of the images that cannot be read, and `torn`.

        Raises:
            DataError: The disk is full.
        """


def pair(source: Source, parts: Sequence[Part], captions: Captions, writer: Writer, place: Place) -> dict[str, Any]:
    """Write every part of a source with its captions.

    Args:
        source: The images.
        parts: Their parts.
        captions: Where captions come from.
        writer: Writes them.
        place: The output folder, held by this process.

    Returns:
        Counts over all parts.

    Raises:
        DataError: A part is gone or damaged as a whole, or the disk is full.
    """
    outcomes, found_by, unread, torn = Counter[str](), Counter[str](), list[str](), list[str]()
    with progress_bar(len(parts), "writing", "shard") as bar:
        for number, part in enumerate(parts):
            counts = writer.recall(place.root, part.name, place.digest)
            counts = counts or _one(source, part, number, captions, writer, place)
            outcomes.update(counts["outcomes"])
            found_by.update(counts["found_by"])
            unread += counts["unread"]
            torn += [f"{part.name}: {counts['torn']}"] if counts["torn"] else []
            bar.update()
    for line in [*torn[:SHOWN], *unread[:SHOWN]]:
        warn(line)
    return {
        "images": outcomes.total(), "outcomes": dict(outcomes), "found_by": dict(found_by), "shards": len(parts),
        "torn_shards": len(torn),
    }  # fmt: skip


def _one(source: Source, part: Part, number: int, captions: Captions, writer: Writer, place: Place) -> Counts:
    opened = source.open(part).first(part.take)
    try:
        told = captions.of(number, part, opened.items)
        counts = writer.write(place.root, part.name, list(zip(opened.items, told, strict=True)), place.digest, _torn(opened))
    finally:
        opened.close()
    return counts


def _torn(opened: Opened) -> str | None:
    """Return why a part's file ended too early, and what that cost."""
    lost = "" if opened.lost < 0 else f", {opened.lost:,} samples lost"
    return opened.torn and f"{opened.torn}{lost}"


def list_parts(source: Source) -> list[Part]:
    """Return the parts of a source, each with a name of its own.

    Raises:
        DataError: Two have one name.
    """
    parts = list(source.parts())
    check_names(parts)
    return parts


def identity(source: Source, parts: Sequence[Part]) -> str:
    """Return what tells whether images are still what they were."""
    return digest_json([[part.name, source.identity(part, False)] for part in parts])[:32]


def finish(place: Place, report: dict[str, Any]) -> dict[str, Any]:
    """Write down that all is done, and remove what was needed until then.

    Raises:
        DataError: No image has both captions: something is mixed up.
    """
    if not report["outcomes"].get(PAIRED):
        why = ", ".join(f"{n:,} {WORDS[name]}" for name, n in sorted(report["outcomes"].items())) or "there are none"
        raise DataError(
            f"Not one of {report['images']:,} images has both captions: {why}.",
            "Are these the images of these captions? Join them otherwise: --join-on url",
        )
    done = place.finish(report)
    shutil.rmtree(place.work, ignore_errors=True)
    return done
