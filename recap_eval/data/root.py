"""Where data sets lie when no folder is named."""

from __future__ import annotations

import os
from pathlib import Path

from recap_eval.errors import DataError


def is_chosen() -> bool:
    """Tell whether the user chose a data root by $RECAP_DATA."""
    return bool(os.environ.get("RECAP_DATA"))


def default_cache() -> Path:
    """Return where embeddings and digests are kept between runs: $RECAP_CACHE, or a folder in the user's cache."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("RECAP_CACHE") or home / "recap").expanduser()


def default_root() -> Path:
    """Return the data root: $RECAP_DATA, or the cache."""
    return Path(os.environ["RECAP_DATA"]).expanduser() if is_chosen() else default_cache()


def data_root(given: Path | None) -> Path:
    """Return the data root that a user names, or the default one, which need not be there.

    Raises:
        DataError: There is nothing at the path that the user names.
    """
    if given is not None and not given.exists():
        raise DataError(
            f"{given} does not exist.", "Check the path: --data DIR; scenes can be made with: recap-eval scenes OUT"
        )
    return given or default_root()
