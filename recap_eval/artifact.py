"""The hand-over between the packages: a folder of files with an `artifact.json` that says what it is and how it was made.

The files lie in the ecosystem's own layout (CLIP: open_clip's local folder), so that other people's tools load them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recap_eval.errors import DataError
from recap_eval.files import digest_file, digest_json, read_json, write_json

NAME = "artifact.json"
STATE = "checkpoint.pt"  # of a run that can go on
SCHEMA_VERSION = 1
KINDS = ("captions", "clip", "autoencoder", "diffusion", "captioner", "images")
SEEN, TOTAL = "samples_seen", "samples_total"  # of `made`: so far, and of a training on its way how many there will be
FACTS = "facts"  # of `made`: what its maker says of the data, by name, such as how noisy the alt-texts are
RUN_FACTS = (  # of `made`: what runs of one sweep have in common
    "recipe",
    "recipe_digest",
    SEEN,
    "train_data",
    "precision",
    "mix",
    FACTS,
    "sampled",
)


@dataclass(frozen=True)
class Artifact:
    """A described folder.

    Args:
        kind: One of KINDS.
        name: What tables call it.
        files: sha256 by file name, relative to the folder.
        made: How it was made: recipe, seed, p_original, samples seen, data fingerprint, ….
        run: Command, code version, packages, device, wall time.
        schema_version: Of this record.
    """

    kind: str
    name: str
    files: dict[str, str]
    made: dict[str, Any]
    run: dict[str, Any]
    schema_version: int = SCHEMA_VERSION

    @property
    def revision(self) -> str:
        """Digest of the files' contents: the same bytes have the same revision, whatever they are called."""
        return digest_json(self.files)


def write_artifact(folder: Path, kind: str, name: str, files: list[str], made: dict[str, Any], run: dict[str, Any]) -> Artifact:
    """Describe files that lie in `folder`; the description is written last and makes the artifact complete."""
    assert kind in KINDS, kind
    artifact = Artifact(kind, name, {file: digest_file(folder / file) for file in sorted(files)}, made, run)
    write_json(folder / NAME, asdict(artifact))
    return artifact


def is_unfinished(folder: Path) -> bool:
    """Tell whether a folder holds the state of a run that was stopped, and not yet what it is to make."""
    return (folder / STATE).is_file() and not (folder / NAME).is_file()


def find_artifact(folder: Path) -> Artifact | None:
    """Return a folder's description, or None if it has none.

    Raises:
        DataError: The description is unreadable or of another schema.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    record = read_json(path)
    try:
        if record["schema_version"] != SCHEMA_VERSION:
            raise DataError(f"{path} has schema version {record['schema_version']}.", f"This version reads {SCHEMA_VERSION}.")
        return Artifact(**record)
    except (KeyError, TypeError) as error:
        raise DataError(f"{path} is not an artifact description ({error}).", "Make the artifact again.") from error


def verify(folder: Path, artifact: Artifact) -> None:
    """Check that every file is there and has the recorded digest.

    Raises:
        DataError: A file is missing or was changed; the message names it.
    """
    for file, digest in artifact.files.items():
        path = folder / file
        if not path.is_file():
            raise DataError(f"{path} is missing.", f"{folder / NAME} lists it: make the artifact again.")
        if digest_file(path) != digest:
            raise DataError(f"{path} is not the file that {NAME} describes.", "It was changed or damaged: make it again.")


def named(plain: str, facts: list[tuple[str, float | str]]) -> str:
    """Return a name with what is said of the data: equal weights, or captions, of other data are others."""
    return "-".join([plain, *(f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}" for name, value in facts)])
