"""CPU milliseconds a sample that feeding a training step costs: ours and open_clip's pipeline, same shards, one run.

    python -m benchmarks.loader                   both, with their parts; two minutes

6,400 JPEGs of 256 px with two captions in 16 shards; random resized crop (40-100 % of the area) to 64 px, tokens, batches of
256 as they reach the step. CPU time of the process, all its threads, the least of three rounds that take turns: nothing waits,
so it says how many samples one core feeds. Theirs is the nearest that can be built without open_clip_train and its pin on an
old webdataset: a stream over the tars (tarfile in stream mode, members grouped by key, a shuffle buffer of 1,000), PIL decode,
`open_clip.image_transform(is_train=True)` with the same crop, its tokenizer a caption at a time, torch's collate. It lacks
webdataset's own overhead, and reads one caption where ours reads two, so the true one costs more.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.transform import AugmentationCfg
from PIL import Image

from recap_eval.data.shard_set import ShardSet, open_shards
from recap_eval.data.shards import list_shards
from recap_eval.hashrand import Draws
from recap_eval.models.pixels import decode_image
from recap_train.captions import Roles
from recap_train.crops import Crop, load_crop
from recap_train.loader import CaptionReader, Feed
from recap_train.mixing import Mix
from recap_train.plan import Plan
from recap_train.words import save_tokenizer, vocabulary
from recap_train.workers import batches

SHARDS, IN_SHARD, SIDE, SIZE, BATCH, ROUNDS = 16, 400, 256, 64, 256, 3
OURS, THEIRS = "ours, word tokenizer", "open_clip's pipeline, word tokenizer, KEY.txt only"
SENTENCE = "a man riding his red bike down the street next to some parked cars and trees while it rains"
WORDS = SENTENCE.split()


def photo(rng: np.random.Generator) -> bytes:
    """Return a JPEG with the spectrum of photographs (amplitude 1 / f), quality 90."""
    f = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None])
    f[0, 0] = np.inf
    waves = [
        np.fft.irfft2((rng.normal(size=f.shape) + 1j * rng.normal(size=f.shape)) / f**1.2, s=(SIDE, SIDE)) for _ in range(3)
    ]
    pixels = np.stack([waves[0] + 0.2 * wave for wave in waves], axis=-1)
    buffer = io.BytesIO()
    Image.fromarray((128 + 50 * pixels / pixels.std()).clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def write_shards(folder: Path) -> None:
    """Write the shards: an alt-text of 10 words as KEY.txt, a recaption of 49 in KEY.json (the paper's mean lengths)."""
    rng = np.random.default_rng(0)
    photos = [photo(rng) for _ in range(200)]  # decoding does not know that they come again
    for shard in range(SHARDS):
        with tarfile.open(folder / f"{shard:05d}.tar", "w") as tar:
            for row in range(IN_SHARD):
                number = shard * IN_SHARD + row
                short, long = (" ".join(rng.choice(WORDS, n)) for n in (10, 49))
                meta = json.dumps({"re_caption": long, "url": "https://example.org/x.jpg", "sha256": "0" * 64}).encode()
                for suffix, payload in ((".jpg", photos[number % 200]), (".txt", short.encode()), (".json", meta)):
                    info = tarfile.TarInfo(f"{number:09d}{suffix}")
                    info.size = len(payload)
                    tar.addfile(info, io.BytesIO(payload))


def word_tokenizer(folder: Path) -> Any:
    """Return a word tokenizer of 128 tokens, as scenes-tiny has."""
    save_tokenizer(folder, vocabulary(WORDS, 100), 128)
    return open_clip.tokenizer.HFTokenizer(str(folder), context_length=128)


ROLES = Roles({"original": "txt", "recaption": "json:re_caption"})


def ours(shards: ShardSet, tokenize: Any, interpolation: str = "bicubic", workers: int = 0) -> Callable[[], int]:
    """Return one epoch of our feed; nothing is remembered from the epoch before."""

    def epoch() -> int:
        reader = CaptionReader(shards, ROLES, memory=0)
        plan = Plan(shards.keys, Mix(0.5), 0, shards.sizes)
        feed = Feed(reader, plan, tokenize, Crop(SIZE, 0.4, interpolation), False, memory=0)
        return sum(len(batch.tokens) for batch in batches(feed, range(0, len(shards), BATCH), workers=workers))

    return epoch


def theirs(folder: Path, tokenize: Any) -> Callable[[], int]:
    """Return one epoch of open_clip's pipeline, as near as it can be built here."""
    cfg = AugmentationCfg(scale=(0.4, 1.0))
    transform = open_clip.image_transform(SIZE, is_train=True, aug_cfg=cfg)

    def prepared() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for sample in _shuffled(_samples(folder)):
            image = Image.open(io.BytesIO(sample["jpg"])).convert("RGB")
            yield transform(image), tokenize(sample["txt"].decode())[0]

    def epoch() -> int:
        seen, rows = 0, []
        for row in prepared():
            rows.append(row)
            if len(rows) == BATCH:
                pixels, _ = torch.utils.data.default_collate(rows)
                seen, rows = seen + len(pixels), []
        return seen

    return epoch


def _samples(folder: Path) -> Iterator[dict[str, bytes]]:
    for path in sorted(folder.glob("*.tar")):
        sample: dict[str, bytes] = {}
        last = ""
        with tarfile.open(path, "r|") as tar:
            for info in tar:
                key, _, suffix = info.name.partition(".")
                if key != last and sample:
                    yield sample
                    sample = {}
                last = key
                sample[suffix] = tar.extractfile(info).read()  # type: ignore[union-attr]
        yield sample


def _shuffled(samples: Iterator[dict[str, bytes]]) -> Iterator[dict[str, bytes]]:
    rng, held = random.Random(0), []
    for sample in samples:
        held.append(sample)
        if len(held) >= 1000:
            place = rng.randrange(len(held))
            held[place], held[-1] = held[-1], held[place]
            yield held.pop()
    rng.shuffle(held)
    yield from held


def parts(shards: ShardSet, tokenize: Any) -> dict[str, Callable[[], int]]:
    """Return what the feed consists of, each over 1,280 samples."""
    n = 5 * BATCH
    plan, crop = Plan(shards.keys, Mix(0.5), 0, shards.sizes), Crop(SIZE, 0.4)
    order = plan.visit(0, n).index.tolist()
    samples = [shards.sample(index) for index in order]
    payloads = [sample.read_image() for sample in samples]
    pairs = [ROLES.of(0, sample).texts() for sample in samples]
    texts = [pair[number % 2] for number, pair in enumerate(pairs)]

    def draft(payload: bytes) -> None:
        image = Image.open(io.BytesIO(payload))
        image.draft(None, (SIDE // 2, SIDE // 2))
        image.load()

    def each(act: Callable[[Any], object], things: Any) -> Callable[[], int]:
        return lambda: sum(1 for thing in things if (act(thing), True))

    return {
        "plan: order, coins, keys": lambda: sum(len(plan.visit(start, start + BATCH).index) for start in range(0, n, BATCH)),
        "sample: name and texts from the tar": each(lambda row: ROLES.of(row, shards.sample(row)), order),
        "image bytes": each(lambda sample: sample.read_image(), samples),
        "JPEG decode, full": each(lambda payload: decode_image(payload, "x"), payloads),
        "JPEG decode, half (draft)": each(draft, payloads),
        "decode at the crop's scale + crop + resize": each(lambda p: load_crop(p, "x", crop, Draws(len(p))), payloads),
        "tokens, a batch at a time": lambda: sum(len(tokenize(texts[at : at + BATCH])) for at in range(0, n, BATCH)),
        "tokens, a caption at a time": each(lambda text: tokenize(text), texts),
    }


def least(cases: dict[str, Callable[[], int]], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Return the CPU milliseconds a sample of each case in every round, the cases taking turns."""
    found: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            begin = time.process_time()
            seen = case()
            found[name].append((time.process_time() - begin) * 1000 / seen)
    return found


def show(title: str, found: dict[str, list[float]]) -> None:
    """Print a table: the least of the rounds, and all of them."""
    print(f"\n{title}")
    for name, values in found.items():
        print(f"  {name:<58} {min(values):6.3f}   ({', '.join(f'{value:.3f}' for value in values)})")


def main() -> None:
    """Measure and print."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_shards(folder)
        print("indexing, CPU ms a sample:", end=" ")
        begin = time.process_time()
        shards = open_shards(list_shards(folder), folder / "cache")
        print(f"{(time.process_time() - begin) * 1000 / len(shards):.3f};", end=" ")
        begin = time.process_time()
        open_shards(list_shards(folder), folder / "cache")
        print(f"again: {(time.process_time() - begin) * 1000 / len(shards):.4f}")
        words, clip = word_tokenizer(folder), open_clip.get_tokenizer("ViT-B-32")
        cases = {
            OURS: ours(shards, words),
            "ours, word tokenizer, bilinear": ours(shards, words, "bilinear"),
            "ours, CLIP's tokenizer": ours(shards, clip),
            THEIRS: theirs(folder, words),
            "open_clip's pipeline, CLIP's tokenizer, KEY.txt only": theirs(folder, clip),
        }
        found = least(cases)
        show("CPU ms a sample, batches as they reach the step", found)
        first, other = (min(found[name]) for name in (OURS, THEIRS))
        print(f"  ratio, word tokenizer: {first / other:.2f}")
        show("parts, CPU ms a sample", least(parts(shards, words)))


if __name__ == "__main__":
    sys.exit(main())
