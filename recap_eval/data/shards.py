"""Image-text shards in the layout of img2dataset: KEY.jpg, KEY.txt, KEY.json in numbered tars.

Which member is the original caption and which the recaption is never guessed: after the Recap-DataComp authors' own
recipe KEY.txt is the RECAPTION, in plain DataComp it is the alt-text, and a silent mix-up turns p into 1 - p.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recap_eval.console import progress_bar
from recap_eval.data.items import ImageItem, file_stamp
from recap_eval.data.tars import list_entries
from recap_eval.errors import DataError, UserError, unknown_name

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
TEXT_SUFFIXES = (".txt", ".json", ".cls")

AGAIN = "Download or make the shard again."
MANY = 20  # shards that take long enough to read for a progress bar

ROLE_PRESETS = {
    "recap-datacomp": {"original": "json:org_caption", "recaption": "txt"},
    "datacomp": {"original": "txt"},
    "scenes": {"original": "json:org_caption", "recaption": "json:re_caption"},
    "caption-rows": {"original": "parquet:org_caption", "recaption": "parquet:re_caption"},
    "recap-coco-30k": {"original": "parquet:caption", "recaption": "parquet:recaption"},
}
ROLE_FORMS = ("json:", "parquet:")  # a field of KEY.json, a column of caption files joined onto the shards


@dataclass(frozen=True)
class Member:
    """Where one file of a sample lies: byte range in a tar."""

    offset: int
    size: int


@dataclass(frozen=True)
class Sample(ImageItem):
    """One image with its texts; the image's bytes are read when asked for.

    Args:
        key: The sample's key, unique in the data set.
        tar: The shard it lies in.
        image: Where its image lies in the shard.
        suffix: The image's file ending, such as ".jpg".
        meta: The parsed KEY.json, empty if there is none.
        text: The content of KEY.txt, None if there is none.
        label: The number in KEY.cls, None if there is none.
    """

    key: str
    tar: Path
    image: Member
    suffix: str
    meta: dict[str, Any]
    text: str | None
    label: int | None = None

    @property
    def where(self) -> str:  # type: ignore[override]
        """The image's name for messages: shard and member."""
        return f"{self.tar}:{self.key}{self.suffix}"

    def read_image(self) -> bytes:
        """Return the encoded image.

        Raises:
            DataError: The shard is gone, or shorter than when it was indexed.
        """
        try:
            with self.tar.open("rb") as stream:
                payload = os.pread(stream.fileno(), self.image.size, self.image.offset)
        except OSError as error:
            raise DataError(f"Cannot read {self.where}: {error.strerror}.", "Restore the shard.") from error
        if len(payload) != self.image.size:
            raise DataError(f"{self.where} is cut short.", "Download or make the shard again.")
        return payload

    def stamp(self) -> str | None:
        """Return the shard's path, size and time of change, and where in it the image lies."""
        shard = file_stamp(self.tar)
        return shard and f"{shard}\0{self.image.offset}\0{self.image.size}"

    def caption(self, role: str) -> str | None:
        """Return the text that a role names ("txt" or "json:FIELD"); None if the sample has no such member."""
        if role == "txt":
            return self.text
        value = self.meta.get(role.removeprefix("json:"))
        return value if isinstance(value, str) else None


