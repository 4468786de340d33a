"""A LLaVA saved as a folder that transformers loads, quietly."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recap_eval.artifact import NAME
from recap_eval.errors import DataError

SKIPPED = {NAME, "log.jsonl"}


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keep transformers from showing bars of its own for as long as the block lasts."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def save_llava(folder: Path, model: Any, processor: Any, dtype: str = "float32") -> list[str]:
    """Save model and processor; returns the names of the files.

    Args:
        folder: Where to.
        model: transformers' LLaVA.
        processor: Its processor.
        dtype: The type that its weights are saved in.

    Raises:
        DataError: The disk is full.
    """
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    try:
        with quietly():
            model.to(getattr(torch, dtype)).save_pretrained(folder)
            processor.save_pretrained(folder)
    except (OSError, RuntimeError) as error:
        line = str(error).splitlines()[0]
        raise DataError(f"{folder} cannot be written ({line}).", "Free some space and give the same command again.") from error
    for path in folder.glob("*.safetensors"):
        path.chmod(0o644)  # written for its owner only
    return sorted(path.name for path in folder.iterdir() if path.is_file() and path.name not in SKIPPED and _ours(path.name))


def _ours(name: str) -> bool:
    return name.startswith(("model", "config", "generation_", "processor", "preprocessor", "tokenizer", "special_", "chat_"))
