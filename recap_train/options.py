"""The options of `recap-train`, group by group. Standard library only at import."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from recap_eval.console import add_command, add_facts, as_path, positive, positive_number
from recap_train.engine import duration

CLIP_EXAMPLES = """examples:
  recap-train list
  recap-train clip --data scenes --recipe scenes-tiny --p-original 0.5 --samples-seen 60000 --out runs/p0.5
  recap-train clip --data scenes --recipe recap-clip-scenes --p-original 0.8 --out runs/small
  recap-train clip --recipe recap-clip-b16 --p-original 0.8 --dry-run --gpu h100 --gpus 8 --gpu-price 2.5
  recap-train clip --data shards --recipe recap-clip-b16 --caption-preset recap-datacomp --p-original 0.8 \\
      --tokenizer bert-base-uncased/ --out runs/b16
  recap-train clip --data shards --recipe recap-clip-b16 --stage 2 --init runs/b16/stage1 \\
      --caption-preset recap-datacomp --p-original 0.8 --out runs/b16-again
  recap-train clip --data 'https://host/{00000..00099}.tar' --recipe ViT-B-16 --captions 'captions/*.parquet' \\
      --original-key txt --recaption-key parquet:re_caption --p-original 0.8 --samples-seen 2560000 \\
      --eval-every 500000 --eval-tasks scenes --out runs/plain
  torchrun --nproc-per-node 8 -m recap_train.cli clip --data shards --recipe recap-clip-b16 --micro-batch 512 …

p is the probability of the ORIGINAL caption; 1 - p that of the recaption. Stopped by Ctrl-C or SIGTERM, the same command
goes on where it stopped. The finished model is measured with `recap-eval clip`, unless --no-eval. A recipe with stages runs
them in order, the earlier ones in OUT/stage1, …; what is done is not done again."""

PREPARE_EXAMPLES = """examples:
  recap-train prepare --data shards --size 128 --out shards-128
  recap-train clip --data shards-128 --caption-preset recap-datacomp …

Takes S x S x 3 bytes an image, twice that while it is made. Stopped, the same command goes on."""

HALVE_EXAMPLES = """examples:
  recap-train halve runs/dit-p0 --out small/dit-p0
  recap-eval t2i --model small/dit-p0 --suite scenes --scorer runs/clip --data scenes

It is a model of its own: measure it, rather than take the whole one's figures."""


def add_clip(commands: Any) -> argparse.ArgumentParser:
    """Add the command that trains CLIP."""
    clip = add_command(commands, "clip", "train CLIP on mixed captions", CLIP_EXAMPLES)
    need = add_need(clip, "folder of shards (*.tar), scenes or prepared; pattern of files or URLs")
    need.add_argument(
        "--recipe", "--model", required=True, metavar="R", help="recipe (recap-train list), recipe.json, or an open_clip config"
    )
    need.add_argument("--p-original", type=float, metavar="P", help="probability of the original caption, 0-1")
    _add_recipe(clip)
    add_captions(clip, dropout=0.0)
    add_facts(clip)
    for add in (add_loading, add_engine, _add_masking, _add_eval, add_dry_run):
        add(clip)
    return clip


def add_need(parser: argparse.ArgumentParser, data: str) -> Any:
    """Add what every training command needs; `data` says what its data may be. Returns the group."""
    need = parser.add_argument_group("what to train")
    need.add_argument("--data", type=as_data, help=data)
    need.add_argument("--out", type=as_path, metavar="DIR", help="folder of the finished model")
    need.add_argument("--seed", type=int, default=0, help="of weights, order, coins and crops (default 0)")
    need.add_argument("--name", help="what tables call it (default: made of recipe, mix and seed)")
    need.add_argument("--skip-bad", action="store_true", help="leave out what is unreadable, counted, instead of stopping")
    return need


