"""What a run is, written once: its configuration, the parts of its input, and the fingerprint of both."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from recap_caption import rows
from recap_caption.engines.base import Engine
from recap_caption.prompts import Prompt, Sampling
from recap_caption.run.asking import Asking, Made
from recap_caption.run.folder import Folder
from recap_caption.run.manifest import read_manifest
from recap_caption.sources.base import Part, Reading, Source
from recap_caption.sources.places import find_source
from recap_eval.captions import flags
from recap_eval.errors import DataError
from recap_eval.files import digest_json, read_json

VERSION = 1


@dataclass(frozen=True)
class Wanted:
    """What a command asks for, but for the engine.

    Args:
        words: The input.
        reading: How it is read.
        prompts: The prompts.
        seed: Of sampling.
        limit: Samples that are captioned, the first ones; None for all.
        hashed: Whether the input is known by its digests instead of sizes and times.
        command: The words of the command, for the record and for `retry`.
    """

    words: tuple[str, ...]
    reading: Reading
    prompts: tuple[Prompt, ...]
    seed: int = 0
    limit: int | None = None
    hashed: bool = False
    command: tuple[str, ...] = ()

    def config(self, source: Source, engine: Engine) -> dict[str, Any]:
        """Return all that decides the rows, but for the contents of the input."""
        facts = {
            "rows": rows.VERSION, "flags": flags.VERSION, "model_id": engine.model_id, "engine": engine.identity,
            "prompts": [asdict(prompt) for prompt in self.prompts], "seed": self.seed, "limit": self.limit,
            "input": {"form": source.form, "files": len(source.names), "names": digest_json(source.names)},
            "reading": asdict(self.reading), "hashed": self.hashed,
        }  # fmt: skip
        plain: dict[str, Any] = json.loads(json.dumps(facts))  # tuples are lists in a record
        return plain


@dataclass(frozen=True)
class Run:
    """A run that has begun.

    Args:
        folder: Its folder.
        record: What `run.json` says.
    """

    folder: Folder
    record: dict[str, Any]

    @cached_property
    def parts(self) -> list[Part]:
        """The parts of the input, in order."""
        return read_manifest(self.folder.manifest)

    @cached_property
    def source(self) -> Source:
        """The input.

        Raises:
            DataError: It is gone, or is another than it was.
        """
        source = find_source(self.record["input"]["words"], self.reading)
        if digest_json(source.names) != self.config["input"]["names"]:
            raise DataError(
                f"{self.record['input']['words'][0]} holds other files than when the run began "
                f"({self.config['input']['files']:,} then, {len(source.names):,} now).",
                "Restore the input, or begin another run: --output DIR",
            )
        return source

    @property
    def config(self) -> dict[str, Any]:
        """All that decides the rows, but for the contents of the input."""
        found: dict[str, Any] = self.record["config"]
        return found

    @property
    def run_id(self) -> str:
        """Its name in rows."""
        return str(self.record["run_id"])

    @property
    def reading(self) -> Reading:
        """How the input is read."""
        facts = dict(self.config["reading"])
        return Reading(**facts | {"columns": tuple((name, column) for name, column in facts["columns"])})

    @cached_property
    def asking(self) -> Asking:
        """The questions about each sample."""
        prompts = [Prompt(**facts | {"sampling": Sampling(**facts["sampling"])}) for facts in self.config["prompts"]]
        return Asking(tuple(prompts), self.config["seed"])

    def made(self, engine: str) -> Made:
        """Return what all rows share that an engine of this name makes."""
        return Made(self.config["model_id"], self.run_id, engine)

    def identity(self, part: Part) -> str:
        """Return what a part of the input is now."""
        return self.source.identity(part, self.config["hashed"])


def read_run(root: Path) -> Run:
    """Return the run in a folder.

    Raises:
        DataError: There is none.
    """
    folder = Folder(root)
    if not folder.record.is_file():
        raise DataError(f"{root} holds no captioning run.", "Begin one: recap-caption run --input SHARDS --output DIR …")
    record = read_json(folder.record)
    if not isinstance(record, dict) or record.get("version") != VERSION:
        raise DataError(f"{folder.record} is of another version, or of something else.", "Choose another --output.")
    return Run(folder, record)
