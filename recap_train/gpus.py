"""What GPUs can do at best: one table for estimates before a run and for the MFU of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recap_eval.files import read_json

TABLE = Path(__file__).with_name("gpus.json")
PEAKS = {"bf16": "tflops", "fp32": "tflops_fp32"}


def gpus() -> dict[str, dict[str, Any]]:
    """Return peak and memory by name of GPU."""
    return dict(read_json(TABLE)["gpus"])


def peak_of(device: str, precision: str) -> float | None:
    """Return a device's peak in 10^12 operations a second, or None if it is not in the table.

    Args:
        device: What the driver calls it, such as "NVIDIA H100 80GB HBM3".
        precision: "bf16" or "fp32".
    """
    found = next((facts for facts in gpus().values() if facts["match"] in device), None)
    return None if found is None else float(found[PEAKS[precision]])
