"""Where a run can go on: one file, replaced atomically, that holds weights, optimiser and one integer.

The plan is stateless, so the integer (steps done) says all about data, coins and crops.
"""

from __future__ import annotations

import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

from recap_eval.artifact import STATE
from recap_eval.errors import DataError, UserError
from recap_eval.files import replacing

NAME = STATE
KEPT = "checkpoints"  # folder of those that stay
FORMAT = 2  # of the state; 1 held the optimiser by number


def save(folder: Path, state: dict[str, Any]) -> None:
    """Write a run's state; what was saved before stays until the new state is whole.

    Raises:
        DataError: It cannot be written, as on a full disk.
    """
    import torch

    try:
        with replacing(folder / NAME) as part:
            torch.save(state, part)
    except RuntimeError as error:  # what torch's writer makes of a failed write
        line = str(error).splitlines()[0]
        raise DataError(f"Cannot write {folder / NAME}: {line}.", "Free some space and give the same command again.") from error


def keep(folder: Path, samples: int) -> Path:
    """Keep a copy of the run's state, named by the samples seen; returns its path.

    Raises:
        DataError: It cannot be written, as on a full disk.
    """
    path = folder / KEPT / f"{samples:012d}.pt"
    with replacing(path) as part:
        shutil.copyfile(folder / NAME, part)
    return path


def load(folder: Path, identity: str) -> dict[str, Any] | None:
    """Return the state saved in a folder, or None.

    Args:
        folder: The run's folder.
        identity: Digest of everything the run depends on.

    Raises:
        UserError: The state is another run's.
        DataError: The file is damaged.
    """
    import torch

    path = folder / NAME
    if not path.is_file():
        return None
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path} is damaged (cut short, or not a checkpoint).", "Delete it to start the run anew.")
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path} is damaged ({line}).", "Delete it to start the run anew.") from error
    if state.get("identity") != identity:
        raise UserError(f"{folder} holds an unfinished run with other settings.", "Choose another --out, or delete it.")
    if state.get("format") != FORMAT:
        raise UserError(f"{path} was saved by another version of recap.", "Delete it to start the run anew.")
    return state
