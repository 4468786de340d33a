"""The table of data sets that can be fetched: where their files lie, and the digests that say whether they are the right ones.

Every file is verified: against a digest of the table, or against the one that the hub states for a named revision. A file of
which neither exists does not belong in the table.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, urlsplit

from recap_eval.data.download import Refused, ask
from recap_eval.errors import DataError

SOURCES = Path(__file__).with_name("sources.toml")
HUB = "https://huggingface.co"
UNPACK = ("none", "zip", "tar", "tar.gz")
LARGEST_ANSWER = 1 << 26  # bytes of the hub's listing of one repository


def _git_blob(size: int) -> Any:
    """Return the state of git's own name for contents: sha1 of a header with their size, then the contents."""
    return hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)


DIGESTS: dict[str, tuple[int, Callable[[int], Any]]] = {  # kind -> its hex digits, and the start of its state for a size
    "sha256": (64, lambda size: hashlib.sha256()),
    "md5": (32, lambda size: hashlib.md5(usedforsecurity=False)),
    "git_blob_sha1": (40, _git_blob),
}


@dataclass(frozen=True)
class RemoteFile:
    """A file that can be fetched and verified.

    Args:
        name: Its name on disk.
        urls: Where it lies, mirrors in order.
        size: Its size in bytes.
        kind: Kind of its digest, one of `DIGESTS`.
        digest: Its digest in hexadecimal.
    """

    name: str
    urls: tuple[str, ...]
    size: int
    kind: str
    digest: str

    def new_state(self) -> Any:
        """Return the state of a digest of its kind, before any byte."""
        return DIGESTS[self.kind][1](self.size)


@dataclass(frozen=True)
class Source:
    """A data set, or a part of one, that can be fetched.

    Args:
        name: Its name.
        files: Its files: name, size in bytes and a digest by its kind; on the hub, their names there alone.
        place: Folder below the data root that its files go to, or are unpacked in; "." for the root itself.
        makes: Paths below the data root that exist when it is there.
        licence: Its terms in one line.
        page: Where it is described.
        urls: Addresses in order, `{file}` standing for a file's name; empty for the hub.
        hub: "datasets/ORG/NAME" if the hub states its digests.
        revision: Which revision of it, on the hub.
        unpack: What its files are, one of `UNPACK`.
        unpacked: Size in bytes of what they hold; 0 if nobody says.
        into: Folder below its place that is made for them.
        rename: New paths below its place of what was unpacked.
    """

    name: str
    files: list[dict[str, Any]]
    place: str
    makes: list[str]
    licence: str
    page: str
    urls: list[str] = field(default_factory=list)
    hub: str = ""
    revision: str = "main"
    unpack: str = "none"
    unpacked: int = 0
    into: str = ""
    rename: dict[str, str] = field(default_factory=dict)

    def work_folder(self, root: Path) -> Path:
        """Return the folder below a data root where it is downloaded and unpacked, on the file system of its place."""
        return root / self.place / ".fetch" / self.name

    def record(self, root: Path) -> Path:
        """Return the file below a data root that says what was fetched."""
        return root / self.place / ".fetch" / f"{self.name}.json"

    def missing(self, root: Path) -> list[str]:
        """Return which of the paths that it makes are not under a data root."""
        return [path for path in self.makes if not (root / path).exists()]

    @property
    def size(self) -> int:
        """Its size in bytes; 0 if only the hub says."""
        return sum(file.get("size", 0) for file in self.files)


def read_sources(path: Path | None = None) -> dict[str, Source]:
    """Read a table of sources, by default the shipped one.

    Raises:
        DataError: It is not such a table; the message names the source.
    """
    path = path or SOURCES
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        sources = {name: Source(name, **fields) for name, fields in table.items()}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, TypeError) as error:
        raise DataError(
            f"{path} is not a table of sources ({error}).", "See recap_eval/data/sources.py for its fields."
        ) from error
    for source in sources.values():
        if wrong := _wrong(source):
            raise DataError(f"{path}: {source.name}: {wrong}.", "See recap_eval/data/sources.py for the fields of a source.")
    return sources


def _wrong(source: Source) -> str | None:
    paths = [source.place, source.into, *source.makes, *source.rename, *source.rename.values()]
    paths += [file["name"] for file in source.files]
    if source.unpack not in UNPACK:
        return f"unpack is none of {', '.join(UNPACK)}"
    if bool(source.hub) == bool(source.urls):
        return "it needs either urls or hub"
    if any(urlsplit(url).scheme not in ("http", "https") for url in source.urls):
        return "an address is neither https nor http"
    if any(PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts for path in paths):
        return "a path leads out of the data root"
    if not source.hub and not all(_digest_of(file) and file.get("size", 0) > 0 for file in source.files):
        return "a file has no size or no digest"
    return None


def _digest_of(file: dict[str, Any]) -> tuple[str, str] | None:
    for kind, (digits, _) in DIGESTS.items():
        if re.fullmatch(f"[0-9a-f]{{{digits}}}", file.get(kind, "")):
            return kind, file[kind]
    return None


def resolve(source: Source) -> tuple[list[RemoteFile], str]:
    """Return a source's files with addresses, sizes and digests, and their revision on the hub, empty elsewhere.

    Raises:
        DataError: The hub cannot be asked, does not let anybody have the files, or states no digest.
    """
    if source.hub:
        return _ask_hub(source)
    return [_pinned(source, file) for file in source.files], ""


def _hub_address() -> str:
    return os.environ.get("HF_ENDPOINT", HUB).rstrip("/")  # the variable by which users name their mirror of the hub


def _pinned(source: Source, file: dict[str, Any]) -> RemoteFile:
    found = _digest_of(file)
    assert found is not None, source.name  # read_sources saw to it
    urls = tuple(_on_mirror(url.replace("{file}", file["name"])) for url in source.urls)
    return RemoteFile(file["name"], urls, file["size"], *found)


def _on_mirror(url: str) -> str:
    return _hub_address() + url.removeprefix(HUB) if url.startswith(f"{HUB}/") else url


def _ask_hub(source: Source) -> tuple[list[RemoteFile], str]:
    """Ask for digests: sha256 of large files, git's own name of the contents of small ones."""
    url = f"{_hub_address()}/api/{source.hub}/revision/{quote(source.revision, safe='')}?blobs=true"
    try:
        answer = ask(url, lambda response: json.loads(response.read(LARGEST_ANSWER)))
        if answer.get("gated"):
            raise DataError(f"{source.hub} on the hub is gated.", f"Ask for it and get it by hand: {source.page}")
        listed = {entry["rfilename"]: entry for entry in answer["siblings"]}
        files = [_stated(source, listed[file["name"]], answer["sha"]) for file in source.files]
    except Refused as error:
        raise DataError(f"Cannot ask the hub about {source.hub}: {error}.", "Check the network, then try again.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"The hub does not state the digests of {source.hub} ({error!r}).", f"Get it by hand: {source.page}"
        ) from error
    return files, answer["sha"]


def _stated(source: Source, entry: dict[str, Any], revision: str) -> RemoteFile:
    large = entry.get("lfs")
    stated = {"sha256": large["sha256"], "size": large["size"]} if large else {"git_blob_sha1": entry["blobId"]}
    found = _digest_of(stated)
    if found is None or not re.fullmatch("[0-9a-f]{40}", revision):
        raise ValueError(f"no digest of {entry['rfilename']}")
    path = entry["rfilename"]
    url = f"{_hub_address()}/{source.hub}/resolve/{revision}/{quote(path)}"
    return RemoteFile(PurePosixPath(path).name, (url,), stated.get("size", entry["size"]), *found)
