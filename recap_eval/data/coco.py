"""COCO's images as named sets: some of them chosen by a hash, and a set held against the digest that it is known by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from recap_eval.data.captioned import annotated, captioned
from recap_eval.data.coco_ids import Lock, chosen, coco_id, digest_of_ids
from recap_eval.data.items import CaptionedImages
from recap_eval.errors import DataError
from recap_eval.hashrand import Draws, text_key


def one_caption_each(root: Path, json: str, images: str, n: int, purpose: str) -> CaptionedImages:
    """Read `n` of COCO's images, chosen by `chosen`, with one caption each, drawn from its captions by ascending annotation id.

    Args:
        root: The data root.
        json: COCO's caption annotations.
        images: Folder of the images.
        n: How many images.
        purpose: What they are chosen for; it names the draw.

    Raises:
        DataError: The annotations are of another form or too few, or images are absent.
    """
    path = root / json
    entries = {entry.id: entry for entry in annotated(path)}
    if len(entries) < n:
        raise DataError(f"{path} lists {len(entries):,} images, where {n:,} are to be chosen.", "Get the file again.")
    kept = [entries[number] for number in chosen(entries, n, purpose)]
    texts = [[text for _, text in sorted(entry.captions)] for entry in kept]
    drawn = [
        own[Draws(text_key(purpose), text_key("caption"), entry.id).below(len(own)) :][:1]
        for entry, own in zip(kept, texts, strict=True)
    ]
    return captioned(root / images, [(entry.file,) for entry in kept], drawn, path)


def locked(name: str, data: CaptionedImages, lock: Lock) -> tuple[CaptionedImages, bool]:
    """Return data in ascending order of COCO's ids, and whether its images are those that the name stands for.

    Raises:
        DataError: They are not, and the lock is sure of itself.
    """
    ids = [coco_id(image.key) for image in data.images]
    known = [number for number in ids if number is not None]
    digest = digest_of_ids(known)
    holds = len(known) == len(ids) == lock.n and digest == lock.digest
    if not holds and not lock.presumed:
        raise DataError(
            f"{name} stands for {lock.n:,} images of COCO ({lock.digest[:12]}); here are {len(ids):,} others ({digest[:12]}).",
            "Get the data again; for a set of your own: --prompts FILE, --reference DIR",
        )
    return (in_order(data, known) if len(known) == len(ids) else data), holds


def in_order(data: CaptionedImages, ids: Sequence[int]) -> CaptionedImages:
    """Return data in ascending order of its images' ids."""
    order = sorted(range(len(ids)), key=lambda i: ids[i])
    return replace(data, images=[data.images[i] for i in order], captions=[data.captions[i] for i in order])
