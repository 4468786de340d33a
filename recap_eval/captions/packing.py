"""Arrays in JSON: the states of counting are kept in files of plain JSON, so that reading one runs nothing."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np


def pack(array: np.ndarray) -> dict[str, Any]:
    """Return a one-dimensional array as JSON."""
    return {"dtype": array.dtype.str, "base64": base64.b64encode(array.tobytes()).decode("ascii")}


def unpack(record: dict[str, Any]) -> np.ndarray:
    """Return the array that `pack` was given."""
    return np.frombuffer(base64.b64decode(record["base64"]), dtype=np.dtype(record["dtype"])).copy()
