"""`recap-caption prompts`: what can be asked, word for word."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from recap_eval.console import add_command

if TYPE_CHECKING:
    from recap_caption.prompts.files import Entry

EXAMPLES = """examples:
  recap-caption prompts                     all that come with the package
  recap-caption prompts conditioned mine.toml

A file of your own has the same form: docs/engines.md shows it."""


def add(commands: Any) -> None:
    """Add the command."""
    parser = add_command(commands, "prompts", "show prompts word for word, with their sampling and source", EXAMPLES)
    parser.add_argument("names", nargs="*", metavar="P", help="names, or files FILE.toml (default: all that are shipped)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Show prompts."""
    from recap_caption.prompts.files import find_prompt, shipped

    entries = [find_prompt(name) for name in args.names or shipped()]
    if args.json:
        print(json.dumps([asdict(entry.prompt) | {"about": entry.about, "source": entry.source} for entry in entries]))
        return 0
    print("\n\n".join("\n".join(lines(entry)) for entry in entries))
    return 0


def lines(entry: Entry) -> list[str]:
    """Return a prompt in words."""
    prompt, sampling = entry.prompt, entry.prompt.sampling
    drawn = [f"temperature {sampling.temperature:g}"]
    drawn += [f"{name} {value:g}" for name, value in (("top-k", sampling.top_k), ("top-p", sampling.top_p)) if value]
    chosen = "greedy" if sampling.is_greedy else ", ".join(drawn)
    several = f", {prompt.samples} captions an image" if prompt.samples > 1 else ""
    found = [f"{prompt.id}: {entry.about}".rstrip(": ")]
    found += [f"  system   {prompt.system}"] if prompt.system else []
    found += [f"  {name:8} {line}" for name, line in zip(["text"] + [""] * 99, prompt.text.splitlines(), strict=False)]
    found += [f"  without  {prompt.without}"] if prompt.without else []
    found += [f"  tokens   at most {sampling.max_new_tokens}, {chosen}{several}"]
    return found + ([f"  source   {entry.source}"] if entry.source else [])
