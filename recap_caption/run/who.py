"""Which process did something, and whether it still runs: told on its own machine only, by number and start."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

PROC = Path("/proc")
DEAD = ("Z", "X")  # states of a process that has ended and that nobody has asked for yet


def this_process() -> dict[str, Any]:
    """Return what tells this process from all others."""
    return {"machine": machine(), "pid": os.getpid(), "started": _start_of(os.getpid())}


def machine() -> str | None:
    """Return what tells where process numbers mean the same: the running system, and the container on it."""
    try:
        boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{(PROC / 'self/ns/pid').readlink()}"
    except OSError:
        return None


def _start_of(pid: int) -> str | None:
    """Return when a process began, in the system's own ticks: numbers of processes come again. None if it runs no more."""
    try:
        facts = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        return None if facts[0] in DEAD else facts[19]
    except (OSError, IndexError):
        return None


def is_near(process: dict[str, Any]) -> bool:
    """Return whether a process ran on this machine."""
    return process.get("machine") is not None and process["machine"] == machine()


def is_dead(process: dict[str, Any]) -> bool:
    """Return whether a process ran on this machine and runs no more; of other machines' nobody knows."""
    return is_near(process) and _start_of(int(process["pid"])) != process.get("started")
