"""A folder of images read back for scoring: which image is of which prompt, by id and digest, never by sort order.

A folder has our manifest, or a list that its maker gives (file, prompt and perhaps id), or files named by prompt ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from recap_eval.artifact import NAME, Artifact, find_artifact, verify
from recap_eval.data.items import FileImage
from recap_eval.errors import DataError, UserError
from recap_eval.files import digest_file
from recap_eval.generate.folder import CLAIM
from recap_eval.generate.manifest import MANIFEST, read_manifest
from recap_eval.generate.plan import FOLDER
from recap_eval.generate.prompt_files import Columns, read_prompts
from recap_eval.generate.prompts import PromptSet

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
THREADS = 8
SHOWN = 3  # names in a message


@dataclass(frozen=True)
class Generated:
    """One image and what it was made for.

    Args:
        id: The prompt's id.
        sample: Which image of this prompt, from 0.
        prompt: The prompt; "" if nothing tells it.
        path: Its file.
        sha256: Digest of the file.
        seed: Its seed; None if nothing tells it.
        reference: Id of the real image that the prompt describes, or "".
        blanked: True if a safety checker blanked it.
        cut_by: Tokenizers of the pipeline that cut the prompt.
    """

    id: str
    sample: int
    prompt: str
    path: Path
    sha256: str
    seed: int | None = None
    reference: str = ""
    blanked: bool = False
    cut_by: tuple[str, ...] = ()

    @property
    def item(self) -> FileImage:
        """The image in the form that embedding takes, its key being the prompt's id and, from the second on, the sample."""
        return FileImage(self.id if self.sample == 0 else f"{self.id}#{self.sample}", self.path)


@dataclass(frozen=True)
class ImageSet:
    """A folder's images, paired with their prompts.

    Args:
        folder: The folder.
        images: The images, in the order of the manifest, the list or the prompts.
        paired_by: "manifest", "list" or "names".
        artifact: The folder's description, if it has one.
        failed: Ids of prompts whose image could not be made.
        missing: Files that are listed and not there, if that was tolerated.
        changed: Files whose content is not the listed one, if that was tolerated.
        unlisted: Files that are there and not listed, if that was tolerated.
    """

    folder: Path
    images: list[Generated]
    paired_by: str
    artifact: Artifact | None = None
    failed: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """True if every prompt has its images and nothing was left out."""
        return not (self.failed or self.missing or self.changed or self.unlisted)

    @property
    def is_limited(self) -> bool:
        """True if the images are of the first so many prompts of a set only."""
        return self.artifact is not None and "first" in self.artifact.made["prompts"]


