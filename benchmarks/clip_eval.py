"""`recap-eval clip` against its limits and against CLIP_benchmark: the same ViT-B-32, the same JPEGs, in one run, as ratios.

    python -m benchmarks.clip_eval                    all parts, about half an hour on two cores; needs the machine alone
    python -m benchmarks.clip_eval --only image-fp32,recall
    python -m benchmarks.clip_eval --only image-fp32 --loop 32 --rounds 21     on a noisy machine: shorter turns, more of them

Parts: image-fp32 and image-bf16 (the image loop against the bare forward), classifier (ImageNet's class embeddings), retrieval
(five captions an image, end to end), recall (ranks alone, time and memory), second (the image side of a second task), untrimmed
(a tower that needs its padding). Weights are random: they cost what trained ones cost.
"""

from __future__ import annotations

import argparse
import ctypes
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image

from recap_eval.data.digests import Digests
from recap_eval.data.items import NAMELESS, CaptionedImages, FileImage, LabelledImages
from recap_eval.data.templates import load_templates
from recap_eval.embed import Embedder
from recap_eval.memory import keep_freed_memory
from recap_eval.metrics.ranking import rank_both_ways
from recap_eval.models.base import Loading, ModelId
from recap_eval.models.open_clip import OpenClipModel
from recap_eval.store import Store
from recap_eval.tasks.retrieval import score_retrieval
from recap_eval.tasks.zero_shot import classifier

NAME, IMAGES, LOOP, ROUNDS, CLASSES = "ViT-B-32", 128, 64, 5, 16
SETTLED = {-4: 65536, -3: 32 << 20, -1: 64 << 20}  # M_MMAP_MAX, M_MMAP_THRESHOLD, M_TRIM_THRESHOLD once large blocks were freed
SENTENCE = "a man riding his red bike down the street next to some parked cars and trees while it rains"


def photo(rng: np.random.Generator, width: int = 640, height: int = 480) -> bytes:
    """Return a JPEG with the spectrum of photographs (amplitude 1 / f), quality 90."""
    f = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    f[0, 0] = np.inf
    channels = []
    for _ in range(3):
        wave = rng.normal(size=f.shape) + 1j * rng.normal(size=f.shape)
        channels.append(np.fft.irfft2(wave / f**1.2, s=(height, width)))
    grey = channels[0]
    pixels = np.stack([grey + 0.2 * channel for channel in channels], axis=-1)
    buffer = io.BytesIO()
    scaled = (128 + 50 * pixels / pixels.std()).clip(0, 255).astype(np.uint8)
    Image.fromarray(scaled).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def captions(rng: np.random.Generator, n: int) -> list[str]:
    """Return distinct captions of 13 tokens on average, as long as COCO's."""
    out: dict[str, None] = {}
    while len(out) < n:
        out[" ".join(rng.choice(SENTENCE.split(), rng.integers(7, 14))) + "."] = None
    return list(out)


class Bench:
    """A model, its images, and what is measured on them."""

    def __init__(self, folder: Path, loop: int = LOOP, rounds: int = ROUNDS) -> None:
        torch.manual_seed(0)
        self.loop, self.rounds = loop, rounds
        self.folder, rng = folder, np.random.default_rng(0)
        self.model = open_clip.create_model(NAME).eval()
        self.transform = open_clip.image_transform(224, is_train=False)
        self.tokenizer = open_clip.get_tokenizer(NAME)
        self.items = []
        for number in range(IMAGES):
            path = folder / f"{number:05d}.jpg"
            path.write_bytes(photo(rng))
            self.items.append(FileImage(path.stem, path))
        self.captions = [captions(rng, 5) for _ in range(IMAGES)]

    def ours(self, precision: str = "fp32", fast: bool = False, model: Any = None) -> OpenClipModel:
        """Return a copy of the model behind our protocol."""
        from copy import deepcopy

        how = Loading(precision, "cpu", fast)
        return OpenClipModel(deepcopy(model or self.model), self.transform, self.tokenizer, ModelId("bench", precision), how)

    def loader(self, labels: Any, batch: int = 64) -> Any:
        """Return the images as CLIP_benchmark's users load them: a DataLoader of 4 workers over PIL and the transform."""
        paths, transform = [item.path for item in self.items[: len(labels)]], self.transform

        class Files(torch.utils.data.Dataset[Any]):
            def __len__(self) -> int:
                return len(paths)

            def __getitem__(self, i: int) -> Any:
                return transform(Image.open(paths[i]).convert("RGB")), labels[i]

        def collate(rows: list[Any]) -> Any:
            found = [label for _, label in rows]
            return torch.stack([pixels for pixels, _ in rows]), torch.tensor(found) if isinstance(found[0], int) else found

        return torch.utils.data.DataLoader(Files(), batch, num_workers=4, collate_fn=collate)


