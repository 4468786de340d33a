"""How a run begins, and how a process finds that the run in a folder is the one it was asked for."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from recap_caption.engines.base import Engine
from recap_caption.run.disk import create
from recap_caption.run.folder import Folder
from recap_caption.run.lease import Leases
from recap_caption.run.manifest import digest_parts, read_manifest, write_manifest
from recap_caption.run.record import VERSION, Run, Wanted, read_run
from recap_caption.sources.base import Part, Source
from recap_caption.sources.places import check_found, check_names, check_said, find_source
from recap_eval.errors import DataError, UserError
from recap_eval.files import digest_json

HEAD = 16  # characters of the fingerprint that name a run
WAIT = 0.2  # seconds between looks while another process begins the run
SHOWN = 3  # differences told


def open_run(root: Path, wanted: Wanted, engine: Engine, worker: str) -> Run:
    """Return the run in a folder, begun if there is none; several processes may do so at once.

    Raises:
        UserError: The folder holds a run of another configuration; or a text was not named.
        DataError: The input or the folder cannot be used.
    """
    folder = Folder(root)
    _check_apart(root, wanted.words)
    source = find_source(wanted.words, wanted.reading)
    config = wanted.config(source, engine)
    leases = Leases(folder.leases, worker)
    while not folder.record.is_file():
        lease = leases.take("run")
        if lease is None:
            time.sleep(WAIT)
            continue
        try:
            if not folder.record.is_file():
                _begin(folder, wanted, source, config, engine)
        finally:
            lease.release()
    run = read_run(root)
    _check_same(root, run.config, config)
    _check_manifest(run, source)
    return run


def _begin(folder: Folder, wanted: Wanted, source: Source, config: dict[str, Any], engine: Engine) -> None:
    from recap_eval.provenance import command_line, git_state, package_versions

    if folder.outputs():
        raise DataError(f"{folder.captions} holds captions already, of no run that is known.", "Choose another --output.")
    check_said(wanted.reading, source)
    parts = list(_identified(source, wanted.limit, wanted.hashed))
    if not parts:
        raise DataError(f"{wanted.words[0]} holds no image.", "Check the path.")
    check_names(parts)
    check_found(wanted.reading, source, parts[0])
    write_manifest(folder.manifest, parts)
    manifest = digest_parts(parts)
    fingerprint = digest_json([config, manifest])
    record = {
        "version": VERSION, "run_id": fingerprint[:HEAD], "fingerprint": fingerprint, "config": config, "manifest": manifest,
        "input": {"words": [_absolute(word) for word in wanted.words], "form": source.form}, "command": list(wanted.command),
        "about": engine.about, "made": {"command": command_line(), "git": git_state(), "packages": package_versions()},
    }  # fmt: skip
    create(folder.record, (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode())


def _identified(source: Source, limit: int | None, hashed: bool) -> Iterator[Part]:
    """Yield parts with their identities, as far as a limit reaches."""
    left = limit
    for part in source.parts():
        if left is not None:
            if left <= 0:
                return
            part = _limited(source, part, left)
            left -= part.rows or 0
        yield replace(part, identity=source.identity(part, hashed))


def _limited(source: Source, part: Part, left: int) -> Part:
    opened = source.open(part)
    opened.close()
    count = min(left, len(opened.items))
    return replace(part, rows=count, take=count)


def _absolute(word: str) -> str:
    return word if "://" in word or "::" in word else str(Path(word).expanduser().absolute())


def _check_apart(root: Path, words: Sequence[str]) -> None:
    for word in words:
        place = Path(word).expanduser().resolve()
        if place.is_dir() and root.resolve().is_relative_to(place):
            raise UserError(f"--output {root} lies in the input.", "Choose a folder beside it, or captions become input.")


def _check_same(root: Path, there: dict[str, Any], here: dict[str, Any]) -> None:
    if found := differences(there, here):
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise UserError(
            f"{root} holds a run of another configuration: {'; '.join(found[:SHOWN])}{more}.",
            "Choose another --output, or give the command of that run: recap-caption status " + str(root),
        )


def differences(there: Any, here: Any, name: str = "") -> list[str]:
    """Return in words where two configurations differ."""
    if isinstance(there, dict) and isinstance(here, dict):
        keys = list(dict.fromkeys([*there, *here]))
        return [
            said for key in keys for said in differences(there.get(key), here.get(key), f"{name}.{key}" if name else str(key))
        ]
    if isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        pairs = enumerate(zip(there, here, strict=True))
        return [said for number, pair in pairs for said in differences(*pair, f"{name}[{number}]")]
    return [] if there == here else [f"{name} {_short(there)} there, {_short(here)} here"]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _check_manifest(run: Run, source: Source) -> None:
    """Make the manifest again where a process was cut off that replaced it."""
    try:
        if digest_parts(read_manifest(run.folder.manifest)) == run.record["manifest"]:
            return
    except DataError:
        pass
    parts = list(_identified(source, run.config["limit"], run.config["hashed"]))
    if digest_parts(parts) != run.record["manifest"]:
        raise DataError(
            f"{run.folder.manifest} is damaged, and the input is not what it was.",
            "Restore one of them, or choose another --output.",
        )
    write_manifest(run.folder.manifest, parts)