def read_images(
    folder: Path, listing: Path | None = None, prompts: PromptSet | None = None, tolerate: bool = False
) -> ImageSet:
    """Read a folder of images.

    Args:
        folder: The folder: of `recap-eval generate`, or anybody's.
        listing: CSV, TSV, JSONL or parquet with `file`, `prompt` and perhaps `id`, for a folder without a manifest.
        prompts: The prompts, for a folder without a manifest and a list: each file is named by its prompt's id.
        tolerate: Leave out and name what is missing or changed, instead of refusing the folder.

    Raises:
        UserError: The folder has no manifest, and neither a list nor prompts are given; or it has one, and a list is given.
        DataError: There is no image, the run is unfinished, files are missing, changed, or not listed; the message names them.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder.", "Check the path.")
    if (folder / MANIFEST).is_file() and (folder / NAME).is_file():
        if listing is not None:
            raise UserError(f"{folder} has a manifest; a list beside it could contradict it.", "Leave the list out.")
        return _from_manifest(folder, prompts, tolerate)
    if (folder / CLAIM).is_file():
        raise DataError(f"{folder} is an unfinished generation.", "Finish it: the same recap-eval generate command goes on.")
    if listing is not None:
        return _from_listing(folder, listing, tolerate)
    if prompts is not None:
        return _from_names(folder, prompts, tolerate)
    raise UserError(
        f"{folder} has no {MANIFEST}: nothing says which prompt an image is of.",
        "Give a list (CSV or JSONL with file, prompt and id), or prompts whose ids are the files' names.",
    )


def _from_manifest(folder: Path, prompts: PromptSet | None, tolerate: bool) -> ImageSet:
    artifact = find_artifact(folder)
    assert artifact is not None
    if artifact.kind != "images":
        raise UserError(f"{folder} is an artifact of kind {artifact.kind!r}, not 'images'.", "Check the path.")
    verify(folder, artifact)
    if prompts is not None and prompts.fingerprint != artifact.made["prompts"]["fingerprint"]:
        raise DataError(f"{folder} was made of other prompts than {prompts.name}.", "Leave the prompts out; it holds its own.")
    rows = read_manifest(folder / MANIFEST)
    made = [row for row in rows if not row.error]
    paths = [folder / row.file for row in made]
    digests, missing, unlisted = _look(folder, folder / FOLDER, paths)
    changed = [row.file for row in made if digests.get(folder / row.file, row.image_sha256) != row.image_sha256]
    images = [
        Generated(
            row.id, row.sample, row.prompt, path, row.image_sha256, row.seed, row.reference, row.blanked, tuple(row.cut_by)
        )
        for row, path in zip(made, paths, strict=True)
        if row.file not in changed and path in digests
    ]  # fmt: skip
    failed = [row.id for row in rows if row.error]
    return _judged(ImageSet(folder, images, "manifest", artifact, failed, missing, changed, unlisted), tolerate)


def _from_listing(folder: Path, listing: Path, tolerate: bool) -> ImageSet:
    named = read_prompts(listing, Columns(id="file"))
    places = [prompt.id for prompt in named.prompts]
    paths = [folder / place for place in places]
    if outside := [place for place, path in zip(places, paths, strict=True) if not _is_below(path, folder)]:
        raise DataError(f"{listing} names {outside[0]}, which lies outside {folder}.", "Name files from the folder on.")
    ids = [str(prompt.extra.get("id", "")) or str(Path(prompt.id).with_suffix("")) for prompt in named.prompts]
    if twice := _twice(ids):
        raise DataError(f"{listing} names {twice} twice.", "Ids must be distinct; without a column id, names of files are.")
    digests, missing, unlisted = _look(folder, folder, paths, {listing})
    images = [
        Generated(key, 0, prompt.text, path, digests[path])
        for key, prompt, path in zip(ids, named.prompts, paths, strict=True)
        if path in digests
    ]
    return _judged(ImageSet(folder, images, "list", missing=missing, unlisted=unlisted), tolerate)


def _from_names(folder: Path, prompts: PromptSet, tolerate: bool) -> ImageSet:
    named = [(str(path.relative_to(folder).with_suffix("")), path) for path in sorted(_images_below(folder))]
    there = dict(named)
    if twice := _twice(name for name, _ in named):
        raise DataError(f"{folder} has several images {twice}.*.", "Keep one image a prompt, or give a list.")
    known = {prompt.id for prompt in prompts.prompts}
    if there and not known & there.keys():
        raise DataError(
            f"No image of {folder} is named by an id of {prompts.name}: {next(iter(there))}, but ids such as "
            f"{prompts.prompts[0].id}.", "Give a list of files and prompts.",
        )  # fmt: skip
    paths = [there[prompt.id] for prompt in prompts.prompts if prompt.id in there]
    digests = _digests(paths)
    images = [
        Generated(prompt.id, 0, prompt.text, there[prompt.id], digests[there[prompt.id]], reference=prompt.reference)
        for prompt in prompts.prompts
        if prompt.id in there
    ]
    missing = [prompt.id for prompt in prompts.prompts if prompt.id not in there]
    unlisted = [str(path.relative_to(folder)) for name, path in there.items() if name not in known]
    return _judged(ImageSet(folder, images, "names", missing=missing, unlisted=unlisted), tolerate)


def _look(
    folder: Path, place: Path, paths: Sequence[Path], besides: Iterable[Path] = ()
) -> tuple[dict[Path, str], list[str], list[str]]:
    """Return digests of the files that are there, names of those that are not, and of images that nothing lists."""
    there = [path for path in paths if path.is_file()]
    missing = [str(path.relative_to(folder)) for path in paths if not path.is_file()]
    listed = {*paths, *besides}
    unlisted = [str(path.relative_to(folder)) for path in _images_below(place) if path not in listed]
    return _digests(there), missing, sorted(unlisted)


def _images_below(place: Path) -> list[Path]:
    found = (path for path in place.rglob("*") if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))
    return [path for path in found if path.is_file()]


def _digests(paths: Sequence[Path]) -> dict[Path, str]:
    with ThreadPoolExecutor(THREADS) as pool:
        return dict(zip(paths, pool.map(digest_file, paths), strict=True))


def _is_below(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _twice(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def _judged(found: ImageSet, tolerate: bool) -> ImageSet:
    """Refuse a folder that is not what it says, or that holds no image."""
    troubles = {"are missing": found.missing, "were changed": found.changed, "are not listed": found.unlisted}
    told = [f"{len(names):,} {what} ({_some(names)})" for what, names in troubles.items() if names]
    if told and not tolerate:
        whole = len(found.images) + len(found.missing) + len(found.changed)
        raise DataError(f"Of {whole:,} images of {found.folder}: {'; '.join(told)}.", "Restore them, or generate again.")
    if not found.images:
        raise DataError(f"{found.folder} holds no image that could be scored.", "Check the path.")
    return found


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
