"""Getting a data set of data/sources.toml: downloaded, verified, unpacked, moved into its place.

Killed at any moment, its place holds either nothing of it or all of it, and the same command goes on where it was: bytes are
kept in a part file, a verified archive stays until what it held has been moved.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from recap_eval.console import progress_bar
from recap_eval.data.download import Refused, ask
from recap_eval.data.part import Part
from recap_eval.data.sources import RemoteFile, Source, resolve
from recap_eval.data.unpack import HostileArchive, check_space, move_into, unpack
from recap_eval.errors import DataError
from recap_eval.files import read_json, write_json

RECORD = "record.json"  # in the work folder from "ready" until everything is in its place
GO_ON = "Check the network, then run the same command again: what has come in is kept."


def get_source(source: Source, root: Path, keep: bool = False) -> dict[str, Any]:
    """Fetch a source into its place below a data root.

    Args:
        source: The source.
        root: The data root.
        keep: Keep the archives after unpacking.

    Returns:
        What was fetched: source, revision, and per file its address, size and digest.

    Raises:
        DataError: It cannot be had, is not what its digest says, holds what it should not, or does not fit on the disk.
    """
    work, place = source.work_folder(root), root / source.place
    try:
        with _alone(work):
            if not (work / "ready").is_dir() and source.missing(root):
                _make_ready(source, work)
            if (work / "ready").is_dir():
                move_into(work / "ready", place)
            if absent := source.missing(root):
                raise DataError(
                    f"{source.name} was fetched, but holds no {absent[0]}.", f"Look into {place} and at {source.page}"
                )
            mine = work / RECORD  # absent if another process was done a moment ago
            done: dict[str, Any] = read_json(mine if mine.exists() else source.record(root))
            write_json(source.record(root), done)
            _clear(work, [file["name"] for file in done["files"]] if keep else [])
    except OSError as error:
        what = f"Cannot put {source.name} into {place}: {error.strerror or error}."
        raise DataError(what, "Choose another --data.") from error
    return done


def is_there(source: Source, root: Path) -> bool:
    """Tell whether a source is in its place, whoever put it there, and not half moved."""
    return not source.missing(root) and not (source.work_folder(root) / RECORD).exists()


@contextmanager
def _alone(work: Path) -> Iterator[None]:
    """Hold a lock on the work folder: two processes appending to one part would spoil it."""
    work.mkdir(parents=True, exist_ok=True)
    handle = os.open(work, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise DataError(f"Another process is fetching into {work}.", "Wait for it, then run the same command again.") from error
    except OSError:
        pass  # a file system without locks
    try:
        yield
    finally:
        os.close(handle)


def _make_ready(source: Source, work: Path) -> None:
    """Download and unpack into `ready` in the work folder, which comes into being whole."""
    files, revision = _settle(source, work)
    _forget_half(source, work)
    held = sum(_held(work, file) for file in files)
    unpacked = 0 if source.unpack == "none" else source.unpacked or sum(file.size for file in files)
    check_space(work, sum(file.size for file in files) - held + unpacked, source.name)
    archives = [_get_file(file, work) for file in files]
    fresh = work / "unpacking"
    inside = fresh / source.into
    inside.mkdir(parents=True)
    for archive in archives:
        _open_archive(source, archive, inside)
    _rename(source, fresh)
    write_json(work / RECORD, _describe(source, files, revision))
    fresh.rename(work / "ready")


def _forget_half(source: Source, work: Path) -> None:
    """Delete what an earlier run was unpacking; files that need no unpacking were whole."""
    fresh = work / "unpacking"
    if fresh.exists():
        for path in (fresh / source.into).glob("*") if source.unpack == "none" else ():
            path.replace(work / path.name)
        shutil.rmtree(fresh)


def _settle(source: Source, work: Path) -> tuple[list[RemoteFile], str]:
    """Resolve a source; what the hub said is kept, so that a later run goes on with the same revision."""
    plan = work / "plan.json"
    if source.hub and plan.is_file():
        kept = read_json(plan)
        return [RemoteFile(**(file | {"urls": tuple(file["urls"])})) for file in kept["files"]], kept["revision"]
    files, revision = resolve(source)
    if source.hub:
        write_json(plan, {"files": [vars(file) for file in files], "revision": revision})
    return files, revision


def _open_archive(source: Source, archive: Path, folder: Path) -> None:
    if source.unpack == "none":
        archive.replace(folder / archive.name)
        return
    try:
        unpack(archive, source.unpack, folder, source.unpacked)
    except HostileArchive:
        archive.unlink()
        shutil.rmtree(folder)
        raise


def _rename(source: Source, fresh: Path) -> None:
    for old, new in source.rename.items():
        if not (fresh / old).exists():
            raise DataError(f"{source.name} was fetched, but holds no {old}.", f"Get it by hand: {source.page}")
        (fresh / new).parent.mkdir(parents=True, exist_ok=True)
        (fresh / old).rename(fresh / new)


def _describe(source: Source, files: list[RemoteFile], revision: str) -> dict[str, Any]:
    each = [{"name": file.name, "url": file.urls[0], "size": file.size, file.kind: file.digest} for file in files]
    now = datetime.now(UTC).isoformat(timespec="seconds")
    facts = {"source": source.name, "page": source.page, "licence": source.licence, "fetched": now}
    return facts | ({"revision": revision} if revision else {}) | {"files": each}


def _clear(work: Path, kept: list[str]) -> None:
    for entry in work.iterdir():
        if entry.name not in kept:
            entry.unlink()
    if not any(work.iterdir()):
        work.rmdir()


def _held(work: Path, file: RemoteFile) -> int:
    """Return how many bytes of a file are on the disk already."""
    return max((path.stat().st_size for path in (work / file.name, work / f"{file.name}.part") if path.exists()), default=0)


def _get_file(file: RemoteFile, work: Path) -> Path:
    """Return a verified file in the work folder, fetched if it is not there."""
    path = work / file.name
    if path.exists():
        path.replace(work / f"{file.name}.part")  # verified once; verified again, since nobody knows what happened since
    with progress_bar(file.size, f"  {file.name}", "B", unit_scale=True, smoothing=0.1) as bar:
        part = Part(file, work, bar)
        _fill(part)
    part.verify()
    part.path.replace(path)
    return path


def _fill(part: Part) -> None:
    reasons = []
    for url in part.file.urls:
        if part.got == part.file.size:
            break
        try:
            ask(url, partial(part.receive, url), partial(part.headers, url), lambda: part.got, part.tell)
        except Refused as error:
            reasons.append(str(error))
    if part.got != part.file.size:
        raise DataError(f"Cannot get {part.file.name}: {'; '.join(reasons)}.", GO_ON)
