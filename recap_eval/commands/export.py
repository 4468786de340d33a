"""`recap-eval export`: boards and models in the forms of others."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from recap_eval.errors import UserError

if TYPE_CHECKING:
    from recap_eval.table import Table


def export(args: argparse.Namespace) -> int:
    """Write a board as csv, parquet or LaTeX by the file's ending, or a model's results as a model card's head.

    Raises:
        UserError: An unknown board or model, or an ending that is none of ours.
        DataError: There is no result, or a record is damaged.
    """
    if args.what == "model":
        path, content = args.to, _card(args)
    else:
        path, content = args.to, _board(args)
    if path is None:
        sys.stdout.write(content.decode())
        return 0
    from recap_eval.files import replacing

    with replacing(path) as part:
        part.write_bytes(content)
    print(json.dumps({"file": str(path)}) if args.json else f"Written: {path}", file=sys.stdout if args.json else sys.stderr)
    return 0


def _card(args: argparse.Namespace) -> bytes:
    from recap_eval.report.card import card
    from recap_eval.subjects import find_subjects

    (subject,) = find_subjects([args.name], args.leaderboards)
    return card(subject).encode()


def _board(args: argparse.Namespace) -> bytes:
    from recap_eval.leaderboard import build_table

    ending = ".csv" if args.to is None else args.to.suffix
    if ending not in FORMS:
        raise UserError(f"{args.to} has none of the endings that are written.", f"Endings: {', '.join(FORMS)}.")
    return FORMS[ending](build_table(args.name, args.leaderboards))


def _csv(table: Table) -> bytes:
    from recap_eval.report.text import csv

    return csv(table).encode()


def _tex(table: Table) -> bytes:
    from recap_eval.report.latex import latex

    return latex(table).encode()


def _parquet(table: Table) -> bytes:
    import io

    import pandas as pd

    from recap_eval.report.text import records

    buffer = io.BytesIO()
    pd.DataFrame(records(table)).convert_dtypes().to_parquet(buffer, index=False)
    return buffer.getvalue()


FORMS: dict[str, Callable[[Table], bytes]] = {".csv": _csv, ".parquet": _parquet, ".tex": _tex}
KINDS = ("board", "model")


def to_path(text: str) -> Path:
    """Return a path whose folder is there."""
    path = Path(text).expanduser()
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{path.parent} is no folder")
    return path
