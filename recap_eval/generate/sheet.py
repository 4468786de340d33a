"""A folder of images as it is listed: prompts, seeds, failures; an image is opened only when it is shown.

Where a folder has our manifest, that is all there is to read, be it of thirty thousand images. Of others' folders the files
are digested, since nothing else tells which results belong to them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recap_eval.artifact import NAME, find_artifact, verify
from recap_eval.errors import DataError, UserError
from recap_eval.generate.images import ImageSet, read_images
from recap_eval.generate.manifest import MANIFEST, Row, read_manifest
from recap_eval.generate.origin import facts_of, identify
from recap_eval.generate.plan import Key
from recap_eval.generate.prompts import PromptSet


@dataclass(frozen=True)
class Shot:
    """One image, or what came of it instead.

    Args:
        prompt: Its prompt.
        path: Its file; None if it could not be made, or is not there.
        sha256: Digest of the file when it was made.
        seed: Its seed; None if nothing tells it.
        reference: Id of the real image that the prompt describes, or "".
        blanked: True if a safety checker blanked it.
        cut_by: Tokenizers of the model that cut the prompt, as NAME:LIMIT.
        error: Why it could not be made; "" if it was.
    """

    prompt: str
    path: Path | None
    sha256: str = ""
    seed: int | None = None
    reference: str = ""
    blanked: bool = False
    cut_by: tuple[str, ...] = ()
    error: str = ""

    def read_image(self) -> bytes:
        """Return the encoded image.

        Raises:
            DataError: The file is missing, or is not what it was when it was made.
        """
        if self.path is None or not self.path.is_file():
            raise DataError("the file is missing", "Restore it, or generate again.")
        payload = self.path.read_bytes()
        if hashlib.sha256(payload).hexdigest() != self.sha256:
            raise DataError("the file was changed", "Restore it, or generate again.")
        return payload


@dataclass(frozen=True)
class Sheet:
    """One model's images.

    Args:
        name: What tables call them.
        revision: What results of these very images bear.
        shots: By prompt and sample, in the order of the prompts.
        facts: How they were made, as far as that is known.
        notes: What is wrong with the folder, a sentence each.
    """

    name: str
    revision: str
    shots: dict[Key, Shot] = field(repr=False)
    facts: dict[str, Any] = field(default_factory=dict, repr=False)
    notes: tuple[str, ...] = ()

    @property
    def preset(self) -> str:
        """Name of the data set whose captions were the prompts, or ""."""
        return str(self.facts.get("prompts", {}).get("preset", ""))


def item_name(key: Key) -> str:
    """Return what results call an image: its prompt's id and, from the second on, the sample."""
    return key[0] if key[1] == 0 else f"{key[0]}#{key[1]}"


def has_manifest(folder: Path) -> bool:
    """Return whether a folder says by itself which image is of which prompt."""
    return (folder / MANIFEST).is_file() and (folder / NAME).is_file()


def read_sheet(folder: Path, listing: Path | None = None, prompts: PromptSet | None = None) -> Sheet:
    """Read what a folder lists.

    Args:
        folder: The folder: of `recap-eval generate`, or anybody's.
        listing: File, prompt and perhaps id of each image, for a folder without a manifest; see `read_images`.
        prompts: The prompts, for a folder with neither: each file is named by its prompt's id.

    Raises:
        UserError: Nothing tells which prompt an image is of; or the folder holds something else.
        DataError: It is unfinished, its manifest was changed, or it holds no image.
    """
    if has_manifest(folder) and listing is None:
        return _of_manifest(folder)
    return _of_files(read_images(folder, listing, prompts, tolerate=True), prompts)


def _of_manifest(folder: Path) -> Sheet:
    artifact = find_artifact(folder)
    assert artifact is not None
    if artifact.kind != "images":
        raise UserError(f"{folder} is an artifact of kind {artifact.kind!r}, not 'images'.", "Check the path.")
    verify(folder, artifact)
    rows = read_manifest(folder / MANIFEST)
    shots = {row.key: _shot(folder, row) for row in rows}
    return Sheet(artifact.name, artifact.revision, shots, facts_of(artifact.made))


def _shot(folder: Path, row: Row) -> Shot:
    path = folder / row.file if row.file else None
    return Shot(
        row.prompt, path, row.image_sha256, row.seed, row.reference, row.blanked, tuple(row.cut_by), row.error
    )  # fmt: skip


def _of_files(images: ImageSet, prompts: PromptSet | None) -> Sheet:
    shots = {
        (one.id, one.sample): Shot(one.prompt, one.path, one.sha256, one.seed, one.reference, one.blanked, one.cut_by)
        for one in images.images
    }
    if prompts is not None:  # in their order; those without an image are missing
        known = {(one.id, 0): Shot(one.text, None, reference=one.reference) for one in prompts.prompts}
        shots = known | shots
    who = identify(images)
    return Sheet(who.name, who.revision, shots, who.meta, tuple(_troubles(images)))


def _troubles(images: ImageSet) -> Iterable[str]:
    told = {"listed and not there": images.missing, "not listed": images.unlisted, "changed": images.changed}
    for what, names in told.items():
        if names:
            yield f"{len(names):,} files are {what}, such as {names[0]}"
