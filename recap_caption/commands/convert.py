"""`recap-caption convert`: a checkpoint in LLaVA's original format → a folder that transformers and vLLM load."""

from __future__ import annotations

import argparse
import json
from typing import Any

from recap_eval.console import add_command, as_path

EXAMPLES = """examples:
  recap-caption convert tennant/llava-llama-3-8b-hqedit --out captioners/recap --check
  recap-caption convert checkpoints/mine --out captioners/mine --tokenizer meta-llama/Meta-Llama-3-8B-Instruct
  recap-caption convert checkpoints/mine --out captioners/mine --vision-tower clip-vit-large-patch14-336/
  recap-caption convert checkpoints/mine --out captioners/mine --chat-template llava-pp --tokenizer llama-3/
  vllm serve captioners/recap                              the layout "hub" is what vLLM reads

A checkpoint without tokenizer gets LLaMA-3-8B-Instruct's, which is gated on the hub: ask there for access, then `hf auth
login`, or name a folder. One without vision tower gets the CLIP that its config.json names. Weights that are missing, unknown
or of another shape are refused. --check holds the converted model's logits against those of a forward pass of the original,
written apart from transformers. See docs/exchange.md."""


def add(commands: Any) -> None:
    """Add the command."""
    parser = add_command(commands, "convert", "make an original LLaVA a folder that transformers and vLLM load", EXAMPLES)
    parser.add_argument("model", metavar="MODEL", help="folder of the checkpoint, or ORG/NAME on the hub")
    parser.add_argument("--out", type=as_path, required=True, metavar="DIR", help="the new folder; it comes into being whole")
    parser.add_argument("--tokenizer", metavar="T", help="folder or ORG/NAME (default: the checkpoint's, else LLaMA-3's)")
    parser.add_argument(
        "--chat-template", default="llama-3", metavar="NAME", help="llama-3 (default), llava-next, llava-pp, or a file of Jinja"
    )
    parser.add_argument("--vision-tower", metavar="CLIP", help="folder or ORG/NAME (default: the one that config.json names)")
    parser.add_argument(
        "--layout", choices=("hub", "transformers"), default="hub",
        help="names of the weights: hub (default; transformers 4 and 5, vLLM) or transformers 5's own",
    )  # fmt: skip
    parser.add_argument(
        "--check", action="store_true", help="compare logits with the original's, in fp32: 33 GB for 8 B weights"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Convert, and tell what came of it."""
    from recap_caption.convert.run import convert
    from recap_caption.convert.source import Conversion

    asked = Conversion(args.model, args.tokenizer, args.chat_template, args.vision_tower, args.layout)
    artifact, known = convert(asked, args.out, args.check)
    if args.json:
        print(json.dumps({"captioner": str(args.out), "converted_before": known, "made": artifact.made, "run": artifact.run}))
        return 0
    made = artifact.made
    words = "converted already" if known else f"converted in {artifact.run['seconds']} s"
    print(f"{args.out}: {made['from']}, {words}. {_vocabulary(made['vocabulary'])}")
    print(
        f"  tokenizer {made['tokenizer']}, chat template {made['chat_template']}, vision tower {_tower(made['vision_tower'])}"
    )
    if "check" in made:
        print(f"  {_checked(made['check'])}")
    return 0


def _vocabulary(facts: dict[str, Any]) -> str:
    added = f", with {' and '.join(facts['added'])} added" if facts["added"] else ""
    return f"{facts['checkpoint_rows']:,} tokens became {facts['rows']:,}{added}."


def _tower(facts: dict[str, Any]) -> str:
    return f"{facts['name']} ({'from the checkpoint' if 'weights' in facts else 'from its own files'})"


def _checked(facts: dict[str, Any]) -> str:
    from recap_caption.convert.check import Checked

    return Checked(**facts).sentence()
