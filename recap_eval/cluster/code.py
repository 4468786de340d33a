"""Which code a machine would run: parts of a run that were computed by different code do not add up."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from recap_eval import __version__

PACKAGES = ("numpy", "pyarrow", "tokenizers", "ftfy", "pillow", "torch", "transformers")  # what figures depend on
OURS = ("recap_eval", "recap_caption")


@cache
def code_here() -> dict[str, str]:
    """Return the version and digest of recap's code in this process, and versions of the packages that figures depend on.

    A build of a package for other hardware ("2.15.0+cpu") is the same version.
    """
    found = {"recap": f"{__version__} ({_digest(Path(__file__).resolve().parents[2])[:12]})"}
    for name in PACKAGES:
        try:
            found[name] = version(name).partition("+")[0]
        except PackageNotFoundError:
            found[name] = "none"
    return found


def _digest(root: Path) -> str:
    state = hashlib.sha256()
    for path in sorted(path for package in OURS for path in (root / package).rglob("*.py")):
        state.update(f"{path.relative_to(root).as_posix()}\0".encode())
        state.update(hashlib.sha256(path.read_bytes()).digest())
    return state.hexdigest()


def difference(here: dict[str, str], there: dict[str, str]) -> str | None:
    """Return the first thing in which two machines differ: "numpy 2.1.0, here 2.4.6"; None if they do not."""
    for name, ours in here.items():
        theirs = there.get(name, "none")
        if theirs != ours:
            return f"{name} {theirs}, here {ours}"
    return None
