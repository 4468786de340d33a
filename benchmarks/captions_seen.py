"""Images a second of `recap-eval captions --metrics clip` against the bare forward passes of the same model on the same pairs.

    python -m benchmarks.captions_seen                 ViT-B-32, 128 photographs in a shard; needs the machine alone
    python -m benchmarks.captions_seen --images 64 --rounds 5

The family reads shards, joins, draws, digests, decodes, tokenizes, embeds and compares, with nothing in the cache. The bare
forward takes pixels and tokens that are ready, 64 at a time, texts at full length; "without padding" takes texts as the family
does, sorted and cut to their own length. Each image has an alt-text of about 10 words and a caption of 30 to 70. Weights are
random: they cost what trained ones cost.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch

from benchmarks.clip_eval import NAME, SENTENCE, alternating, photo
from recap_eval.captions.image_index import index_images
from recap_eval.captions.image_source import find_places, open_source
from recap_eval.captions.pictured import Views, draw_rows, view
from recap_eval.captions.scan import Question
from recap_eval.console import positive
from recap_eval.data.digests import Digests
from recap_eval.embed import TOKENS, Embedder
from recap_eval.memory import keep_freed_memory
from recap_eval.models.base import Loading, ModelId
from recap_eval.models.open_clip import OpenClipModel
from recap_eval.models.text import encode_text_trimmed
from recap_eval.tasks.captions_seen import Sight

BATCH = 64
PAIR = Question("txt", "json:org_caption")


def caption(rng: np.random.Generator, low: int, high: int) -> str:
    """Return a caption of so many words."""
    return " ".join(rng.choice(SENTENCE.split(), rng.integers(low, high))) + "."


def write_shard(path: Path, n: int) -> None:
    """Write photographs with two captions each, as img2dataset does."""
    import io
    import tarfile

    rng = np.random.default_rng(0)
    with tarfile.open(path, "w") as tar:
        for number in range(n):
            meta = json.dumps({"org_caption": caption(rng, 7, 14)}).encode()
            members = {"jpg": photo(rng), "json": meta, "txt": caption(rng, 30, 71).encode()}
            for suffix, payload in members.items():
                info = tarfile.TarInfo(f"{number:09d}.{suffix}")
                info.size = len(payload)
                tar.addfile(info, io.BytesIO(payload))


def drawn(path: Path, n: int) -> Views:
    """Join and draw, as the command does."""
    index = index_images(open_source(find_places([str(path)]), None), "key")
    rows, tally = draw_rows([path], PAIR, index, n, progress=False)
    return view(rows, PAIR, index, tally, Digests())


def family(path: Path, n: int, model: OpenClipModel) -> None:
    """Do all that the family clip does of two columns."""
    sight = Sight(drawn(path, n), Embedder(model, progress=False))
    for column in PAIR.columns:
        sight.cosines(column)
        sight.cut(column)


def bare(model: Any, pixels: torch.Tensor, texts: list[torch.Tensor], encode: Callable[[Any, torch.Tensor], Any]) -> None:
    """Run the forward passes alone."""
    with torch.inference_mode():
        for start in range(0, len(pixels), BATCH):
            model.encode_image(pixels[start : start + BATCH])
        for tokens in texts:
            encode(model, tokens)


def sorted_batches(tokens: torch.Tensor) -> list[torch.Tensor]:
    """Return tokens by length, more of short ones in a batch, as `Embedder` makes them."""
    lengths = (tokens != 0).sum(dim=1)
    order, found, start = torch.argsort(lengths), [], 0
    while start < len(order):
        size = max(BATCH, BATCH * TOKENS // (int(lengths[order[start]]) + 2))
        found.append(tokens[order[start : start + size]])
        start += size
    return found


def main() -> None:
    """Time both and print images a second."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=positive, default=128)
    parser.add_argument("--rounds", type=positive, default=3)
    args = parser.parse_args()
    keep_freed_memory()
    torch.manual_seed(0)
    net, transform, tokenizer = (
        open_clip.create_model(NAME).eval(),
        open_clip.image_transform(224, False),
        open_clip.get_tokenizer(NAME),
    )
    model = OpenClipModel(net, transform, tokenizer, ModelId("bench", "random"), Loading())
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "00000.tar"
        write_shard(path, args.images)
        views = drawn(path, args.images)
        decoded = [model.pixels.load(image.read_image(), image.where, None) for image in views.images]
        pixels = model.pixels.batch(decoded, "cpu")
        tokens = tokenizer([text or "" for column in PAIR.columns for text in views.column(column)])
        cases = {
            "family clip": lambda: family(path, args.images, model),
            "bare forward": lambda: bare(net, pixels, list(tokens.split(BATCH)), lambda net, part: net.encode_text(part)),
            "bare forward without padding": lambda: bare(net, pixels, sorted_batches(tokens), encode_text_trimmed),
        }
        seconds = alternating(cases, args.rounds)
    for name, taken in seconds.items():
        print(f"{name:30} {args.images / taken:7.1f} images/s  {seconds['bare forward'] / taken:5.2f} of the bare forward")


if __name__ == "__main__":
    main()
