"""The command `recap-caption`. Standard library only at import."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

from recap_eval import __version__
from recap_eval.console import main_guard

COMMANDS = (  # modules of recap_caption.commands, in the order of --help
    "run", "status", "retry", "verify", "estimate", "prompts", "convert", "import_", "export",
)  # fmt: skip


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = argparse.ArgumentParser(
        "recap-caption", description="Recaption image-text data.",
        epilog="Each command has examples: recap-caption run --help",
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"recap {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        import_module(f"recap_caption.commands.{name}").add(commands)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = build_parser()
    parser.set_defaults(words=sys.argv[1:] if argv is None else argv)
    return main_guard(parser, argv)


if __name__ == "__main__":
    sys.exit(main())
