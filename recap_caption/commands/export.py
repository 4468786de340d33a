"""`recap-caption export`: caption rows → the published schema with a dataset card, or shards to train from."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from recap_eval.console import add_command, as_path
from recap_eval.errors import UserError

if TYPE_CHECKING:
    from recap_caption.exchange.exporting import Found

EXAMPLES = """examples:
  recap-caption export captions --out release --name my-recaptions --licence cc-by-4.0
  recap-caption export 'rows/*.parquet' --out release --prompt paper --sample 0 --failed keep
  recap-caption export captions --to webdataset --out shards            the images that the run captioned
  recap-caption export captions --to webdataset --images elsewhere/ --join-on sha256 --out shards
  recap-train clip --data shards --caption-preset recap-datacomp --p-original 0.5 …

A run's folder, or caption files; of generations (00012.g1.parquet) the newest. --to published writes the eleven columns of
Recap-DataComp-1B, in its types and order, and README.md, the dataset card. --to webdataset writes KEY.jpg, KEY.txt (the
recaption) and KEY.json (both captions by name). Stopped, the same command goes on. See docs/exchange.md."""
PUBLISHED, WEBDATASET = "published", "webdataset"


def add(commands: Any) -> None:
    """Add the command."""
    parser = add_command(commands, "export", "captions as others read them: published schema with card, or shards", EXAMPLES)
    parser.add_argument("captions", metavar="CAPTIONS", help="a run's folder, or caption files: file, folder, pattern")
    parser.add_argument("--out", type=as_path, required=True, metavar="DIR", help="the new folder")
    parser.add_argument("--to", choices=(PUBLISHED, WEBDATASET), default=PUBLISHED, help="what is made (default published)")
    parser.add_argument("--prompt", metavar="ID", help="by which prompt, where there are several")
    parser.add_argument("--sample", type=int, metavar="N", help="which of several captions by the same prompt, counted from 0")
    parser.add_argument("--partial", action="store_true", help="take a run that has not ended as it is")
    card = parser.add_argument_group("published")
    card.add_argument("--name", metavar="N", help="what the data set is called (default: the folder's name)")
    card.add_argument("--licence", "--license", default="unknown", metavar="L", help="the hub's identifier (default unknown)")
    card.add_argument("--failed", choices=("drop", "keep"), default="drop", help="rows without a recaption (default drop)")
    shards = parser.add_argument_group("webdataset")
    shards.add_argument("--images", nargs="+", metavar="PLACE", help="where the images are (default: where the run read them)")
    shards.add_argument("--join-on", choices=("sha256", "url", "key"), default="sha256", help="with --images (default sha256)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Export."""
    from recap_caption.exchange.exporting import Chosen, find_captions

    if args.images and args.to != WEBDATASET:
        raise UserError("--images is of shards, and the published schema has no images.", "Leave it out, or: --to webdataset")
    found = find_captions(Chosen(args.captions, args.prompt, args.sample, args.partial))
    return _published(args, found) if args.to == PUBLISHED else _webdataset(args, found)


def _published(args: argparse.Namespace, found: Found) -> int:
    from recap_caption.exchange.card import CARD
    from recap_caption.exchange.exporting import export_published

    name = args.name or args.out.resolve().name
    report = export_published(found, args.out, name, args.licence, args.failed == "keep")
    if args.json:
        print(json.dumps(report))
        return 0
    statuses = ", ".join(f"{n:,} {status}" for status, n in sorted(report["statuses"].items()))
    what = f" ({statuses})" if statuses else ""
    kept = f", {report['without']:,} of them without a recaption" if report["without"] else ""
    print(f"{args.out}: {report['written']:,} of {report['rows']:,} rows{what}{kept}, in {report['files']:,} files.")
    if report["other"]:
        print(f"  {report['other']:,} rows are by other prompts, or other samples of this one.")
    print(f"  The card: {args.out / CARD}. Read it before you publish: licence {args.licence}.")
    return 0


def _webdataset(args: argparse.Namespace, found: Found) -> int:
    from recap_caption.exchange.exporting import export_webdataset
    from recap_caption.exchange.report_text import describe, train_command

    report = export_webdataset(found, args.out, args.images or (), args.join_on)
    if args.json:
        print(json.dumps(report))
        return 0
    print(f"{args.out}: {describe(report)}")
    print(train_command(args.out, WEBDATASET))
    return 0
