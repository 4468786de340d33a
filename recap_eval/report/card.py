"""A model's results as the metadata of a hub model card: the `model-index` that huggingface.co reads.

The layout is that of the hub's documentation of model cards (model-index; huggingface_hub's `ModelCardData` reads it).
"""

from __future__ import annotations

from typing import Any

from recap_eval.results import Result
from recap_eval.subjects import Subject

TYPES = {"zero-shot": "zero-shot-image-classification", "retrieval": "image-text-retrieval", "pairs": "image-text-matching"}


def card(subject: Subject) -> str:
    """Return YAML for the head of a model's README.md.

    Args:
        subject: The model with its results; partial ones are left out.

    Returns:
        The text between two lines of three dashes.
    """
    import yaml

    results = [_entry(result) for result in subject.results if not result.record["partial"]]
    record = {"model-index": [{"name": subject.name, "results": results}]}
    return f"---\n{yaml.safe_dump(record, sort_keys=False, allow_unicode=True, width=120)}---\n"


def _entry(result: Result) -> dict[str, Any]:
    record = result.record
    task, data = record["task"], record["data"]
    kind = TYPES.get(task["kind"], task["kind"])
    return {
        "task": {"type": kind, "name": f"{task['name']} v{task['version']}"},
        "dataset": {
            "name": f"{data['name']} ({data['reference']})", "type": data["name"], "split": data["split"],
            "revision": data["fingerprint"],
        },
        "metrics": [_metric(name, cell) for name, cell in record["metrics"].items()],
    }  # fmt: skip


def _metric(name: str, cell: dict[str, Any]) -> dict[str, Any]:
    interval = {} if cell["ci95"] is None else {"args": {"ci95": [float(f"{end:.6g}") for end in cell["ci95"]], "n": cell["n"]}}
    return {"type": name, "value": float(f"{cell['value']:.6g}"), "name": name} | interval
