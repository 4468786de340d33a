"""The command `recap-caption`. Standard library only at import."""

from __future__ import annotations

import argparse
import sys

from recap_caption.commands import convert
from recap_eval import __version__
from recap_eval.console import main_guard

COMMANDS = (convert.add,)


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = argparse.ArgumentParser(
        "recap-caption",
        description="Recaption image-text data.",
        epilog="Each command has examples: recap-caption convert --help",
    )
    parser.add_argument("--version", action="version", version=f"recap {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in COMMANDS:
        add(commands)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return main_guard(build_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
