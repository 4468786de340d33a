"""A part that takes its time, for workers on a cluster; what it was asked is written down, so that a test can follow."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path


def take(log: Path, seconds: float, fatal: int, part: int) -> tuple[int, int]:
    with (log / f"{part}-{os.getpid()}").open("w"):
        pass
    if part == fatal:
        os._exit(1)
    time.sleep(seconds)
    return part, os.getpid()


def slow(log: Path, seconds: float = 1.0, fatal: int = -1):
    return partial(take, log, seconds, fatal)
