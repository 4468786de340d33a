"""`recap-eval captions --page`: a sample of the captions to look through, with their images where these are at hand."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from recap_eval.errors import UserError

if TYPE_CHECKING:
    from recap_eval.caption_scoring import Set
    from recap_eval.gallery.captions import Row
    from recap_eval.report.captions_page import Written
    from recap_eval.runner import Options
    from recap_eval.tasks.captions_seen import Pictures

NO_IMAGES = "No image is at hand: --images names them."
SHARDS = ".tar"


def check_page(args: argparse.Namespace) -> None:
    """Refuse a page that cannot be made before anything is counted.

    Raises:
        UserError: Its name is none of a page, or this is one part of a run.
    """
    if args.page is None:
        return
    if args.page.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"{args.page} is no name of a page.", "Name one that ends in .html: --page captions.html")
    if args.shard is not None:
        raise UserError("A part of a run has no page.", "When all are done: --page without --shard.")


def write_page(
    args: argparse.Namespace, found: Set, files: Sequence[Path], pictures: Pictures | None, options: Options
) -> Written:
    """Write the page, with the scores of all results of these very captions.

    Raises:
        DataError: Images were named and none belongs to a row, or items of a result are missing.
    """
    from recap_eval.captions.files import label
    from recap_eval.gallery.captions import Captions, choose, counted, find_scores
    from recap_eval.report.captions_page import write_captions_page
    from recap_eval.results import read_results

    rows, notes = _rows(args, found, files, pictures, options)
    columns, results = found.question.columns, read_results(args.out)
    models = [found.model(column) for column in columns]
    content = found.surveys[found.question.column].content
    captions = Captions(
        name=found.name,
        columns=tuple(map(label, columns)),
        revisions=tuple(one.revision for one in models),
        rows=tuple(choose(rows, args.page_rows)),
        chosen=min(len(rows), args.page_rows),
        sample=len(rows),
        total=content.rows,
        counts=tuple(counted(rows, column) for column in range(len(columns))),
        scores=tuple(find_scores(results, one.name, one.revision) for one in models),
        notes=notes,
    )
    return write_captions_page(args.page, captions)


def _rows(
    args: argparse.Namespace, found: Set, files: Sequence[Path], pictures: Pictures | None, options: Options
) -> tuple[list[Row], tuple[str, ...]]:
    """Return the rows of the sample, and what must be said of them."""
    from recap_eval.captions.image_source import find_places, open_source
    from recap_eval.commands.captions_looking import draw_views
    from recap_eval.gallery.captions import rows_of_texts, rows_with_images
    from recap_eval.tasks.captions_seen import warnings

    samples = [found.surveys[column].sample for column in found.question.columns]
    if pictures is None and not args.images and not all(path.suffix == SHARDS for path in files):
        return rows_of_texts(samples), (NO_IMAGES,)
    if pictures is None:
        source = open_source(find_places(args.images or args.captions), options.cache, args.skip_bad)
        views = draw_views(args, source, files, found.question, options, args.sample)
    else:
        views = pictures.views
    cut = [frozenset(one.key for one in some.drawn if one.cut) for some in samples]
    return rows_with_images(views, cut), warnings(views)
