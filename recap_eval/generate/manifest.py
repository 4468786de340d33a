"""The record of one image, made or failed, and files of them: one JSON object a line.

manifest.jsonl                  all of them in the order of the prompts: what scoring reads
parts/part-00001-of-00004.jsonl what one process has made so far, in the order in which it was made
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

from recap_eval.data.annotations import read_text
from recap_eval.errors import DataError, UserError
from recap_eval.files import canonical_json, write_text
from recap_eval.generate.plan import Key

MANIFEST, PARTS = "manifest.jsonl", "parts"


@dataclass(frozen=True)
class Row:
    """One image.

    Args:
        id: The prompt's id.
        sample: Which image of this prompt, from 0.
        prompt: The prompt.
        prompt_sha256: Its digest.
        seed: Seed of all the image's randomness.
        reference: Id of the real image that the prompt describes, or "".
        file: Where the image lies in the folder; "" if it failed.
        image_sha256: Digest of the file; "" if it failed.
        bytes: Size of the file; 0 if it failed.
        width: In pixels.
        height: In pixels.
        cut_by: Names of the pipeline's tokenizers that cut the prompt.
        blanked: True if the pipeline's safety checker blanked the image.
        error: Type and message of what went wrong; "" if nothing did.
        extra: Further fields of the prompt.
    """

    id: str
    sample: int
    prompt: str
    prompt_sha256: str
    seed: int
    reference: str = ""
    file: str = ""
    image_sha256: str = ""
    bytes: int = 0
    width: int = 0
    height: int = 0
    cut_by: list[str] = field(default_factory=list)
    blanked: bool = False
    error: str = ""
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        """What it is known by."""
        return self.id, self.sample


@dataclass(frozen=True)
class Made:
    """A row of a part: an image, and how it came about.

    Args:
        row: The image.
        run: Digest of the run.
        seconds: What it took: its share of the batch.
        device: Where it was made.
        batch_size: Images of its forward pass.
    """

    row: Row
    run: str
    seconds: float
    device: str
    batch_size: int


def write_manifest(path: Path, rows: Iterable[Row]) -> None:
    """Write a manifest atomically; the same rows give the same bytes."""
    write_text(path, "".join(canonical_json(asdict(row)) + "\n" for row in rows))


def read_manifest(path: Path) -> list[Row]:
    """Read a manifest.

    Raises:
        DataError: It is missing, damaged or of another form; the message names the line.
    """
    lines = read_text(path).split("\n")[:-1]  # not splitlines: prompts may hold other separators, such as U+2028
    return [Row(**_record(path, number, line, Row)) for number, line in enumerate(lines, start=1)]


def read_parts(folder: Path) -> list[Made]:
    """Read what all processes have made so far in a folder, part by part.

    A last line without its end is one that a kill cut short: it is left out.

    Raises:
        DataError: A line is damaged; the message names it.
    """
    found = []
    for path in sorted((folder / PARTS).glob("part-*.jsonl")):
        lines = read_text(path).split("\n")[:-1]
        for number, line in enumerate(lines, start=1):
            record = _record(path, number, line, Made)
            found.append(Made(**record | {"row": Row(**_checked(path, number, record["row"], Row))}))
    return found


def _record(path: Path, number: int, line: str, kind: type) -> dict[str, Any]:
    try:
        return _checked(path, number, json.loads(line), kind)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: line {number} is not JSON ({error}).", "Restore the file, or generate again.") from error


def _checked(path: Path, number: int, record: object, kind: type) -> dict[str, Any]:
    names = kind.__dataclass_fields__.keys()  # type: ignore[attr-defined]
    if not isinstance(record, dict) or record.keys() != names:
        raise DataError(f"{path}: line {number} is of another form.", f"Expected the fields {', '.join(names)}.")
    return record


class Part:
    """A file of rows that only grows; each addition is on disk when it returns."""

    def __init__(self, path: Path, stream: TextIO) -> None:
        self._path, self._stream = path, stream

    def add(self, made: Sequence[Made]) -> None:
        """Append rows.

        Raises:
            DataError: The disk is full or the folder cannot be written.
        """
        text = "".join(canonical_json(asdict(one)) + "\n" for one in made)
        try:
            self._stream.write(text)
            self._stream.flush()
            os.fsync(self._stream.fileno())
        except OSError as error:
            raise _unwritable(self._path, error) from error


@contextmanager
def open_part(folder: Path, shard: tuple[int, int] | None) -> Iterator[Part]:
    """Open a process's own file of rows for appending; a line that a kill cut short is taken out.

    Args:
        folder: The folder of the run.
        shard: Which part of how many, from 0; None if all.

    Raises:
        UserError: Another process is writing it.
        DataError: The disk is full or the folder cannot be written.
    """
    number, count = shard or (0, 1)
    path = folder / PARTS / f"part-{number + 1:05d}-of-{count:05d}.jsonl"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        _lock(stream, folder, shard)
        _mend(path)
        yield Part(path, stream)
    finally:
        with contextlib.suppress(OSError):  # what could not be flushed was told by `add`
            stream.close()


def _lock(stream: TextIO, folder: Path, shard: tuple[int, int] | None) -> None:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        what = "" if shard is None else f" part {shard[0] + 1} of {shard[1]}"
        raise UserError(
            f"Another process is generating{what} into {folder}.", "Wait for it, or start other parts: --shard I/N"
        ) from error


def _mend(path: Path) -> None:
    """Take out a last line without its end."""
    with path.open("rb+") as raw:
        whole = raw.read()
        if not whole.endswith(b"\n"):
            raw.truncate(whole.rfind(b"\n") + 1)


def _unwritable(path: Path, error: OSError) -> DataError:
    return DataError(f"Cannot write {path}: {error.strerror}.", "Choose another folder or free some space.")
