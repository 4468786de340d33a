"""The command `recap-caption`. Standard library only at import."""

from __future__ import annotations

import argparse
import sys

from recap_eval import __version__
from recap_eval.console import main_guard
from recap_eval.errors import UserError


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = argparse.ArgumentParser(
        "recap-caption", description="Recaption image-text data. No command of it has been built yet; see docs/architecture.md."
    )
    parser.add_argument("--version", action="version", version=f"recap {__version__}")
    parser.set_defaults(run=nothing_yet)
    return parser


def nothing_yet(args: argparse.Namespace) -> int:
    """Say honestly that there is nothing to run.

    Raises:
        UserError: Always.
    """
    raise UserError("recap-caption has no command yet.", "Scenes come with recaptions: recap-eval scenes --help")


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return main_guard(build_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
