"""Where data sets lie when no folder is named."""

from __future__ import annotations

import os
from pathlib import Path


def is_chosen() -> bool:
    """Tell whether the user chose a data root by $RECAP_DATA."""
    return bool(os.environ.get("RECAP_DATA"))


def default_root() -> Path:
    """Return the data root: $RECAP_DATA, or a folder in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("RECAP_DATA") or cache / "recap").expanduser()