def add_prepare(commands: Any) -> argparse.ArgumentParser:
    """Add the command that prepares a data set."""
    prepare = add_command(commands, "prepare", "make a data set small and quick to read, once", PREPARE_EXAMPLES)
    prepare.add_argument("--data", type=as_path, required=True, help="folder of image-text shards (*.tar), or of scenes")
    prepare.add_argument("--size", type=positive, required=True, metavar="PX", help="pixels a side, 9/8 of the model's or more")
    prepare.add_argument("--out", type=as_path, required=True, metavar="DIR", help="folder of the prepared set")
    prepare.add_argument(
        "--workers", type=positive, default=os.cpu_count() or 1, metavar="N", help="threads (default: all cores)"
    )
    prepare.add_argument("--skip-bad", action="store_true", help="leave out unreadable images, counted, instead of stopping")
    return prepare


def add_list(commands: Any) -> argparse.ArgumentParser:
    """Add the command that lists recipes."""
    return add_command(commands, "list", "list recipes with their sizes")


def add_halve(commands: Any) -> argparse.ArgumentParser:
    """Add the command that halves a model's size."""
    halve = add_command(commands, "halve", "round a model's weights to half precision: half the size", HALVE_EXAMPLES)
    halve.add_argument("model", type=as_path, metavar="DIR", help="folder of a finished model")
    halve.add_argument("--out", type=as_path, required=True, metavar="DIR", help="folder of the small one")
    halve.add_argument("--name", help="what tables call it (default: as before)")
    return halve


def as_data(text: str) -> Path | str:
    """Return the folder that holds the data, or the pattern of files or URLs that names its shards."""
    from recap_eval.data.shard_places import is_pattern

    return text if is_pattern(text) else as_path(text)


def count(text: str) -> int:
    """Return a number that may be 0."""
    return 0 if text == "0" else positive(text)


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not numbers with commas between them") from error


def _add_recipe(clip: argparse.ArgumentParser) -> None:
    group = clip.add_argument_group("stages, and what is to be otherwise than in the recipe")
    group.add_argument("--stage", metavar="S", help="1, 2 or all (default: all that the recipe has, in order)")
    group.add_argument("--samples-seen", type=positive, metavar="N", help="samples to see in all (default: the recipe's)")
    group.add_argument("--batch-size", type=positive, metavar="N", help="samples a step; the learning rate follows by the rule")
    group.add_argument("--lr", type=positive_number, metavar="LR", help="peak learning rate of the stage")
    group.add_argument("--warmup-samples", type=positive, metavar="N", help="samples during which the learning rate rises")
    group.add_argument("--image-size", type=positive, metavar="PIXELS", help="train at another size than the model's")
    group.add_argument("--init", type=as_path, metavar="DIR", help="start from the weights of an earlier model")
    group.add_argument("--tokenizer", type=as_path, metavar="DIR", help="folder of a tokenizer (BERT's for Recap-CLIP)")


def add_captions(clip: argparse.ArgumentParser, dropout: float | None) -> None:
    """Add the options of captions and their mix; `dropout` is the default of theirs, None for the recipe's."""
    roles = clip.add_argument_group("which caption is which (scenes say it themselves)")
    roles.add_argument("--caption-preset", metavar="NAME", help="recap-datacomp, datacomp, caption-rows or scenes")
    roles.add_argument("--original-key", metavar="KEY", help="txt, json:FIELD or parquet:COLUMN")
    roles.add_argument("--recaption-key", metavar="KEY", action="append", help="likewise; again for several recaptions")
    roles.add_argument("--captions", metavar="PARQUET", help="caption files to join: a file, a folder or a quoted pattern")
    roles.add_argument("--join-on", choices=("sha256", "key", "url"), default="sha256", help="(default sha256)")
    roles.add_argument("--max-unjoined", type=count, default=0, metavar="N", help="images that may lack a row (default 0)")
    mixing = clip.add_argument_group("how captions are mixed")
    mixing.add_argument("--mix", choices=("draw", "concat"), default="draw", help="one caption (default), or both joined")
    mixing.add_argument(
        "--recaption-turns", choices=("random", "alternate"), default="random", help="which of several recaptions"
    )
    mixing.add_argument("--recaption-weights", type=_numbers, default=(), metavar="W,W", help="how often each of them is drawn")
    default = "the recipe's" if dropout is None else f"{dropout:g}"
    mixing.add_argument(
        "--caption-dropout", type=float, default=dropout, metavar="P", help=f"probability of no caption (default {default})"
    )


