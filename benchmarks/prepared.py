"""What a training sample costs from a prepared set, from shards, and what preparing costs once, in CPU milliseconds.

Photograph-like JPEGs of 256 px with a short and a long caption, prepared at 72 px, random resized crops (40-100 % of the area)
to 64 px, batches of 256, CLIP's own tokenizer. Time is that of the process on all its threads.

    python -m benchmarks.prepared [--images 4096] [--threads 1]
"""

from __future__ import annotations

import argparse
import io
import json
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import open_clip
import torch
from PIL import Image

from recap_eval.data.shard_set import open_shards
from recap_eval.data.shards import list_shards
from recap_train.captions import Captions, Roles, SampleTexts, read_captions
from recap_train.crops import Crop
from recap_train.loader import Batch, CaptionReader, Feed
from recap_train.mixing import Mix
from recap_train.plan import Plan
from recap_train.prepare import Preparation, prepare
from recap_train.prepared import PreparedFeed, TokenTable, open_prepared

BATCH, STORED, SIZE, MIN_AREA, SIDE = 256, 72, 64, 0.4, 256
ROLES = {"original": "txt", "recaption": "json:re_caption"}
LETTERS = list("aeiourst")


def jpeg(number: int) -> bytes:
    """Return a JPEG with the spectrum of a photograph: strong slow waves, weak fine grain."""
    draws = np.random.default_rng(number)
    layers = [draws.normal(0, 60 / 2**level, (4 * 2**level, 4 * 2**level, 3)) for level in range(6)]
    whole = sum(
        np.stack([np.asarray(Image.fromarray(layer[..., c].astype(np.float32)).resize((SIDE, SIDE))) for c in range(3)], 2)
        for layer in layers
    )
    stream = io.BytesIO()
    Image.fromarray(np.clip(whole + 128, 0, 255).astype(np.uint8)).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def write_shards(folder: Path, images: int) -> None:
    """Write image-text shards of 1000 with captions of 10 and 50 words."""
    folder.mkdir()
    for shard in range((images + 999) // 1000):
        with tarfile.open(folder / f"{shard:05d}.tar", "w") as tar:
            for number in range(shard * 1000, min(images, shard * 1000 + 1000)):
                draws = np.random.default_rng(number + 10**6)
                words = ["".join(draws.choice(LETTERS, size)) for size in draws.integers(1, 5, 60)]
                meta = {"re_caption": " ".join(words[:50])}
                texts = {"txt": " ".join([*words[50:], str(number)]).encode(), "json": json.dumps(meta).encode()}
                for ending, payload in {"jpg": jpeg(number), **texts}.items():
                    info = tarfile.TarInfo(f"{number:09d}.{ending}")
                    info.size = len(payload)
                    tar.addfile(info, io.BytesIO(payload))


def cost(batch: Callable[[int, int], Batch], start: int, samples: int) -> float:
    """Return CPU milliseconds a sample of the batches from a position on."""
    before = time.process_time()
    for first in range(start, start + samples, BATCH):
        batch(first, first + BATCH)
    return (time.process_time() - before) / samples * 1e3


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=4096)
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        write_shards(root / "shards", args.images)
        before = time.process_time()
        manifest, _ = prepare(Preparation(root / "shards", STORED, root / "prepared", 2, False))
        once = (time.process_time() - before) / args.images * 1e3
        found, prepared = open_shards(list_shards(root / "shards")), open_prepared(root / "prepared")
        captions: list[Captions] = read_captions(SampleTexts(found), ROLES)
        plan = Plan(found.keys, Mix(0.5), 0, found.sizes)
        tokenize = open_clip.get_tokenizer("ViT-B-32")
        feed = PreparedFeed(prepared, captions, plan, TokenTable(tokenize), Crop(SIZE, MIN_AREA))
        shards = Feed(CaptionReader(found, Roles(ROLES)), plan, tokenize, Crop(SIZE, MIN_AREA), False)
        epoch = args.images // BATCH * BATCH
        each = sum(facts["bytes"] for facts in manifest["files"].values()) / args.images
        print(f"{args.images} images, JPEG {SIDE} px -> {STORED} px -> {SIZE} px, batch {BATCH}, torch threads {args.threads}")
        tell("prepare, once", [once])
        print(f"  {each / 1024:.1f} KiB an image, {manifest['seconds']} s in all")
        tell("prepared, first sight of a text", [cost(feed.batch, 0, epoch)])
        for number in (1, 2, 3):
            cost(feed.batch, number * epoch, epoch)
        tell("prepared, later epochs", [cost(feed.batch, number * epoch, epoch) for number in range(4, 9)])
        few = min(epoch, 1024)
        tell("shards, whole JPEGs decoded", [cost(shards.batch, number * few, few) for number in range(3)])


def tell(what: str, rates: list[float]) -> None:
    """Print CPU milliseconds a sample."""
    print(f"{what:<32} {np.median(rates):6.3f} CPU-ms a sample  (min {min(rates):.3f}, max {max(rates):.3f})")


if __name__ == "__main__":
    main()
