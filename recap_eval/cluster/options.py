"""The words of a run on a cluster. Standard library only at import."""

from __future__ import annotations

import argparse

from recap_eval.console import positive


def add_cluster(parser: argparse.ArgumentParser, part: str) -> argparse._ArgumentGroup:
    """Add the options; returns their group.

    Args:
        parser: The command's.
        part: What one worker does at a time, such as "file".
    """
    group = parser.add_argument_group("on a cluster (docs/scale.md)")
    group.add_argument(
        "--ray", metavar="ADDRESS", help=f"{part} by {part} on a Ray cluster: auto, HOST:PORT, or local for this machine"
    )
    group.add_argument(
        "--ray-workers", type=positive, metavar="N", help="how many at once (default: as many as the cluster has room for)"
    )
    return group
