"""Captions by a model that is being trained or was: greedy, in batches, for measuring it. `recap-caption` is for all else."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from recap_eval.data.scenes.locate import scenes_folder
from recap_eval.data.shards import Sample, read_shards
from recap_eval.files import replacing

BATCH = 128


def describe(model: Any, processor: Any, images: Sequence[bytes], prompt: str, most: int) -> list[str]:
    """Return a caption of each image.

    Args:
        model: A LLaVA of transformers', in evaluation mode.
        processor: Its processor.
        images: Encoded images.
        prompt: What it is asked.
        most: Tokens of a caption at most.
    """
    import torch

    turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}
    text = processor.apply_chat_template([turn], add_generation_prompt=True, tokenize=False)
    told: list[str] = []
    for start in range(0, len(images), BATCH):
        pixels = [_opened(payload) for payload in images[start : start + BATCH]]
        inputs = processor(
            images=pixels, text=[text] * len(pixels), return_tensors="pt", padding=True, padding_side="left",
            add_special_tokens=False,
        ).to(model.device)  # fmt: skip
        with torch.inference_mode():
            ids = model.generate(**inputs, do_sample=False, max_new_tokens=most)
        answers = processor.tokenizer.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        told += [answer.strip() for answer in answers]
    return told


def _opened(payload: bytes) -> Any:
    from PIL import Image

    return Image.open(io.BytesIO(payload)).convert("RGB")


def scene_samples(data: Path, split: str, most: int | None = None) -> list[Sample]:
    """Return the first samples of a split of scenes."""
    return read_shards(scenes_folder(data) / split)[:most]


def write_captions(path: Path, keys: Iterable[str], captions: Iterable[str]) -> None:
    """Write captions as a parquet of `key` and `re_caption`, atomically."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with replacing(path) as part:
        pq.write_table(pa.table({"key": list(keys), "re_caption": list(captions)}), part)
