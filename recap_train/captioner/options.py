"""The options of `recap-train captioner`. Standard library only at import."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from recap_eval.console import add_command, as_path, positive, positive_number, positive_or_all
from recap_train.options import add_engine, add_loading, add_need

EXAMPLES = """examples:
  recap-eval scenes scenes-true --n 100000 --recaption-error 0
  recap-train captioner --recipe scenes-tiny --data scenes-true --out runs/scenes-captioner
  recap-train captioner --recipe llava15-llama3-8b --stage projector --data blip_laion_cc_sbu_558k.json --images images \\
      --language-model meta-llama/Meta-Llama-3-8B-Instruct --vision-tower openai/clip-vit-large-patch14-336 --out runs/projector
  torchrun --nproc-per-node 8 -m recap_train.cli captioner --recipe llava15-llama3-8b --stage instruct \\
      --data llava_v1_5_mix665k.json --images images --init runs/projector --micro-batch 4 --grad-checkpointing \\
      --out runs/instruct
  recap-train captioner --recipe llava15-llama3-8b --stage hq-edit --data 'HQ-Edit/data/*.parquet' --init runs/instruct \\
      --lora --out runs/captioner
  recap-train captioner --recipe llava15-llama3-8b --stage instruct --dry-run

Stages: projector (image and caption, the projector alone), instruct (conversations, projector and language model), hq-edit
(images and their descriptions); whole for scenes-tiny, which has nothing to start from. Stopped by Ctrl-C or SIGTERM, the same
command goes on where it stopped. The model is a folder that transformers loads. See docs/captioner.md."""


def add_captioner(commands: Any) -> argparse.ArgumentParser:
    """Add the command that trains a captioner."""
    parser = add_command(commands, "captioner", "train a LLaVA that describes images, stage by stage", EXAMPLES)
    need = add_need(parser, "whole: scenes or shards; stages: LLaVA's JSON, HQ-Edit's parquet, scenes or shards")
    need.add_argument("--recipe", required=True, metavar="R", help="llava15-llama3-8b, scenes-tiny, or recipe.json")
    need.add_argument("--stage", metavar="S", help="projector, instruct, hq-edit or whole (default: whole, if there)")
    need.add_argument("--images", type=as_path, metavar="DIR", help="folder that the JSON's image paths start from")
    need.add_argument("--caption-key", metavar="KEY", help="of shards: txt or json:FIELD (scenes: json:re_caption)")
    _add_start(parser)
    _add_changes(parser)
    for add in (add_loading, add_engine, _add_eval):
        add(parser)
    return parser


def _add_start(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what a stage starts from")
    group.add_argument("--init", metavar="M", help="a LLaVA: of the stage before, a folder, ORG/NAME, or scenes-tiny")
    group.add_argument("--language-model", metavar="M", help="to put a new LLaVA together: a LLaMA by folder or ORG/NAME")
    group.add_argument("--vision-tower", metavar="M", help="likewise: a CLIP")
    group.add_argument(
        "--chat-template", metavar="T", help="llama-3, llava-next, llava-pp or a file (default: the model's, else llama-3)"
    )


def _add_changes(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is to be otherwise than in the recipe")
    group.add_argument("--samples-seen", type=positive, metavar="N", help="samples to see in all (stages: default one epoch)")
    group.add_argument("--batch-size", type=positive, metavar="N", help="samples a step, over all devices")
    group.add_argument("--lr", type=positive_number, metavar="LR", help="peak learning rate")
    group.add_argument("--lora", action="store_true", help="train the language model by LoRA, merged at the end")
    group.add_argument("--dry-run", action="store_true", help="print every constant with its source; write nothing")


def _add_eval(parser: argparse.ArgumentParser) -> None:
    after = parser.add_argument_group("measuring it, afterwards and on the way")
    after.add_argument("--no-eval", action="store_true", help="do not measure the finished model")
    after.add_argument(
        "--eval-tasks", default="scenes-caption", metavar="T,…", help="see recap-eval captioner (default scenes-caption)"
    )
    after.add_argument("--eval-data", type=as_path, metavar="DIR", help="scenes or a data root (default: scenes trained on)")
    after.add_argument("--leaderboards", type=as_path, default=Path("leaderboards"), metavar="DIR", help="where results go")
    after.add_argument("--reports", type=as_path, default=Path("reports"), metavar="DIR", help="where the report goes")
    after.add_argument("--eval-every", type=positive, metavar="N", help="whole: measure the weights so far every N samples")
    after.add_argument(
        "--eval-limit", type=positive_or_all, default=300, metavar="N", help="on the way: the first N questions, or all (300)"
    )
    after.add_argument("--keep-evals", action="store_true", help="keep the weights that were measured, in OUT/evals")
