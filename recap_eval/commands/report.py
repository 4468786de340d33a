"""`recap-eval report`: render boards, or check that they are up to date."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recap_eval.leaderboard import Tables
    from recap_eval.report.render import Rendered


def render_boards(args: argparse.Namespace) -> int:
    """Render boards, or check them; of several, those without a row are passed over, and it says so.

    Returns:
        0, or 1 if `--check` finds a difference.
    """
    from recap_eval.leaderboard import Tables
    from recap_eval.report.painting import Painter
    from recap_eval.report.render import EmptyBoard, board_names, check_board, render_board

    tables = Tables(args.leaderboards)
    names = args.boards or board_names(args.leaderboards)
    done, drifts = [], []
    with Painter(many=len(names) > 1) as painter:
        for name in names:
            try:
                if args.check:
                    drift = check_board(name, args.leaderboards, args.out, tables)
                    drifts += [drift] if drift else []
                else:
                    _show(args, name, render_board(name, args.leaderboards, args.out, tables, painter))
                done.append(name)
            except EmptyBoard as error:
                stale = args.out / f"{name}.md"
                if len(names) == 1 or (args.check and stale.is_file()):
                    raise
                print(f"{name}: passed over. {error.what}", file=sys.stderr)
    if not args.boards and done:
        drifts += _index(args, tables)
    if args.check:
        found = {"checked": done, "drift": drifts}
        print(json.dumps(found) if args.json else "\n".join(drifts) or f"up to date: {', '.join(done)}")
    return 1 if drifts else 0


def _index(args: argparse.Namespace, tables: Tables) -> list[str]:
    """Render or check what follows from all boards together; returns what drifted."""
    from recap_eval.report.render import check_index, render_index

    if args.check:
        drift = check_index(args.leaderboards, args.out, tables)
        return [drift] if drift else []
    files = [str(path) for path in render_index(args.leaderboards, args.out, tables)]
    print(json.dumps({"board": None, "files": files}) if args.json else ", ".join(files))
    return []


def _show(args: argparse.Namespace, name: str, rendered: Rendered) -> None:
    """Print a board that was asked for by name as a table, and of all boards a line each."""
    files = [str(path) for path in rendered.files]
    if args.json:
        print(json.dumps({"board": name, "files": files}))
    elif args.boards:
        print(f"{rendered.terminal}\n{', '.join(files)}\n")
    else:
        print(f"{name}: {files[0]} and {len(files) - 1} files more")
