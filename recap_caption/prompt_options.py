"""The options that say what a captioner is asked. Standard library only at import."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from recap_eval.console import positive
from recap_eval.errors import UserError

if TYPE_CHECKING:
    from recap_caption.prompts import Prompt
    from recap_caption.prompts.files import Entry

DEFAULT = "paper"
CHANGES = ("max_new_tokens", "temperature", "top_k", "top_p")  # options that take the place of a prompt's own sampling


def add_prompt(parser: argparse.ArgumentParser) -> None:
    """Add what is asked, and how tokens are chosen."""
    group = parser.add_argument_group("prompt", "Its name stands in every row. All of them: recap-caption prompts")
    group.add_argument(
        "--prompt", action="append", metavar="P",
        help="paper (default), conditioned, diverse, fusion, or FILE.toml; may be given several times",
    )  # fmt: skip
    group.add_argument("--samples", type=positive, metavar="K", help="captions an image by each prompt (default: the prompt's)")
    group.add_argument("--max-new-tokens", type=positive, metavar="N", help="cut captions there (default: the prompt's, 128)")
    group.add_argument("--temperature", type=float, metavar="T", help="0 is greedy (default: the prompt's)")
    group.add_argument("--top-k", type=positive, metavar="K", help="draw among the K likeliest tokens (default: the prompt's)")
    group.add_argument("--top-p", type=float, metavar="P", help="draw among the likeliest tokens of this share (likewise)")


def prompts_of(args: argparse.Namespace) -> list[Prompt]:
    """Return the prompts that the options name; one whose sampling they change has an id of its own.

    Raises:
        UserError: An unknown name, the same prompt twice, or sampling that makes no sense.
        DataError: A prompt's file is damaged.
    """
    from recap_caption.prompts.files import find_prompt

    prompts = [_changed(find_prompt(word), args) for word in args.prompt or [DEFAULT]]
    ids = [prompt.id for prompt in prompts]
    if twice := next((id for id in ids if ids.count(id) > 1), None):
        raise UserError(f"The prompt {twice} is given twice.", "Several captions by one prompt: --samples K")
    return prompts


def _changed(entry: Entry, args: argparse.Namespace) -> Prompt:
    from recap_caption.prompts.files import checked, named

    changes = {name: value for name in CHANGES if (value := getattr(args, name)) is not None}
    own = entry.prompt
    sampling = replace(own.sampling, **changes)
    if sampling.is_greedy and not own.sampling.is_greedy:  # --temperature 0: what only makes sense with sampling goes
        sampling = replace(sampling, top_k=args.top_k, top_p=args.top_p)
    prompt = replace(own, sampling=sampling, samples=args.samples or own.samples)
    checked(prompt, "The command line")
    return prompt if prompt.digest == own.digest else named(prompt, entry.stem)
