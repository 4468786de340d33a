"""From what a user types to a text-to-image model."""

from __future__ import annotations

from pathlib import Path

from recap_eval.generate.base import ImageModel, Running, Sampling


def load(spec: str, sampling: Sampling, running: Running) -> ImageModel:
    """Return a text-to-image model; weights are loaded when the first image is asked for.

    Args:
        spec: A pipeline's folder, ORG/NAME on the hub, or MODULE:ATTR, one's own class.
        sampling: How to sample.
        running: Where to run.

    Raises:
        UserError: Unknown name, or settings that do not fit.
        DataError: Files are missing, damaged, or cannot be loaded safely; the hub cannot be reached.
    """
    if ":" in spec and not Path(spec).expanduser().exists():
        from recap_eval.generate import own

        return own.load(spec, sampling, running)
    from recap_eval.generate.pipeline import DiffusersModel
    from recap_eval.generate.pipeline_files import find_pipeline

    return DiffusersModel(find_pipeline(spec), sampling, running)
