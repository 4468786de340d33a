"""What `recap-caption export` does: caption rows as the published schema with a dataset card, or as shards to train from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recap_caption.exchange import captioned, publish
from recap_caption.exchange.card import CARD, About, check_licence, render
from recap_caption.exchange.joining import How, JoinedCaptions, index_images
from recap_caption.exchange.pairing import finish, identity, list_parts, pair
from recap_caption.exchange.place import Place
from recap_caption.exchange.place import identity as files_identity
from recap_caption.exchange.webdataset import ShardWriter
from recap_caption.run.record import Run
from recap_caption.sources.base import NO_ROLE, Reading
from recap_caption.sources.places import find_source
from recap_eval.captions.row_files import list_files
from recap_eval.data.parquet import schema_of
from recap_eval.errors import UserError
from recap_eval.files import write_text

Only = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Chosen:
    """Which captions are exported.

    Args:
        word: A run's folder, or caption files: a file, a folder, a pattern.
        prompt: The prompt's id; None if there is but one.
        sample: Which of several captions by the same prompt; None if there is but one.
        partial: Take a run that has not ended as it is.
    """

    word: str
    prompt: str | None = None
    sample: int | None = None
    partial: bool = False


@dataclass(frozen=True)
class Found:
    """The captions that are exported.

    Args:
        files: The caption files, in order; of generations the newest.
        only: What columns must say in rows that are meant.
        run: The run, if it is one.
        outputs: The run's outputs by part, None where there is none.
        caption: Which of the run's captions is meant.
    """

    files: list[Path]
    only: Only
    run: Run | None = None
    outputs: tuple[Path | None, ...] = ()
    caption: captioned.Caption | None = None

    @property
    def missing(self) -> int:
        """Parts of the run that are not captioned yet."""
        return sum(path is None for path in self.outputs)

    def prompt(self) -> dict[str, Any] | None:
        """Return the prompt that is meant, as the run records it; None if unknown."""
        prompts = self.run.config["prompts"] if self.run else []
        return next((one for one in prompts if self.caption and one["id"] == self.caption.prompt), None)


def find_captions(chosen: Chosen) -> Found:
    """Return the captions that are meant.

    Raises:
        UserError: There are several an image, and it is not said which.
        DataError: There are none, files are damaged, or the run has not ended.
    """
    run = captioned.find_run(chosen.word)
    if run is None:
        files = list_files(chosen.word)
        return Found(files, publish.choose(files, chosen.prompt, chosen.sample))
    caption = captioned.choose(run, chosen.prompt, chosen.sample)
    outputs = captioned.newest_outputs(run, chosen.partial)
    return Found([path for path in outputs if path], caption.only, run, tuple(outputs), caption)


def export_published(found: Found, out: Path, name: str, licence: str, keep_failed: bool) -> dict[str, Any]:
    """Write captions in the published schema, and a dataset card.

    Args:
        found: The captions.
        out: The folder.
        name: What the data set is called.
        licence: The hub's word for its licence.
        keep_failed: Write rows without a recaption, too.

    Returns:
        Counts.

    Raises:
        UserError: The licence is no identifier, or the folder holds something else.
        DataError: Files are damaged or none of captions, or the disk is full.
    """
    check_licence(licence)
    question = {
        "makes": "published", "files": files_identity(found.files), "only": [list(one) for one in found.only], "name": name,
        "licence": licence, "keep_failed": keep_failed, "missing": found.missing,
    }  # fmt: skip
    place = Place(out, question)
    with place.held() as known:
        if known is not None:
            return known
        tally = publish.publish(found.files, place, found.only, keep_failed)
        about = About(name, licence, keep_failed, found.missing, found.prompt(), found.run.run_id if found.run else None)
        write_text(out / CARD, render(tally, about))
        report = {"makes": "published", "files": len(found.files), "missing_shards": found.missing} | asdict(tally)
        return place.finish(report)


def _stated(files: Sequence[Path]) -> list[str]:
    """Return "sha256" if all files have such a column."""
    return ["sha256"] if all("sha256" in schema_of(path, [])[0].names for path in files) else []


def export_webdataset(found: Found, out: Path, images: Sequence[str], join_on: str) -> dict[str, Any]:
    """Write shards of images with both captions.

    Args:
        found: The captions.
        out: The folder.
        images: Where the images are; none for those that the run captioned.
        join_on: What captions are joined on where images are named: "sha256", "url" or "key".

    Returns:
        Counts.

    Raises:
        UserError: It is not said where the images are, or the folder holds something else.
        DataError: Files are damaged, the run's input changed, or nothing joins.
    """
    if not images and found.run is None:
        raise UserError("Caption files hold no images.", "Say where they are: --images SHARDS")
    if not images and found.run is not None:
        captioned.check_input(found.run)
    source = find_source(images, Reading(NO_ROLE)) if images or found.run is None else found.run.source
    parts = list_parts(source) if images or found.run is None else found.run.parts
    question = {
        "makes": "webdataset", "files": files_identity(found.files), "only": [list(one) for one in found.only],
        "images": identity(source, parts), "join_on": join_on if images else "run",
    }  # fmt: skip
    place = Place(out, question)
    with place.held() as known:
        if known is not None:
            return known
        if images or found.caption is None:
            columns = {name: name for name in ("org_caption", "re_caption", *_stated(found.files))}
            index = index_images(source, parts, place.work / "images.npz")
            joined = JoinedCaptions(index, found.files, How(columns, join_on, only=found.only), place.work)
            report = pair(source, parts, joined, ShardWriter(), place) | joined.report()
        else:
            captions = captioned.RunCaptions(list(found.outputs), found.caption)
            report = pair(source, parts, captions, ShardWriter(), place)
        return finish(place, {"makes": "webdataset"} | report)
