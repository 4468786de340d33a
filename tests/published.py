"""Published caption sets and downloads of them, small: both generations of Recap-DataComp-1B, Recap-COCO-30K, shards."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

from support import write_tar

CONDITIONED = "re_caption_condition_diverse_topk"


def picture(number: int, form: str = "JPEG") -> bytes:
    """An image that no other number has."""
    from PIL import Image

    buffer = io.BytesIO()
    colour = (number % 32 * 8, number // 32 * 8, 99)  # far enough apart for JPEG
    Image.new("RGB", (8, 8), colour).save(buffer, form)
    return buffer.getvalue()


def digest(number: int) -> str:
    return hashlib.sha256(picture(number)).hexdigest()


def row(number: int, **changes) -> dict:
    """A row of the first generation."""
    known = {
        "url": f"http://host/{number}.jpg", "re_caption": f"A model's words about {number}.", "org_caption": f"alt {number}",
        "sha256": digest(number), "key": f"9{number:08d}", "re_clip_score": None, "org_clip_score": number / 10,
        "re_length": 5, "org_length": 2, "re_gpt4v_score": None, "org_gpt4v_score": 4,
    }  # fmt: skip
    return known | changes


def newer(number: int, **changes) -> dict:
    """A row of the second generation."""
    extra = {CONDITIONED: f"Words about alt {number}.", "re_condition_length": 4}
    return row(number) | extra | changes


def write_rows(path: Path, rows: list[dict], **options) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {"re_clip_score": pa.float64(), "org_clip_score": pa.float64(), "re_gpt4v_score": pa.int64()}
    names = list(rows[0])
    columns = [pa.array([one[name] for one in rows], kinds.get(name)) for name in names]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns, names), path, **options)
    return path


def sample(number: int, key: str | None = None, **changes) -> dict[str, bytes]:
    """The members of a downloaded image, as img2dataset writes them by the authors' recipe."""
    key = key or f"{number:09d}"
    meta = {"key": key, "url": f"http://host/{number}.jpg", "sha256": digest(number), "org_caption": f"alt {number}"} | changes
    meta = {name: value for name, value in meta.items() if value != ""}
    text = f"A model's words about {number}.".encode()
    return {f"{key}.jpg": picture(number), f"{key}.txt": text, f"{key}.json": json.dumps(meta).encode()}


def download(folder: Path, *shards: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, members in enumerate(shards):
        write_tar(folder / f"{number:05d}.tar", members)
    return folder


def coco(path: Path, n: int) -> Path:
    """Recap-COCO-30K as published: image bytes, one caption, one recaption."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    images = [{"bytes": picture(number), "path": f"{number}.jpg"} for number in range(n)]
    table = pa.table({
        "image_id": list(range(100, 100 + n)), "coco_url": [f"http://coco/{number}.jpg" for number in range(n)],
        "image": images, "caption": [f"alt {number}" for number in range(n)],
        "recaption": [f"A model's words about {number}." for number in range(n)],
    })  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=4)
    return path
