"""`recap-eval gallery`: images of models as a page, prompt by prompt."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap_eval.console import as_path, positive, warn
from recap_eval.errors import DataError, UserError
from recap_eval.generate.options import add_prompts, prompts_of

if TYPE_CHECKING:
    from recap_eval.data.items import ImageItem
    from recap_eval.gallery.whole import Gallery
    from recap_eval.generate.sheet import Sheet

EXAMPLES = """examples:
  recap-eval gallery images/dit-p0 images/dit-p1 --out gallery.html --data data
  recap-eval gallery images/a --metric fd --n 20 --out worst.html           what costs FID most
  recap-eval gallery samples other --list samples.csv --reference val2014 --out theirs.html

Folders are those of recap-eval generate; for others give a list (file, prompt, id), one for all or one each. Rows are a random
sample, the best and the worst, the largest differences, and what costs a distance most. Scores are those of recap-eval t2i
on these very images. Of a folder with a manifest only what is shown is opened. --data tells where the real images are;
--prompts is for folders with neither manifest nor list, whose files are named by prompt ids. See docs/generation.md."""

PROMPT_OPTIONS = ("prompts", "column", "prompt_column", "id_column", "reference_column", "limit")


def add_gallery(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("images", nargs="+", type=as_path, metavar="DIR", help="folders of images, a model each")
    parser.add_argument("--out", type=as_path, required=True, metavar="PAGE", help="the page (.html)")
    parser.add_argument("--n", type=positive, default=8, metavar="N", help="rows a section (default 8)")
    parser.add_argument("--metric", metavar="M", help="what best, worst and different go by: METRIC or TASK/METRIC")
    parser.add_argument(
        "--list", type=as_path, action="append", default=[], metavar="FILE", help="file, prompt, id; repeatable"
    )
    parser.add_argument(
        "--reference",
        metavar="R",
        help="real images: a data set by name, or a folder of files named by the ids of prompts or of what they refer to",
    )
    parser.add_argument("--leaderboards", type=as_path, default=Path("leaderboards"), metavar="DIR", help="results")
    add_prompts(parser, required=False)
    parser.set_defaults(run=make_gallery)


def make_gallery(args: argparse.Namespace) -> int:
    """Write the page and say what is on it.

    Raises:
        UserError: A folder is named twice, a list is missing, or no score has that name.
        DataError: A folder is unfinished or damaged, or real images that were asked for are not there.
    """
    from recap_eval.generate.sheet import item_name
    from recap_eval.report.gallery_page import write_gallery

    if args.out.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"{args.out} is no name of a page.", "Name one that ends in .html: --out gallery.html")
    sheets = _sheets(args)
    gallery = _gallery(args, sheets)
    written = write_gallery(args.out, gallery)
    facts: dict[str, Any] = {"html": str(written.path), "thumbnails": str(written.folder) if written.folder else None}
    facts |= {"shown": written.shown, "unread": written.unread, "models": [sheet.name for sheet in sheets]}
    facts |= {"scores": [score.label for score in gallery.scores], "notes": list(gallery.notes)}
    facts |= {"sections": {section.anchor: [item_name(key) for key in section.keys] for section in gallery.sections}}
    if args.json:
        print(json.dumps(facts))
        return 0
    for note in gallery.notes:
        print(f"note: {note}", file=sys.stderr)
    where = f"thumbnails in {written.folder}" if written.folder else "thumbnails in the page"
    rows = ", ".join(f"{section.anchor} {len(section.keys)}" for section in gallery.sections)
    print(f"Page: {written.path} ({written.shown:,} images, {where}; rows: {rows})")
    return 0


def gallery_command(args: argparse.Namespace, images: Path) -> str:
    """Return what to type to see images that were measured.

    Args:
        args: What `recap-eval t2i` was given.
        images: Their folder.
    """
    from recap_eval.generate.sheet import has_manifest

    given = {"--list": args.list, "--data": args.data}
    if args.prompts and not has_manifest(images):
        given |= {f"--{name.replace('_', '-')}": getattr(args, name) for name in PROMPT_OPTIONS}
    given |= {"--leaderboards": args.out if args.out != Path("leaderboards") else None}
    words = ["recap-eval", "gallery", str(images), "--out", f"{images.resolve().name}.html"]
    words += [str(word) for name, value in given.items() if value is not None for word in (name, value)]
    return shlex.join(words)


def _gallery(args: argparse.Namespace, sheets: list[Sheet]) -> Gallery:
    from recap_eval.gallery.pairing import pairing_notes
    from recap_eval.gallery.scores import choose_score, find_scores
    from recap_eval.gallery.sections import sections
    from recap_eval.gallery.whole import Gallery
    from recap_eval.results import read_results

    scores, read = find_scores(sheets, read_results(args.leaderboards))
    by = choose_score(scores, args.metric)
    real, lack = _real_images(args, sheets)
    notes = [*pairing_notes(sheets), *lack]
    for model, sheet in enumerate(sheets):
        if not any(model in score.figures for score in scores):
            notes.append(f"{sheet.name}: no result of these very images is there; recap-eval t2i measures them.")
    shown = sections(sheets, scores, by, args.n)
    return Gallery(tuple(sheets), tuple(scores), tuple(shown), read, real, tuple(notes))


def _sheets(args: argparse.Namespace) -> list[Sheet]:
    from recap_eval.generate.sheet import has_manifest, read_sheet

    bare = [folder for folder in args.images if not has_manifest(folder)]
    if len(args.list) > 1 and len(args.list) != len(bare):
        raise UserError(
            f"{len(args.list)} lists for {len(bare)} folders without a manifest.", "Give one list for all of them, or one each."
        )
    if args.list and not bare:
        raise UserError("Every folder has a manifest; a list beside it could contradict it.", "Leave --list out.")
    lists = dict(zip(bare, args.list * len(bare) if len(args.list) == 1 else args.list, strict=False))
    named = prompts_of(args) if args.prompts else None
    sheets = [read_sheet(folder, lists.get(folder), named if folder in bare else None) for folder in args.images]
    return _distinct(sheets, args.images)


def _distinct(sheets: list[Sheet], folders: list[Path]) -> list[Sheet]:
    """Refuse the same images twice; name apart other images of one name."""
    for number, sheet in enumerate(sheets):
        if twice := [folders[i] for i in range(number) if sheets[i].revision == sheet.revision]:
            raise UserError(f"{folders[number]} holds the very images of {twice[0]}.", "Name each set once.")
    names = [sheet.name for sheet in sheets]
    return [
        sheet if names.count(sheet.name) == 1 else replace(sheet, name=f"{sheet.name} ({sheet.revision[:8]})")
        for sheet in sheets
    ]


def _real_images(args: argparse.Namespace, sheets: list[Sheet]) -> tuple[dict[str, ImageItem], list[str]]:
    """Return real images by the ids that prompts refer to, and what is missing of them.

    Raises:
        DataError: They were asked for by name of folder or data root, and are not there.
    """
    from recap_eval.data.root import data_root
    from recap_eval.generate.presets import PRESETS
    from recap_eval.generate.prompt_sources import read_preset
    from recap_eval.scoring import find_reference

    root = data_root(args.data)
    if args.reference:
        items = find_reference(args.reference, root).items
        found = {item.key: item for item in items} | {Path(item.key).with_suffix("").as_posix(): item for item in items}
        asked = {word for sheet in sheets for key, shot in sheet.shots.items() for word in (shot.reference, key[0])}
        return found, [] if asked & found.keys() else [
            f"No image of {Path(args.reference).name} is named by the id of a prompt, or of what it refers to."
        ]
    found, lack = {}, []
    for preset in dict.fromkeys(sheet.preset for sheet in sheets if sheet.preset in PRESETS):
        try:
            found |= {item.key: item for item in read_preset(preset, root).images}
        except DataError as error:
            if args.data:
                raise
            warn(error.what)  # it names places, which the page does not
            lack.append(f"Real images of {preset} are not shown: the data root lacks them (--data DIR).")
    return found, lack
