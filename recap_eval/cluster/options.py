"""The words of a run on a cluster. Standard library only at import."""

from __future__ import annotations

import argparse

from recap_eval.console import positive


def add_cluster(parser: argparse.ArgumentParser, does: str) -> argparse._ArgumentGroup:
    """Add the options; returns their group.

    Args:
        parser: The command's.
        does: What happens on the cluster, such as "count files".
    """
    group = parser.add_argument_group("on a cluster (docs/scale.md)")
    group.add_argument("--ray", metavar="ADDRESS", help=f"{does} on a Ray cluster: auto, HOST:PORT, or local for this machine")
    group.add_argument(
        "--ray-workers", type=positive, metavar="N", help="how many at once (default: as many as the cluster has room for)"
    )
    return group
