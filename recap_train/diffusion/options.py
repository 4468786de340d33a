"""The options of the commands about diffusion transformers. Standard library only at import."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from recap_eval.console import add_command, add_facts, as_path, positive, positive_number, positive_or_all
from recap_train.options import add_captions, add_dry_run, add_engine, add_loading, add_need

DIT_EXAMPLES = """examples:
  recap-train vae --data scenes --out runs/vae
  recap-train clip --data scenes --recipe scenes-tiny --p-original 0.5 --samples-seen 60000 --out runs/clip
  recap-train precompute --data scenes --recipe dit-scenes --autoencoder runs/vae --text-encoder runs/clip --out scenes-encoded
  recap-train dit --data scenes-encoded --recipe dit-scenes --autoencoder runs/vae --text-encoder runs/clip \\
      --p-original 0.1 --samples-seen 200000 --out runs/dit --scorer runs/clip
  recap-train dit --recipe dit-b4 --p-original 0.1 --samples-seen 1240000000 --dry-run --gpu h100 --gpus 8
  torchrun --nproc-per-node 8 -m recap_train.cli dit --data shards --caption-preset recap-datacomp --recipe dit-b4 \\
      --autoencoder stabilityai/sd-vae-ft-ema --text-encoder openai/clip-vit-large-patch14 --p-original 0.1 \\
      --samples-seen 1240000000 --micro-batch 64 --out runs/dit-b4

p is the probability of the ORIGINAL caption; 1 - p that of the recaption. --text-encoder takes a CLIP of `recap-train clip`,
transformers' CLIP, SigLIP or T5. Stopped by Ctrl-C or SIGTERM, the same command goes on. The finished model is a pipeline of
diffusers; it is measured with `recap-eval t2i`, unless --no-eval. See docs/diffusion.md."""

VAE_EXAMPLES = """examples:
  recap-train vae --data scenes --out runs/vae
  recap-train vae --data shards --caption-preset datacomp --recipe mine.json --samples-seen 500000 --out runs/vae

For small worlds, such as scenes: squared error only. For photographs name a finished one: --autoencoder ORG/NAME."""

PRECOMPUTE_EXAMPLES = """examples:
  recap-train precompute --data scenes --recipe dit-scenes --autoencoder runs/vae --text-encoder runs/clip --out scenes-encoded
  recap-train precompute --data shards --caption-preset recap-datacomp --recipe dit-b4 --out encoded \\
      --autoencoder stabilityai/sd-vae-ft-ema --text-encoder openai/clip-vit-large-patch14

For 256 px and CLIP L/14 about 16 KiB an image and 1.5 KiB a token. Stopped, the same command goes on."""


def add_dit(commands: Any) -> argparse.ArgumentParser:
    """Add the command that trains a diffusion transformer."""
    dit = add_command(commands, "dit", "train a text-to-image diffusion transformer on mixed captions", DIT_EXAMPLES)
    need = add_need(dit, "folder of shards, scenes, prepared or precomputed; pattern of files or URLs")
    need.add_argument(
        "--recipe", required=True, metavar="R", help="dit-s2 … dit-xl8, dit-scenes (recap-train list), or recipe.json"
    )
    need.add_argument("--p-original", type=float, metavar="P", help="probability of the original caption, 0-1")
    need.add_argument("--samples-seen", type=positive, metavar="N", help="samples to see in all")
    _add_encoders(dit)
    other = dit.add_argument_group("what is to be otherwise than in the recipe")
    other.add_argument("--objective", metavar="O", help="epsilon, epsilon-fixed, flow or flow-logit-normal")
    other.add_argument("--batch-size", type=positive, metavar="N", help="samples a step")
    other.add_argument("--lr", type=positive_number, metavar="LR", help="learning rate")
    add_captions(dit, dropout=None)
    add_facts(dit)
    for add in (add_loading, add_engine, _add_eval, add_dry_run):
        add(dit)
    return dit


def add_vae(commands: Any) -> argparse.ArgumentParser:
    """Add the command that trains a small auto-encoder."""
    vae = add_command(commands, "vae", "train a small auto-encoder for images such as scenes", VAE_EXAMPLES)
    need = add_need(vae, "folder of shards, scenes or prepared; pattern of files or URLs")
    need.add_argument("--recipe", default="vae-scenes", metavar="R", help="vae-scenes (default), or recipe.json")
    need.add_argument("--samples-seen", type=positive, default=40_000, metavar="N", help="images to see in all (default 40000)")
    vae.set_defaults(p_original=1.0, fact=[])
    add_captions(vae, dropout=0.0)
    for add in (add_loading, add_engine):
        add(vae)
    return vae


def add_precompute(commands: Any) -> argparse.ArgumentParser:
    """Add the command that encodes a data set once."""
    pre = add_command(commands, "precompute", "encode images and captions once, to train from", PRECOMPUTE_EXAMPLES)
    need = add_need(pre, "folder of shards, scenes or prepared; pattern of files or URLs")
    need.add_argument("--recipe", required=True, metavar="R", help="the recipe that is to be trained: its image size counts")
    _add_encoders(pre)
    need.add_argument("--encode-batch", type=positive, default=64, metavar="N", help="images at a time (default 64)")
    need.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: a GPU if there is one")
    pre.set_defaults(p_original=0.5)
    add_captions(pre, dropout=0.0)
    add_loading(pre)
    return pre


def _add_encoders(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what stands in front of the network, and is not trained")
    group.add_argument("--autoencoder", metavar="A", help="AutoencoderKL: of recap-train vae, a folder, or ORG/NAME on the hub")
    group.add_argument(
        "--text-encoder", metavar="T", help="a CLIP of recap-train clip; CLIP, SigLIP or T5 by folder or ORG/NAME"
    )


def _add_eval(dit: argparse.ArgumentParser) -> None:
    after = dit.add_argument_group("measuring it, afterwards and on the way")
    after.add_argument("--no-eval", action="store_true", help="do not measure the finished model")
    after.add_argument(
        "--eval-suite", metavar="S", help="paper, scenes or suite.toml (default: scenes if the data is, else paper)"
    )
    after.add_argument("--scorer", metavar="M", help="the CLIP that suite scenes measures with")
    after.add_argument(
        "--eval-data", type=as_path, metavar="DIR", help="data root or folder of scenes (default: as trained on)"
    )
    after.add_argument("--images", type=as_path, metavar="DIR", help="where its images go (default: OUT-images)")
    after.add_argument("--leaderboards", type=as_path, default=Path("leaderboards"), metavar="DIR", help="where results go")
    after.add_argument("--eval-every", type=positive, metavar="N", help="measure the weights so far every N samples")
    after.add_argument(
        "--eval-limit",
        type=positive_or_all,
        default=64,
        metavar="N",
        help="on the way: the first N prompts, or all (64)",
    )
    after.add_argument("--keep-evals", action="store_true", help="keep the weights that were measured, in OUT/evals")
