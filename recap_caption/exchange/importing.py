"""What `recap-caption import` does: published captions and the images that were downloaded, as shards or as rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recap_caption.exchange.joining import JOINS, How, JoinedCaptions, index_images
from recap_caption.exchange.pairing import Writer, finish, identity, list_parts, pair
from recap_caption.exchange.place import Place
from recap_caption.exchange.place import identity as files_identity
from recap_caption.exchange.published import Form, check_column, one_form
from recap_caption.exchange.rows_out import RowWriter
from recap_caption.exchange.told import Captions, OwnCaptions
from recap_caption.exchange.webdataset import ShardWriter
from recap_caption.sources.base import NO_ROLE, Part, Reading, Source
from recap_caption.sources.places import find_source
from recap_eval.errors import UserError

WEBDATASET, ROWS = "webdataset", "rows"


@dataclass(frozen=True)
class Wanted:
    """What is asked for.

    Args:
        makes: "webdataset" or "rows".
        images: Where the downloaded images are; none if they are in the files themselves.
        recaption: The column of the recaption; None for the set's own.
        join_on: "sha256", "url" or "key".
        accept_changed: See `How`.
    """

    makes: str
    images: tuple[str, ...] = ()
    recaption: str | None = None
    join_on: str = "sha256"
    accept_changed: bool = False


def join_images(files: list[Path], out: Path, wanted: Wanted) -> dict[str, Any]:
    """Write images with their published captions.

    Args:
        files: The published set's files.
        out: The folder.
        wanted: What is asked for.

    Returns:
        Counts.

    Raises:
        UserError: What is asked for does not go together, or the folder holds something else.
        DataError: Files are damaged or lack a column, or nothing joins.
    """
    form = one_form(files)
    column = wanted.recaption or form.columns["re_caption"]
    check_column(files, column)
    if wanted.images and wanted.join_on not in form.columns:
        others = ", ".join(name for name in JOINS if name in form.columns)
        raise UserError(f"{form.name} has no {wanted.join_on} to join on.", f"It has {others}: --join-on")
    source = _source(files, form, column, wanted)
    parts = list_parts(source)
    question = {
        "makes": wanted.makes, "files": files_identity(files), "images": identity(source, parts), "recaption": column,
        "join_on": wanted.join_on, "accept_changed": wanted.accept_changed,
    }  # fmt: skip
    place = Place(out, question)
    with place.held() as known:
        if known is not None:
            return known
        how = How(_columns(form, column), wanted.join_on, wanted.accept_changed)
        captions = _captions(files, source, parts, how, place) if wanted.images else OwnCaptions()
        writer: Writer = ShardWriter() if wanted.makes == WEBDATASET else RowWriter(_made(column, place))
        report = pair(source, parts, captions, writer, place)
        rows = captions.report() if isinstance(captions, JoinedCaptions) else {}
        return finish(place, {"set": form.name, "makes": wanted.makes} | report | rows)


def _source(files: list[Path], form: Form, column: str, wanted: Wanted) -> Source:
    """Return the images: those that were downloaded, or those in the files themselves."""
    if wanted.images:
        return find_source(wanted.images, Reading(NO_ROLE))
    return find_source([str(path) for path in files], form.reading(column))


def _captions(files: list[Path], source: Source, parts: Sequence[Part], how: How, place: Place) -> Captions:
    return JoinedCaptions(index_images(source, parts, place.work / "images.npz"), files, how, place.work)


def _columns(form: Form, column: str) -> dict[str, str]:
    kept = {name: form.columns[name] for name in ("org_caption", "sha256") if name in form.columns}
    return kept | {"re_caption": column}


def _made(column: str, place: Place) -> dict[str, Any]:
    return {"prompt_id": f"published:{column}", "run_id": f"import-{place.digest[:8]}"}