def list_shards(folder: Path) -> list[Path]:
    """Return the tars of a folder, sorted by name.

    Raises:
        DataError: No such folder, or no tar in it.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder.", "Check the path; scenes can be made with: recap-eval scenes OUT")
    shards = sorted(folder.glob("*.tar"))
    if not shards:
        raise DataError(f"{folder} holds no *.tar shard.", "Point to the folder that directly holds 00000.tar, 00001.tar, ….")
    return shards


def collect(path: Path) -> tuple[dict[str, dict[str, Any]], str | None]:
    """Read a tar's members once: byte ranges of all, contents of the texts.

    Returns:
        By key its parts, and why the tar ended too early (None if it is whole). "image" and "suffix" are the image's byte range
        and file ending; ".txt", ".json", ".cls" the contents, and the same with "@" before it their byte ranges.
    """
    found: dict[str, dict[str, Any]] = {}

    def add(key: str, suffix: str, place: Member, payload: bytes | None) -> None:
        parts = found.setdefault(key, {})
        if payload is None:
            parts["suffix"], parts["image"] = suffix, place
        else:
            parts[suffix], parts[f"@{suffix}"] = payload, place

    return found, walk(path, add)


def walk(path: Path, visit: Callable[[str, str, Member, bytes | None], None]) -> str | None:
    """Show a tar's images and texts in the order in which they lie in it.

    Args:
        path: An uncompressed tar.
        visit: Is given key, file ending, byte range, and for a text its content.

    Returns:
        Why the tar ended too early; None if it is whole.
    """
    entries, torn = list_entries(path)
    try:
        with path.open("rb", buffering=0) as stream:
            for name, offset, size in entries:
                key, suffix = os.path.splitext(name)  # noqa: PTH122 (a path object costs as much as the member's header)
                if suffix.lower() in IMAGE_SUFFIXES:
                    visit(key, suffix, Member(offset, size), None)
                elif suffix in TEXT_SUFFIXES:
                    payload = os.pread(stream.fileno(), size, offset)
                    if len(payload) != size:
                        break  # of a tar that is cut short
                    visit(key, suffix, Member(offset, size), payload)
    except OSError as error:
        return torn or str(error)
    return torn


def read_shard(path: Path, whole: bool = False) -> list[Sample]:
    """Index one shard.

    Args:
        path: An uncompressed tar.
        whole: Texts without an image are an error, as they are in a test set.

    Returns:
        Its samples in order. Entries without an image are not samples (img2dataset leaves none behind).

    Raises:
        DataError: The tar is corrupt, cut short or empty, a KEY.json in it is not JSON, or a KEY.cls is no number.
    """
    found, torn = collect(path)
    if torn is not None:
        raise not_a_tar(path, torn)
    size, samples = path.stat().st_size, []
    for key, parts in found.items():
        if "image" not in parts:
            if whole and parts:
                raise DataError(f"{path}:{key} has no image.", f"Images must end in {', '.join(IMAGE_SUFFIXES)}.")
            continue
        if parts["image"].offset + parts["image"].size > size:
            raise DataError(f"{path} is cut short at {key}.", AGAIN)
        samples.append(parse_sample(path, key, parts))
    if not samples:
        raise no_image(path)
    return samples


def not_a_tar(path: Path, why: str) -> DataError:
    """Return the error of a shard that is not a whole tar."""
    return DataError(f"{path} is not a readable tar ({why}).", AGAIN)


def no_image(path: Path) -> DataError:
    """Return the error of a shard without an image."""
    return DataError(f"{path} holds no image.", "Members must be named KEY.jpg, KEY.txt, KEY.json.")


def parse_sample(path: Path, key: str, parts: dict[str, Any]) -> Sample:
    """Return a sample of what `collect` found under its key.

    Raises:
        DataError: A KEY.json is not JSON, a KEY.txt not UTF-8, a KEY.cls no number.
    """
    try:
        meta = json.loads(parts[".json"]) if ".json" in parts else {}
        text = parts[".txt"].decode() if ".txt" in parts else None
        label = int(parts[".cls"]) if ".cls" in parts else None
    except ValueError as error:
        raise DataError(f"{path}:{key} has an unreadable text member ({error}).", "Make the shard again.") from error
    return Sample(key, path, parts["image"], parts["suffix"], meta if isinstance(meta, dict) else {}, text, label)


def read_shards(folder: Path) -> list[Sample]:
    """Index all shards of a folder; see `read_tars`."""
    return read_tars(list_shards(folder))


def read_tars(paths: list[Path], whole: bool = False) -> list[Sample]:
    """Index shards, in the order given.

    Args:
        paths: The shards, at least one.
        whole: Texts without an image are an error.

    Raises:
        DataError: A shard is unreadable, or two samples share a key.
    """
    samples: list[Sample] = []
    with progress_bar(len(paths), f"reading {paths[0].parent}", "shard", disable=len(paths) < MANY) as bar:
        for path in paths:
            samples += read_shard(path, whole)
            bar.update()
    seen: dict[str, Path] = {}
    for sample in samples:
        if sample.key in seen:
            raise DataError(
                f"Key {sample.key} occurs in {seen[sample.key]} and in {sample.tar}.", "Keep one data set to a folder."
            )
        seen[sample.key] = sample.tar
    return samples


def resolve_roles(preset: str | None, original: str | None, recaption: str | Sequence[str] | None) -> dict[str, str]:
    """Return which member is the original caption and which the recaption.

    Args:
        preset: A name in ROLE_PRESETS, or None.
        original: "txt", "json:FIELD" or "parquet:COLUMN"; overrides the preset.
        recaption: Likewise; of several the first is the role "recaption", the second "recaption_2", and so on.

    Raises:
        UserError: Unknown preset, a role of another form, one recaption named twice, or a role left open.
    """
    if preset is not None and preset not in ROLE_PRESETS:
        raise unknown_name("caption preset", preset, ROLE_PRESETS, ", ".join(ROLE_PRESETS))
    several = [recaption] if isinstance(recaption, str) else list(recaption or [])
    if len(set(several)) < len(several):
        raise UserError("A --recaption-key is given twice.", "Name each recaption once; see --recaption-weights.")
    roles = dict(ROLE_PRESETS.get(preset or "", {}))
    named = [(f"recaption_{number}" if number > 1 else "recaption", value) for number, value in enumerate(several, 1)]
    for name, value in [*([("original", original)] if original is not None else []), *named]:
        if value != "txt" and not value.startswith(ROLE_FORMS):
            flag = name.partition("_")[0]
            raise UserError(
                f"--{flag}-key {value!r} is neither 'txt' nor 'json:FIELD' nor 'parquet:COLUMN'.", "Example: json:org_caption"
            )
        roles[name] = value
    return roles


def stated_digests(samples: list[Sample]) -> list[str]:
    """Return the sha256 of each image as KEY.json states it, so that a training set need not be read twice.

    It is the digest of the image as downloaded, which img2dataset may have resized since: not good enough for an evaluation
    set. An image whose KEY.json states none is read.
    """
    return [str(sample.meta.get("sha256") or hashlib.sha256(sample.read_image()).hexdigest()) for sample in samples]