def wall(work: Callable[[], Any]) -> float:
    """Return the seconds that something takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def as_by_default(work: Callable[[], Any]) -> Callable[[], Any]:
    """Return work that runs with glibc's memory as its users have it: the settled state of the default, ours after it."""

    def run() -> Any:
        libc = ctypes.CDLL(None)
        for parameter, value in SETTLED.items():
            libc.mallopt(parameter, value)
        libc.malloc_trim(0)
        try:
            return work()
        finally:
            keep_freed_memory()

    return run


def alternating(cases: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Return the median seconds of each case, run in turn, after a turn that does not count."""
    times: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(rounds + 1):
        for name, work in cases.items():
            seconds = wall(work)
            if number:
                times[name].append(seconds)
    return {name: statistics.median(values) for name, values in times.items()}


def bare(model: OpenClipModel, batch: int, images: int) -> Callable[[], None]:
    """Return the forward pass alone over as many images, from a batch that is there already."""
    pixels = torch.randn(batch, 3, 224, 224, dtype=next(model.model.parameters()).dtype)

    def run() -> None:
        with torch.inference_mode():
            for _ in range(images // batch):
                model.model.encode_image(pixels)

    return run


def their_loop(bench: Bench, amp: bool) -> Callable[[], Any]:
    """Return CLIP_benchmark's image loop, its product with a thousand classes included."""
    from clip_benchmark.metrics.zeroshot_classification import run_classification

    weights, loader = torch.randn(512, 1000), bench.loader([0] * bench.loop)
    return as_by_default(lambda: run_classification(bench.model, weights, loader, "cpu", amp=amp))


def image_loop(bench: Bench, peers: bool, precision: str) -> dict[str, float]:
    """Images per second of the whole loop against the bare forward at the best of three batch sizes, all in turn."""
    models = {"exact": bench.ours(precision), "fast": bench.ours(precision, fast=True)}
    sizes = [size for size in (16, 32, 64) if size <= bench.loop]
    cases = {f"bare {size}": bare(models["exact"], size, bench.loop) for size in sizes}
    for name, model in models.items():
        cases[name] = partial(lambda model: Embedder(model, progress=False).images(bench.items[: bench.loop]), model)
    if peers:
        cases["clip_benchmark"] = their_loop(bench, precision == "bf16")
    found = alternating(cases, bench.rounds)
    best = min((name for name in cases if name.startswith("bare")), key=lambda name: found[name])
    out = {f"image {precision} {name}, images/s": bench.loop / found[name] for name in cases if name.startswith("bare")}
    return out | {f"image {precision} {name} / bare forward": found[best] / found[name] for name in list(cases)[len(sizes) :]}


def class_weights(bench: Bench, peers: bool) -> dict[str, float]:
    """Class embeddings of some of ImageNet's classes with 80 templates, against CLIP_benchmark's at fp32."""
    from clip_benchmark.metrics.zeroshot_classification import zero_shot_classifier

    names = open_clip.IMAGENET_CLASSNAMES[:: 1000 // CLASSES][:CLASSES]
    templates = load_templates("openai-80")[1]
    theirs_templates = [template.replace("{}", "{c}") for template in templates]
    data = LabelledImages(NAMELESS, [], [], names, templates)
    full, half = bench.ours(), bench.ours("bf16")
    found: dict[str, torch.Tensor] = {}
    cases = {
        "ours": lambda: found.update(ours=classifier(Embedder(full, progress=False), data)),
        "ours bf16": lambda: found.update(half=classifier(Embedder(half, progress=False), data)),
    }
    if peers:
        cases["theirs"] = as_by_default(
            lambda: found.update(
                theirs=zero_shot_classifier(bench.model, bench.tokenizer, names, theirs_templates, "cpu", amp=False)
            )
        )
    times = alternating(cases, 2)
    prompts = len(names) * len(templates)
    out = {"classifier ms a prompt": 1e3 * times["ours"] / prompts}
    if peers:
        out["classifier speed-up at fp32"] = times["theirs"] / times["ours"]
        out["classifier speed-up bf16 against their fp32"] = times["theirs"] / times["ours bf16"]
        out["classifier largest difference at fp32"] = float((found["ours"].T - found["theirs"]).abs().max())
    return out


def retrieval(bench: Bench, peers: bool) -> dict[str, float]:
    """Images and five captions each, end to end: decoding, both towers, recalls."""
    from clip_benchmark.metrics import zeroshot_retrieval as theirs

    data = CaptionedImages(NAMELESS, list(bench.items), bench.captions)
    full, half = bench.ours(), bench.ours("bf16")
    found: dict[str, Any] = {}
    cases = {
        "ours": lambda: found.update(ours=score_retrieval(Embedder(full, progress=False), data)),
        "ours bf16": lambda: score_retrieval(Embedder(half, progress=False), data),
    }
    if peers:
        loader = bench.loader(bench.captions)
        cases["theirs"] = as_by_default(
            lambda: found.update(
                theirs=theirs.evaluate(bench.model, loader, bench.tokenizer, "cpu", amp=False, recall_k_list=[1, 5, 10])
            )
        )
    times = alternating(cases, 2)
    out = {"retrieval ms an image and five captions": 1e3 * times["ours"] / IMAGES}
    if peers:
        out["retrieval speed-up at fp32"] = times["theirs"] / times["ours"]
        out["retrieval speed-up bf16 against their fp32"] = times["theirs"] / times["ours bf16"]
        pairs = {"i2t": "text", "t2i": "image"}
        out["retrieval largest difference of a recall"] = max(
            abs(found["ours"].metrics[f"{way}_r{k}"].values.mean() - found["theirs"][f"{name}_retrieval_recall@{k}"])
            for way, name in pairs.items()
            for k in (1, 5, 10)
        )
    return out


def vectors(n: int, seed: int, noise: float = 1.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return images, five texts near each, and their owners; D = 512."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.nn.functional.normalize(torch.randn(n, 512, generator=generator), dim=-1)
    owner = torch.arange(n).repeat_interleave(5)
    texts = images[owner] + noise * torch.nn.functional.normalize(torch.randn(5 * n, 512, generator=generator), dim=-1) * 3
    return images, torch.nn.functional.normalize(texts, dim=-1), owner


Vectors = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def ranks(made: Vectors) -> dict[str, float]:
    """Recalls both ways, at k = 1, 5, 10, by counting."""
    images, texts, owner = made
    found = zip(("i2t", "t2i"), rank_both_ways(images, texts, owner, torch.arange(len(owner))), strict=True)
    return {f"{way}{k}": float(r.hit_at(k).mean()) for way, r in found for k in (1, 5, 10)}


def their_ranks(made: Vectors) -> dict[str, float]:
    """The same by CLIP_benchmark's own functions, as its `evaluate` calls them."""
    from clip_benchmark.metrics.zeroshot_retrieval import batchify, recall_at_k

    images, texts, owner = made
    scores = texts @ images.t()
    positive = torch.zeros_like(scores, dtype=torch.bool)
    positive[torch.arange(len(scores)), owner] = True
    out = {}
    for k in (1, 5, 10):
        out[f"t2i{k}"] = float((batchify(recall_at_k, scores, positive, 64, "cpu", k=k) > 0).float().mean())
        out[f"i2t{k}"] = float((batchify(recall_at_k, scores.T, positive.T, 64, "cpu", k=k) > 0).float().mean())
    return out


def recall(bench: Bench, peers: bool) -> dict[str, float]:
    """Ranks alone: speed at 5,000 x 25,000 against theirs and the bare product, memory at 30,000 x 150,000."""
    made, found = vectors(5000, 0), {}
    cases = {"ours": lambda: found.update(ours=ranks(made)), "product": lambda: made[1] @ made[0].T}
    times = alternating(cases, 3)
    out = {"recall 5k x 25k seconds": times["ours"], "recall 5k x 25k / bare product": times["ours"] / times["product"]}
    if peers:
        theirs = wall(as_by_default(lambda: found.update(theirs=their_ranks(made))))
        assert all(abs(found["ours"][key] - found["theirs"][key]) < 1e-6 for key in found["ours"]), found
        out["recall 5k x 25k speed-up"] = theirs / times["ours"]
    words = [sys.executable, "-m", "benchmarks.clip_eval", "--memory", "30000"]
    return out | json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


def peak() -> float:
    """Return the most memory this process has held, in GB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1e6


def memory(n: int) -> dict[str, float]:
    """Seconds and peak memory of the ranks, above what torch and the vectors themselves take."""
    keep_freed_memory()
    made = vectors(n, 0)
    torch.ones(8, 8) @ torch.ones(8, 8)
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = peak()
    seconds = wall(lambda: ranks(made))
    name = f"recall {n // 1000}k x {5 * n // 1000}k"
    return {f"{name} seconds": seconds, f"{name} GB above its vectors": peak() - before, f"{name} peak GB, all in all": peak()}


def second_task(bench: Bench, peers: bool) -> dict[str, float]:
    """The image side of a second task on the same images, in a run of its own: digests, and embeddings from disk."""
    model = bench.ours()

    def side(cache: Path) -> float:
        embedder = Embedder(model, progress=False, store=Store(cache, model.id), digests=Digests(cache / "d.sqlite"))
        return wall(lambda: embedder.images(bench.items))

    shares = []
    for number in range(3):
        cache = bench.folder / f"cache{number}"
        first = side(cache)
        shares.append(side(cache) / first)
    return {"second task, image side / first": statistics.median(shares)}


def untrimmed(bench: Bench, peers: bool) -> dict[str, float]:
    """A tower of Recap-CLIP's kind, bidirectional and pooled at the last token: duplicates and the cache are all it gains."""
    config = {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12}
    config |= {"no_causal_mask": True, "pool_type": "last"}
    vision = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 32}
    net = open_clip.CustomTextCLIP(512, vision, config).eval()
    model = bench.ours(model=net)
    assert not model.trims
    texts = [text for own in bench.captions for text in own][:256]
    cache = bench.folder / "untrimmed"

    def once(texts: list[str]) -> float:
        return wall(lambda: Embedder(model, progress=False, store=Store(cache, model.id)).texts(texts))

    def full() -> None:
        with torch.inference_mode():
            for start in range(0, len(texts), 64):
                net.encode_text(bench.tokenizer(texts[start : start + 64]))

    base = min(wall(full) for _ in range(2))
    return {
        "untrimmed tower, texts of 77 tokens / bare": base / once(texts),
        "untrimmed, again from disk / first": once(texts) / base,
    }


PARTS = {
    "image-fp32": partial(image_loop, precision="fp32"),
    "image-bf16": partial(image_loop, precision="bf16"),
    "classifier": class_weights,
    "retrieval": retrieval,
    "recall": recall,
    "second": second_task,
    "untrimmed": untrimmed,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas")
    parser.add_argument("--no-peers", action="store_true", help="leave CLIP_benchmark out: quicker")
    parser.add_argument("--loop", type=int, default=LOOP, help="images a turn of the image loop (default 64)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="turns of the image loop (default 5)")
    parser.add_argument("--default-memory", action="store_true", help="with glibc's defaults: what keeping memory is worth")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.memory:
        print(json.dumps(memory(args.memory)))
        return
    found: dict[str, float] = {}
    if not args.default_memory:
        keep_freed_memory()  # as the command does; the bare forward gains as much by it
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), args.loop, args.rounds)
        size = statistics.mean(item.path.stat().st_size for item in bench.items)
        print(
            f"{torch.get_num_threads()} threads, torch {torch.__version__}, {IMAGES} JPEGs of {size / 1024:.0f} KB",
            file=sys.stderr,
        )
        for name in args.only.split(","):
            part = PARTS[name](bench, not args.no_peers)
            found |= part
            for key, value in part.items():
                print(f"{key:<62} {value:10.4g}", file=sys.stderr, flush=True)
    if args.json:
        print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
