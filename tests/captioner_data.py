"""Small data sets in the layouts that captioners are trained on, and a tiny LLaVA that speaks LLaMA-3's conversation."""

from __future__ import annotations

import io
import json
from pathlib import Path

from PIL import Image

PROMPT = "What is shown?"


def png(number: int, wide: int = 40, high: int = 30) -> bytes:
    """Return an image whose colours tell its number; wider than high, so that padding and cropping differ."""
    image = Image.new("RGB", (wide, high), (number * 37 % 256, number * 91 % 256, number * 53 % 256))
    image.paste((255, 255, 255), (0, 0, 4 + number % 8, high))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def write_images(folder: Path, count: int) -> list[str]:
    """Write images into folder/images; returns their paths below it."""
    places = [f"part/{number:03d}.png" for number in range(count)]
    for number, place in enumerate(places):
        path = folder / "images" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(number))
    return places


def write_json(path: Path, rows: list) -> Path:
    path.write_text(json.dumps(rows))
    return path


def said(number: int) -> str:
    return f"a card of number {number} in red and blue"


def make_pairs(folder: Path, count: int = 12) -> Path:
    """Write data as LLaVA-Pretrain has it."""
    rows = [
        {
            "id": place, "image": place,
            "conversations": [
                {"from": "human", "value": "Describe it shortly.\n<image>" if number % 2 else "<image>\nWrite a caption."},
                {"from": "gpt", "value": said(number)},
            ],
        }
        for number, place in enumerate(write_images(folder, count))
    ]  # fmt: skip
    return write_json(folder / "pairs.json", rows)


def make_mix(folder: Path, count: int = 12) -> Path:
    """Write data as LLaVA's mix has it: talks of several turns, every third without an image, one beginning with an answer."""
    rows = []
    for number, place in enumerate(write_images(folder, count)):
        mark = "" if number % 3 == 0 else "<image>\n"
        talk = [
            {"from": "human", "value": f"{mark}{PROMPT}"},
            {"from": "gpt", "value": said(number)},
            {"from": "human", "value": "And besides?" + " Tell me more." * number},
            {"from": "gpt", "value": f"nothing but {number}"},
        ]
        talk = [{"from": "gpt", "value": "Hello."}, *talk] if number == 3 else talk
        rows.append({"id": str(number), "conversations": talk} | ({"image": place} if mark else {}))
    return write_json(folder / "mix.json", rows)


def make_edits(folder: Path, count: int = 6) -> Path:
    """Write data as HQ-Edit has it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "input": said(number), "input_image": {"bytes": png(number), "path": None}, "edit": "paint it",
            "inverse_edit": "undo it", "output": said(100 + number), "output_image": {"bytes": png(100 + number), "path": None},
        }
        for number in range(count)
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), folder / "train-00000.parquet")
    return folder / "train-00000.parquet"


def make_speaker(folder: Path, seed: int = 0) -> Path:
    """Save a LLaVA of some thousand random weights in the layout of transformers, with a tokenizer of its own."""
    import dataclasses

    from recap_eval.models.llava.tokenizer import read_template
    from recap_train.captioner.recipe import load_captioner_recipe
    from recap_train.captioner.saving import save_llava
    from recap_train.captioner.small import build_model, build_processor
    from recap_train.captioner.tokens import make_tokenizer

    recipe = load_captioner_recipe("scenes-tiny")
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = recipe.model_cfg | {"vision": sizes | {"patch_size": 16}, "text": sizes}
    recipe = dataclasses.replace(recipe, model_cfg=config)
    texts = [said(number) for number in range(4)] + [PROMPT]
    tokenizer = make_tokenizer(texts * 2, recipe.model_cfg["prompt"], 420, read_template("llama-3")[1])
    save_llava(folder, build_model(recipe, tokenizer, seed), build_processor(recipe, tokenizer))
    return folder
