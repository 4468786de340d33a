"""Models that come with the package: a few megabytes of weights, made by a command that stands in their artifact.json."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent


def shipped_models() -> list[str]:
    """Return their names."""
    return sorted(path.parent.name for path in FOLDER.glob("*/artifact.json"))


def place_of(name: str) -> Path:
    """Return the folder that a model's name stands for: that of a shipped one, else the name as a path."""
    if name in shipped_models() and not Path(name).exists():
        return FOLDER / name
    return Path(name).expanduser()
