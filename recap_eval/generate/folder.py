"""The folder of a run: what it was begun with, its images, and what of them is done.

OUT/generation.json    everything the images depend on; another configuration in the same folder is refused
OUT/images/00000/…     the images, a thousand a folder
OUT/parts/…            what each process has made, line by line
OUT/manifest.jsonl     all of it in the order of the prompts, when every prompt had its turn
OUT/artifact.json      the description, written last
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap_eval.errors import UserError
from recap_eval.files import digest_json, read_json, replacing, write_json
from recap_eval.generate.manifest import Made, Row, read_parts
from recap_eval.generate.plan import FOLDER, Item, Key
from recap_eval.generate.prompts import text_digest

if TYPE_CHECKING:
    from PIL.Image import Image

CLAIM = "generation.json"
SCHEMA_VERSION = 1
DIGEST = re.compile(r"[0-9a-f]{64}")
FORMATS: dict[str, dict[str, Any]] = {  # what Pillow is told, by file suffix
    "png": {"format": "PNG", "compress_level": 4},
    "jpg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    "webp": {"format": "WEBP", "lossless": True},
}


def claim(folder: Path, identity: dict[str, Any]) -> str:
    """Begin a run in a folder, or find that it is the one begun there.

    Args:
        folder: The folder.
        identity: Everything the images depend on, by name; values are JSON.

    Returns:
        The run's digest, which its rows bear.

    Raises:
        UserError: The folder holds something else, or a run with another configuration; the message names the field.
        DataError: It cannot be written, or its description is unreadable.
    """
    path = folder / CLAIM
    if not path.is_file():
        if folder.exists() and (not folder.is_dir() or any(entry.name != CLAIM for entry in _visible(folder))):
            raise UserError(f"{folder} is not empty and holds no generation.", "Choose a new or an empty folder: --out DIR")
        _create(path, _description(identity))
    known = _read_claim(path)
    if (difference := _differs(known["identity"], identity)) is None:
        return str(known["digest"])
    if not any((folder / FOLDER).glob("*/[!.]*")):  # nothing came of it: a mistyped setting costs no folder
        write_json(path, _description(identity))
        return str(_read_claim(path)["digest"])
    field, before, now = difference
    raise UserError(
        f"{folder} was begun with {field} {_told(before)}, not {_told(now)}.",
        "Choose another folder (--out DIR), or give the same options as before.",
    )


def _description(identity: dict[str, Any]) -> dict[str, Any]:
    return {"schema_version": SCHEMA_VERSION, "digest": digest_json(identity), "identity": identity}


def _read_claim(path: Path) -> dict[str, Any]:
    known = read_json(path)
    if not isinstance(known, dict) or not isinstance(known.get("identity"), dict) or "digest" not in known:
        raise UserError(f"{path} is no description of a generation.", "Choose another folder: --out DIR")
    return known


def _visible(folder: Path) -> Iterable[Path]:
    return (entry for entry in folder.iterdir() if not entry.name.startswith("."))


def _create(path: Path, record: dict[str, Any]) -> None:
    """Write a file that nobody else has written yet: of several processes that begin at once, one does."""
    mine = path.with_name(f".{path.name}.{os.getpid()}")
    write_json(mine, record)
    try:
        os.link(mine, path)
    except FileExistsError:
        pass
    finally:
        mine.unlink(missing_ok=True)


def _differs(known: dict[str, Any], asked: dict[str, Any]) -> tuple[str, Any, Any] | None:
    """Return the first field that differs, and both values; of a table, the field in it."""
    for name in {**asked, **known}:
        before, now = known.get(name), asked.get(name)
        if before == now:
            continue
        inner = _differs(before, now) if isinstance(before, dict) and isinstance(now, dict) else None
        return (f"{name}.{inner[0]}", *inner[1:]) if inner else (name, before, now)
    return None


def _told(value: object) -> str:
    text = str(value)
    if DIGEST.fullmatch(text):
        return text[:12]
    return text if len(text) <= 60 else f"{text[:60]}…"


def write_image(folder: Path, item: Item, image: Image, form: str) -> dict[str, Any]:
    """Write an image atomically.

    Returns:
        The fields of its row that tell of the file.

    Raises:
        DataError: The disk is full or the folder cannot be written.
    """
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, **FORMATS[form])
    payload = buffer.getvalue()
    with replacing(folder / item.file) as part:
        part.write_bytes(payload)
    digest = hashlib.sha256(payload).hexdigest()
    facts = {"file": item.file, "image_sha256": digest, "bytes": len(payload)}
    return facts | {"width": image.width, "height": image.height}


def new_row(item: Item, **facts: Any) -> Row:
    """Return the row of an item."""
    prompt = item.prompt
    return Row(
        prompt.id, item.sample, prompt.text, text_digest(prompt.text), item.seed, prompt.reference, extra=prompt.extra, **facts
    )  # fmt: skip


@dataclass(frozen=True)
class State:
    """What a folder holds of a run.

    Args:
        done: Images that are there, by key.
        failed: What failed the last time it was tried, by key.
    """

    done: dict[Key, Made]
    failed: dict[Key, Made]


def read_state(folder: Path, items: Iterable[Item]) -> State:
    """Return what of a run's items is done: recorded in this run, and its file is there in its full length.

    Args:
        folder: The folder, claimed by the run.
        items: All items of the run.

    Raises:
        DataError: A record is damaged.
    """
    files = {item.key: item.file for item in items}
    done: dict[Key, Made] = {}
    failed: dict[Key, Made] = {}
    run = _read_claim(folder / CLAIM)["digest"]
    for made in read_parts(folder):
        row = made.row
        if made.run != run:
            continue
        if row.error:
            failed[row.key] = made
        elif row.file == files.get(row.key):
            done[row.key] = made
    done = {key: made for key, made in done.items() if _size(folder / made.row.file) == made.row.bytes}
    return State(done, {key: made for key, made in failed.items() if key not in done and key in files})


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def sweep(folder: Path) -> None:
    """Delete what killed processes left half written; only when every image is there, so that nobody is writing one."""
    for path in (folder / FOLDER).glob("*/.*.part"):
        path.unlink(missing_ok=True)
