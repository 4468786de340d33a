"""`recap-eval report`: render boards, or check that they are up to date."""

from __future__ import annotations

import argparse
import json


def render_boards(args: argparse.Namespace) -> int:
    """Render one board or all, or check them.

    Returns:
        0, or 1 if `--check` finds a difference.
    """
    from recap_eval.report.render import board_names, check_board, render_board

    names = [args.board] if args.board else board_names(args.leaderboards)
    if args.check:
        drifts = [drift for name in names if (drift := check_board(name, args.leaderboards, args.out))]
        print(
            json.dumps({"checked": names, "drift": drifts})
            if args.json
            else "\n".join(drifts) or f"up to date: {', '.join(names)}"
        )
        return 1 if drifts else 0
    for name in names:
        rendered = render_board(name, args.leaderboards, args.out)
        if args.json:
            print(json.dumps({"board": name, "files": [str(path) for path in rendered.files]}))
        else:
            print(f"{rendered.terminal}\n{', '.join(str(path) for path in rendered.files)}")
    return 0
