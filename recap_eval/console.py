"""What all our commands share: types of arguments, common flags, and errors told in two lines. Standard library only."""

from __future__ import annotations

import argparse
import math
import os
import sys
from pathlib import Path
from typing import Any

from recap_eval.errors import UserError

LIVE = "RECAP_LIVE"  # set by a study for a command whose log it shows in a terminal as it grows


def as_path(text: str) -> Path:
    """Return a path, "~" expanded; an empty one is an error."""
    if not text:
        raise argparse.ArgumentTypeError("the path is empty")
    return Path(text).expanduser()


def positive(text: str) -> int:
    """Return an integer of at least 1; "60_000" and "6e4" are understood."""
    try:
        number = int(text) if text.replace("_", "").isdigit() else int(float(text))
        if number != float(text):
            raise ValueError
    except (ValueError, OverflowError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from error
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is less than 1")
    return number


def positive_or_all(text: str) -> int | None:
    """Return a number of items as `positive` does, or None for "all"."""
    return None if text == "all" else positive(text)


def positive_number(text: str) -> float:
    """Return a finite number above 0."""
    try:
        number = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from error
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number


def fact(text: str) -> tuple[str, float | str]:
    """Return NAME=VALUE as both, the value as a number where it is one."""
    name, sign, value = text.partition("=")
    if not (name.isidentifier() and sign and value):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE, such as alt_noise=0.4")
    try:
        number = float(value)
    except ValueError:
        return name, value
    return name, number if math.isfinite(number) else value


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add the flags that every command has."""
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON, for machines")


def add_command(commands: Any, name: str, help: str, examples: str = "") -> argparse.ArgumentParser:
    """Add a command with its examples, shown as they are written, and the flags that every command has."""
    raw = argparse.RawDescriptionHelpFormatter
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=help, description=help, epilog=examples, formatter_class=raw
    )
    add_common(parser)
    return parser


def add_facts(parser: argparse.ArgumentParser) -> None:
    """Add what a user says of the data."""
    group = parser.add_argument_group("what is to stand beside the results")
    group.add_argument(
        "--fact", type=fact, action="append", default=[], metavar="NAME=VALUE", help="of the data: boards may ask for it"
    )


def warn(text: str) -> None:
    """Tell something that the user should know and that stops nothing."""
    print(f"warning: {text}", file=sys.stderr)


def note(text: str) -> None:
    """Tell what is about to happen."""
    print(text, file=sys.stderr)


def progress_bar(total: int, what: str, unit: str, **options: Any) -> Any:
    """Return a progress bar with rate and remaining time on standard error.

    In a terminal it is redrawn twice a second and vanishes when done; in a log it adds a line every ten seconds at most.
    """
    from tqdm import tqdm

    terminal = sys.stderr.isatty() or LIVE in os.environ
    pace = {"mininterval": 0.5, "leave": False} if terminal else {"mininterval": 10.0, "maxinterval": 30.0, "leave": False}
    return tqdm(total=total, desc=what, unit=unit, **(pace | {"disable": total == 0} | options))


def main_guard(parser: argparse.ArgumentParser, argv: list[str] | None) -> int:
    """Parse and run; tell a user's error in two lines, without a traceback.

    Returns:
        0 if all went well, 1 if what was asked failed, 2 for a wrong request, 130 after Ctrl-C.
    """
    args = parser.parse_args(argv)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        code: int = args.run(args)
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {error.what}\n       {error.hint}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("\nstopped; what was finished is kept.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code