def add_loading(clip: argparse.ArgumentParser) -> None:
    """Add the options of recap_train.workers.Loading."""
    group = clip.add_argument_group("reading the data (docs/training.md)")
    group.add_argument(
        "--workers", type=count, metavar="N", help="processes that prepare batches (default 0; on a GPU up to 8)"
    )
    group.add_argument(
        "--prefetch", type=positive, default=2, metavar="N", help="batches each of them prepares ahead (default 2)"
    )
    group.add_argument(
        "--shuffle-window", type=positive, default=1 << 20, metavar="N", help="samples shuffled together (default 1048576)"
    )
    group.add_argument(
        "--max-bad",
        type=float,
        default=0.01,
        metavar="SHARE",
        help="with --skip-bad: most that may be left out (0.01)",
    )


def add_engine(clip: argparse.ArgumentParser) -> None:
    """Add the options of recap_train.engine.Engine."""
    group = clip.add_argument_group("how the machine trains (docs/training.md)")
    group.add_argument(
        "--precision", choices=("auto", "fp32", "bf16"), default="auto", help="auto: bf16 where the device has it"
    )
    group.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: a GPU if there is one")
    group.add_argument("--parallel", choices=("ddp", "fsdp"), default="ddp", help="how torchrun's processes share the work")
    group.add_argument("--micro-batch", type=positive, metavar="N", help="hold N samples at a time; the loss stays the batch's")
    group.add_argument("--grad-checkpointing", action="store_true", help="less memory, a third more work")
    group.add_argument("--compile", action="store_true", help="compile the transformer blocks; pays on a GPU or in long runs")
    group.add_argument("--tf32", action="store_true", help="on a GPU: fp32 products in TF32")
    group.add_argument("--ema", type=float, metavar="DECAY", help="also average the weights, such as 0.9999, into OUT/ema")
    group.add_argument(
        "--save-every", type=duration, default=60.0, metavar="TIME", help="checkpoint: 90s, 10m, 2h (default 60s)"
    )
    group.add_argument("--keep-every", type=positive, metavar="SAMPLES", help="keep a checkpoint each time so many were seen")
    group.add_argument("--tensorboard", action="store_true", help="write OUT/tensorboard, if TensorBoard is installed")
    group.add_argument(
        "--peak-tflops", type=positive_number, metavar="N", help="of one device, for the MFU, if it is not known"
    )


def _add_masking(clip: argparse.ArgumentParser) -> None:
    group = clip.add_argument_group("another objective")
    group.add_argument("--mask-images", type=float, default=0.0, metavar="SHARE", help="leave out this share of the patches")


def _add_eval(clip: argparse.ArgumentParser) -> None:
    after = clip.add_argument_group("measuring it, afterwards and on the way")
    after.add_argument("--no-eval", action="store_true", help="do not measure the finished model")
    after.add_argument("--leaderboards", type=as_path, default=Path("leaderboards"), metavar="DIR", help="where results go")
    after.add_argument("--reports", type=as_path, default=Path("reports"), metavar="DIR", help="where the report goes")
    after.add_argument("--eval-every", type=positive, metavar="N", help="measure the weights so far every N samples")
    after.add_argument("--eval-tasks", metavar="T,…", help="on the way: tasks and suites (default: all whose data is there)")
    after.add_argument(
        "--eval-data", type=as_path, metavar="DIR", help="on the way: data root or folder of scenes (default: as afterwards)"
    )
    after.add_argument("--keep-evals", action="store_true", help="keep the weights that were measured, in OUT/evals")


def add_dry_run(clip: argparse.ArgumentParser) -> None:
    """Add what a dry run assumes."""
    group = clip.add_argument_group("looking before spending")
    group.add_argument("--dry-run", action="store_true", help="print the whole run, its time and its cost; write nothing")
    group.add_argument("--gpu", default="h100", metavar="G", help="assumed: a100, h100 (default), h200, b200, l40s, …")
    group.add_argument("--gpus", type=positive, default=8, metavar="N", help="assumed: how many (default 8)")
    group.add_argument("--assume-mfu", type=float, default=0.4, metavar="F", help="assumed: share of the peak (default 0.4)")
    group.add_argument("--gpu-price", type=positive_number, metavar="X", help="assumed: price of a GPU hour")
