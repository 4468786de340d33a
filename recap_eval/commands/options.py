"""Options of commands that measure, group by group. Standard library only at import."""

from __future__ import annotations

import argparse
from pathlib import Path

from recap_eval.captions.options import JOINS
from recap_eval.console import as_path, positive
from recap_eval.generate.options import add_prompts, add_running, add_sampling
from recap_eval.judge.options import add_judge

SAMPLE, RATED = 180_000, 10_000  # captions that models and the judge see: the paper's numbers, section 4

T2I_EXAMPLES = """examples:
  recap-eval t2i --model runs/dit --suite paper --images images/dit --dry-run        every constant with its source
  recap-eval t2i --model runs/dit --suite paper --images images/dit                  the paper's row; or --shard 1/4, torchrun
  recap-eval t2i --model runs/dit --suite scenes --scorer runs/p0.5 --images images/dit --data data
  recap-eval t2i --images images/dit-recap --reference scenes --metrics fid,kid,clip:runs/p0.5 --data data
  recap-eval t2i --images samples --list samples.csv --metrics clip,recap-clip             CSV with file, prompt and id
  recap-eval t2i --images images/dit-recap --metrics scenes-truth                          do they show what was asked for?
  recap-eval t2i --images images/a --reference coco2014/val --frame crop:256 --save-stats val256.npz
  recap-eval t2i --model ORG/PIPELINE --prompts coco-30k --images images/a --reference coco-val2014 --metrics fid,clip
  recap-eval t2i --images images/a --metrics judge --max-cost 5                            rated by a vision LLM
  recap-eval compare dit-p0/scenes-recap dit-p0.5/scenes-recap                             paired on the same prompts

A suite's parts: each makes its share and ends; the one that ends last, or the same command without --shard, scores.

Metrics: fid, kid, fd-dinov2, cmmd, prdc to a reference; clip, recap-clip, judge to the prompts; scenes-truth, the share of a
scene prompt's claims that hold; any model or extractor by clip:MODEL, fd:EXTRACTOR, kid:EXTRACTOR, prdc:EXTRACTOR (inception,
dinov2, clip:MODEL). See docs/protocols.md."""


def add_cache(parser: argparse.ArgumentParser) -> None:
    """Add where what a model saw in images and texts is kept."""
    group = parser.add_argument_group("cache")
    group.add_argument("--cache", type=as_path, metavar="DIR", help="where features are kept (default: $RECAP_CACHE)")
    group.add_argument("--no-cache", action="store_true", help="keep no features, use none")
    group.add_argument("--cache-limit", type=float, default=20, metavar="GB", help="size of the cache (default 20)")


def add_looking(parser: argparse.ArgumentParser) -> None:
    """Add what `recap-eval captions` needs to hold captions against their images: images, models, a judge."""
    group = parser.add_argument_group("images", "For clip, longclip and judge, on the same keyed sample of every set.")
    group.add_argument(
        "--images",
        nargs="+",
        metavar="PLACE",
        help="shards, a folder, parquet with images (default: where the captions are)",
    )
    group.add_argument(
        "--join-on", choices=JOINS, metavar="J", help="sha256 (default where rows state it), key (else), or coco-id"
    )
    group.add_argument("--sample", type=positive, default=SAMPLE, metavar="N", help=f"rows that models see ({SAMPLE})")
    group.add_argument(
        "--clip-model", action="append", metavar="M", help="as for recap-eval clip (ViT-L-14/openai); repeatable"
    )
    group.add_argument("--longclip-model", action="append", metavar="M", help="likewise (longclip:BeichenZhang/LongCLIP-L)")
    group.add_argument("--precision", default="auto", metavar="P", help="towers in fp32 (auto on CPU) or bf16 (auto on GPU)")
    group.add_argument("--device", metavar="D", help="cpu, cuda or cuda:N (default: a GPU if there is one)")
    group.add_argument(
        "--batch-size", type=positive, metavar="N", help="images a forward pass (default: 64 on a CPU, 256 on a GPU)"
    )
    group.add_argument("--skip-bad", action="store_true", help="count and leave out unreadable images instead of stopping")
    group.add_argument("--cache-limit", type=float, default=20, metavar="GB", help="size of the embeddings kept (default 20)")
    add_judge(parser, RATED)


def add_t2i(parser: argparse.ArgumentParser) -> None:
    """Add all options of `recap-eval t2i`."""
    _add_what(parser)
    _add_scoring(parser)
    add_cache(parser)
    add_prompts(parser, required=False)
    add_sampling(parser)
    add_running(parser)
    add_judge(parser)


def _add_what(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=as_path, metavar="DIR", help="folder of images; with --model, where they are made")
    parser.add_argument("--list", type=as_path, metavar="FILE", help="CSV or JSONL with file, prompt, id, for others' folders")
    parser.add_argument("--model", metavar="M", help="generate first: a pipeline's folder, ORG/NAME, or MODULE:ATTR")
    parser.add_argument("--out", type=as_path, default=Path("leaderboards"), metavar="DIR", help="where results go")
    parser.add_argument("--skip-bad", action="store_true", help="count and leave out missing, changed or unreadable images")
    parser.add_argument("--force", action="store_true", help="measure again and replace what is there")
    group = parser.add_argument_group("suite", "A whole protocol in one command: prompts, sampling, metrics, reference.")
    group.add_argument("--suite", metavar="S", help="paper, scenes, or a file (.toml); images go into DIR/SET")
    group.add_argument("--scorer", metavar="M", help="CLIP model that a suite leaves to you (scenes: one that knows them)")
    group.add_argument("--dry-run", action="store_true", help="print the protocol with sources, commands and disk; do nothing")


def _add_scoring(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("scoring")
    group.add_argument("--reference", metavar="R", help="folder of real images, statistics (.npz), or a data set by name")
    group.add_argument("--metrics", metavar="M,…", help="see below (default: clip)")
    group.add_argument("--resize", metavar="R", help="to the Inception: clean (default), tf1, legacy_pytorch, tm18")
    group.add_argument(
        "--frame", metavar="F", help="what of each image is taken first: crop:256, squash:256 (default: all, as it is)"
    )
    group.add_argument(
        "--inception-weights", type=as_path, metavar="FILE", help="the FID Inception's (default: in the data root)"
    )
    group.add_argument("--feature-precision", default="fp32", choices=("fp32", "bf16"), help="of extractors and scorers")
    group.add_argument("--feature-batch", type=positive, metavar="N", help="images a forward pass of extractors and scorers")
    group.add_argument("--save-stats", type=as_path, metavar="FILE", help="keep the reference's mean and covariance (.npz)")
