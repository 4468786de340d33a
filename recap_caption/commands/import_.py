"""`recap-caption import`: published captions → lists of URLs; with the images that were downloaded → shards or rows."""

from __future__ import annotations

import argparse
import json
import shlex
from typing import TYPE_CHECKING, Any

from recap_eval.console import add_command, as_path
from recap_eval.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLES = """examples:
  recap-caption import recap-datacomp-1b --files 0-1 --out download     from the hub; prints the command of img2dataset
  recap-caption import 'train_data/*.parquet' --share 0.001 --out download
  recap-caption import 'train_data/*.parquet' --images download/shards --out joined
  recap-caption import 'train_data/*.parquet' --images download/shards --to rows --out rows
  recap-caption import 'train_data/*.parquet' --recaption-column re_caption_condition_diverse_topk --out download-v2
  recap-caption import recap-coco-30k/new_data.parquet --out coco       its images are in the file itself
  recap-train clip --data joined --caption-preset recap-datacomp --p-original 0.8 …

Known are recap-datacomp-1b, both generations of columns, and recap-coco-30k; by name from the hub, or files at hand. Images are
joined with their rows by the sha256 that img2dataset states, and an image that states none by its URL. Everything that does not
join is counted. Stopped, the same command goes on; when all is done, it does nothing. See docs/exchange.md."""
URLS, WEBDATASET, ROWS = "urls", "webdataset", "rows"


def add(commands: Any) -> None:
    """Add the command."""
    parser = add_command(commands, "import", "published captions as URL lists, as shards with images, or as rows", EXAMPLES)
    parser.add_argument("captions", metavar="SET", help="recap-datacomp-1b, recap-coco-30k, or their parquet files")
    parser.add_argument("--out", type=as_path, required=True, metavar="DIR", help="the new folder")
    parser.add_argument(
        "--to", choices=(URLS, WEBDATASET, ROWS), help="what is made (default: webdataset where there are images, else urls)"
    )
    parser.add_argument("--files", metavar="A-B", help="which of the files, counted from 0; or all")
    parser.add_argument("--share", type=_share, default=1.0, metavar="S", help="list this share of the images, by their sha256")
    parser.add_argument(
        "--images", nargs="+", metavar="PLACE", help="downloaded images: folder of shards or images, files, patterns"
    )
    parser.add_argument("--recaption-column", metavar="C", help="another column of recaptions than the set's first")
    parser.add_argument("--join-on", choices=("sha256", "url", "key"), default="sha256", help="(default sha256)")
    parser.add_argument(
        "--accept-changed",
        action="store_true",
        help="take a URL's captions although its image is another than was captioned",
    )
    parser.set_defaults(run=run)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from error
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not in (0, 1]")
    return share


def run(args: argparse.Namespace) -> int:
    """Import."""
    from recap_caption.exchange.published import find_files, has_images, one_form

    files = find_files(args.captions, args.files)
    inside = not args.images and has_images(one_form(files), files)
    makes = args.to or (WEBDATASET if args.images or inside else URLS)
    if makes == URLS:
        return _lists(args, files)
    if not args.images and not inside:
        raise UserError(
            "The files hold URLs, and no images.", "Download them first (--to urls), then say where they are: --images SHARDS"
        )
    if args.share < 1:
        raise UserError("--share is of lists of URLs.", "Leave it out: images that were not downloaded are only counted.")
    return _joined(args, files, makes)


def _lists(args: argparse.Namespace, files: list[Path]) -> int:
    from recap_caption.exchange.urls import LISTS, Wanted, make_lists

    if args.images:
        raise UserError("--images and --to urls do not go together.", "Leave one out.")
    facts = make_lists(files, args.out, Wanted(args.recaption_column, args.share))
    if args.json:
        print(json.dumps(facts))
        return 0
    left = f", {facts['without_url']:,} without a URL left out" if facts["without_url"] else ""
    print(f"{args.out / LISTS}: {facts['listed']:,} of {facts['rows']:,} rows of {facts['files']:,} files{left}.")
    print(f"Download them:\n\n{facts['command']}\n")
    print(f"Then: {_next(args)}")
    return 0


def _next(args: argparse.Namespace) -> str:
    """Return the command that joins what was downloaded, of the same files."""
    words = ["recap-caption", "import", args.captions, *(["--files", args.files] if args.files else [])]
    words += ["--recaption-column", args.recaption_column] if args.recaption_column else []
    return shlex.join([*words, "--images", f"{args.out}/shards", "--out", "joined"])


def _joined(args: argparse.Namespace, files: list[Path], makes: str) -> int:
    from recap_caption.exchange.importing import Wanted, join_images
    from recap_caption.exchange.report_text import describe, train_command

    wanted = Wanted(makes, tuple(args.images or ()), args.recaption_column, args.join_on, args.accept_changed)
    report = join_images(files, args.out, wanted)
    if args.json:
        print(json.dumps(report))
        return 0
    print(f"{args.out}: {describe(report)}")
    print(train_command(args.out, makes))
    return 0
