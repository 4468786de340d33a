"""The words of `recap-eval captions`. Standard library only at import."""

from __future__ import annotations

import argparse
from pathlib import Path

from recap_eval.cluster.options import add_cluster
from recap_eval.console import add_facts, as_path, positive

JOINS = ("sha256", "key", "coco-id")  # what captions and images are joined on

CAPTIONS_EXAMPLES = """examples:
  recap-eval captions --captions 'recap/train-*.parquet' --column re_caption --against org_caption
  recap-eval captions --captions shards --caption-preset recap-datacomp --tokenizer clip --tokenizer bert/tokenizer.json
  recap-eval captions --captions scenes/test --caption-preset scenes --truth scenes/test.parquet --metrics length,truth
  recap-eval captions --captions recap-coco --column recaption --against caption --metrics references
  recap-eval captions --captions mine.jsonl --column caption --references captions_val2014.json --metrics references
  recap-eval captions --captions shards --caption-preset recap-datacomp --metrics clip,longclip,judge --max-cost 20
  recap-eval captions --captions 'recap/*.parquet' --column re_caption --against org_caption --images shards --metrics clip
  recap-eval captions --captions mine.jsonl --column caption --images photos --metrics clip --clip-model ViT-B-32/openai
  recap-eval captions --captions shards --caption-preset recap-datacomp --page captions.html   see them, with their images
  recap-eval captions … --shard 1/8                        one part of eight; then the same without --shard
  recap-eval captions … --ray auto                         file by file on the Ray cluster that this machine is in
  recap-eval report captions                               the paper's figures beside them

Metrics: length, tokens, vocabulary, flags, diversity (the default); nouns (needs textblob), references (CIDEr, BLEU, ROUGE-L),
truth (of scenes). With images: clip and longclip (cosine, truncated share; of two columns the two-way share by softmax and by
wins), judge (the paper's question to a vision LLM). The published parquet holds URLs only: download, and name the shards.
Which column is which is never guessed, and the first three samples are shown. After Ctrl-C or a crash the same command goes on
with the next file. --page shows image, captions, flags and scores side by side; --images names images that lie elsewhere.
Every definition: docs/captions.md."""


def add_captions(captions: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    captions.add_argument(
        "--captions",
        nargs="+",
        required=True,
        metavar="FILES",
        help="parquet, shards, CSV, TSV, JSONL, JSON: files, folders, patterns",
    )
    captions.add_argument("--column", metavar="C", help="the captions: a column; in shards txt or json:FIELD")
    captions.add_argument("--against", metavar="C", help="the column that they are held against, measured too")
    captions.add_argument(
        "--caption-preset", metavar="P", help="both by name: recap-datacomp, datacomp, scenes, caption-rows, recap-coco-30k"
    )
    captions.add_argument(
        "--key", metavar="C", help="column of keys (default: key, image_id, id, sha256 or url, the first there)"
    )
    captions.add_argument("--name", metavar="N", help="what tables call the files (default: file or folder)")
    captions.add_argument("--metrics", metavar="M,…", help="see below")
    captions.add_argument("--tokenizer", action="append", metavar="T", help="clip (default), or a tokenizer.json; repeatable")
    captions.add_argument("--references", metavar="FILE", help="reference captions by key: COCO's JSON or any caption file")
    captions.add_argument("--reference-column", default="caption", metavar="C", help="their column (default caption)")
    captions.add_argument("--reference-tokens", default="ptb", metavar="T", help="ptb (default; needs Java) or words")
    captions.add_argument(
        "--truth", type=as_path, metavar="FILE", help="ground truth of a scenes split, such as scenes/test.parquet"
    )
    captions.add_argument("--out", type=as_path, default=Path("leaderboards"), metavar="DIR", help="where results go")
    captions.add_argument("--page", type=as_path, metavar="PAGE", help="a page to look through a sample of them (.html)")
    captions.add_argument("--page-rows", type=positive, default=200, metavar="N", help="random rows on it (default 200)")
    captions.add_argument("--limit", type=positive, metavar="N", help="first N rows only: a partial result, never ranked")
    captions.add_argument("--force", action="store_true", help="fold again and replace results; what was counted is still used")
    captions.add_argument(
        "--cache", type=as_path, metavar="DIR", help="where counts are kept, file by file (default: $RECAP_CACHE)"
    )
    captions.add_argument("--no-cache", action="store_true", help="keep no counts, use none")
    captions.add_argument("--shard", metavar="I/N", help="count part I of N of the files only, into the cache")
    add_facts(captions)
    add_cluster(captions, "count files")
