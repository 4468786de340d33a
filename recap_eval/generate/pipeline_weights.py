"""Loads a pipeline's weights, and sees to it that none are missing.

diffusers and transformers only log a weight that a file lacks, and go on with whatever lies in its memory; such a pipeline
draws images, and wrong ones. So each network is loaded with the library's own account of what it found.
"""

from __future__ import annotations

import warnings
from typing import Any

from recap_eval.errors import DataError
from recap_eval.generate.pipeline_files import PipelineFiles

DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
LIBRARIES = ("diffusers", "transformers")
HINT = "Get the model again, or save it again with the versions it was made with."


def load_pipeline(kind: Any, files: PipelineFiles, precision: str, given: dict[str, Any]) -> Any:
    """Load a pipeline.

    Args:
        kind: Its class.
        files: Its files.
        precision: Of its weights: "fp32", "bf16" or "fp16".
        given: Components that stand in for its own, and further options of loading.

    Raises:
        DataError: Files are damaged, do not fit each other, or lack weights; the message names them.
    """
    import torch
    from safetensors import SafetensorError

    _hush()
    failures = (OSError, ValueError, RuntimeError, TypeError, KeyError, AttributeError, ImportError, SafetensorError)
    options = {"use_safetensors": True, "torch_dtype": getattr(torch, DTYPES[precision])}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # `torch_dtype` is the name that all our versions know
            networks = {name: _load(files, name, options) for name in _networks(files) if name not in given}
            pipeline = kind.from_pretrained(files.folder, **options, **networks, **given)
    except failures as error:
        why = " ".join(str(error).split())[:300]
        raise DataError(f"{files.folder} cannot be loaded ({type(error).__name__}: {why}).", HINT) from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _networks(files: PipelineFiles) -> dict[str, Any]:
    """Return the classes of the components that have weights, by name."""
    from importlib import import_module

    from torch.nn import Module

    found = {}
    for name, value in files.index.items():
        if isinstance(value, list) and len(value) == 2 and value[0] in LIBRARIES and (files.folder / name).is_dir():
            kind = getattr(import_module(value[0]), str(value[1]), None)
            if isinstance(kind, type) and issubclass(kind, Module):
                found[name] = kind
    return found


def _load(files: PipelineFiles, name: str, options: dict[str, Any]) -> Any:
    network, account = _networks(files)[name].from_pretrained(
        files.folder, subfolder=name, output_loading_info=True, **options
    )  # fmt: skip
    if missing := sorted(account["missing_keys"]):
        raise DataError(f"{files.folder / name} lacks {len(missing):,} weights; the first: {missing[0]}.", HINT)
    return network


def _hush() -> None:
    """Silence what the libraries say at every batch: a line for each prompt that is cut (we count them), bars within ours."""
    import diffusers
    import transformers

    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()
