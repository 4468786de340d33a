"""What a figure was made with: command, code version, packages, device. Nothing that names a person's machine."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("recap", "torch", "torchvision", "open_clip_torch", "transformers", "diffusers", "numpy", "pillow")


def git_state() -> dict[str, Any] | None:
    """Return the commit of this code and whether it has uncommitted changes; None outside a git checkout."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True)
        status = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no", "--", "*.py", "*.toml", "*.json"],
            cwd=root, capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": commit.stdout.strip(), "dirty": bool(status.stdout.strip())}


def package_versions() -> dict[str, str]:
    """Return the installed versions of the packages that can change a figure."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def device_name() -> str:
    """Return the accelerator's name, or the processor's with its thread count."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{_processor()}, {torch.get_num_threads()} threads"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def command_line() -> str:
    """Return the command as typed; absolute paths are told relative to the working folder or to home."""
    here, home = os.getcwd() + os.sep, os.path.expanduser("~") + os.sep
    words = [word.replace(here, "").replace(home, "~/") for word in sys.argv[1:]]
    program = Path(sys.argv[0])
    name = program.parent.name.replace("_", "-") if program.suffix == ".py" else program.name
    return " ".join([name, *words])


def run_record(seconds: float) -> dict[str, Any]:
    """Return the `run` part of a result or an artifact."""
    return {
        "command": command_line(),
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "git": git_state(),
        "packages": package_versions(),
        "device": device_name(),
        "seconds": round(seconds, 3),
    }
