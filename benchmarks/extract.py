"""Inception features against torch-fidelity, pytorch-fid, clean-fid and torchmetrics: CPU time an image, in one run, as ratios.

    python -m benchmarks.extract --only network     end to end at fp32: files, decoding, resize, network; two minutes
    python -m benchmarks.extract --only loader      the same loops around a network that costs nothing

One thread for torch, 256-px files, PNG and JPEG by turns for the network and apart for the loader, the same random weights. CPU
time of all processes and threads, workers included, after a few images that do not count. Ours under each peer's own resize. As
a loader ours hands over decoded bytes, as for a GPU, which resizes them ("resized": as for a CPU, in the decoding threads).
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.clip_eval import photo
from benchmarks.t2i_peers import RESIZE, cpu_seconds, peer_python, random_weights, run_peer
from recap_eval.data.items import FileImage
from recap_eval.extractors.base import Extraction
from recap_eval.extractors.decode import rgb_array
from recap_eval.extractors.drive import FeatureReader
from recap_eval.extractors.inception import InceptionExtractor
from recap_eval.extractors.resize import resize_one
from recap_eval.memory import keep_freed_memory

PEERS = ("torch-fidelity", "pytorch-fid", "clean-fid", "torchmetrics")
WARM, DISTINCT = 8, 64


def write_files(folder: Path, kinds: tuple[str, ...], number: int) -> list[str]:
    """Write 256-px files, the kinds by turns; what is in them comes again after a while."""
    rng, paths = np.random.default_rng(0), []
    pictures = [Image.open(io.BytesIO(photo(rng, 256, 256))).convert("RGB") for _ in range(min(number, DISTINCT))]
    for i in range(number):
        paths.append(folder / f"{i:05d}.{kinds[i % len(kinds)]}")
        pictures[i % len(pictures)].save(paths[-1], **({"quality": 95} if paths[-1].suffix == ".jpg" else {}))
    return [str(path) for path in paths]


class Free:
    """An extractor that costs nothing but what its images cost to get."""

    name, dim, device = "free", 2048, "cpu"

    def __init__(self, resize: str | None) -> None:
        self.key: dict[str, Any] = {}
        self._resize = resize

    def load(self, payload: bytes, where: str) -> torch.Tensor:
        """Decode, and resize."""
        pixels = rgb_array(payload, where)
        return torch.from_numpy(pixels if self._resize is None else resize_one(pixels, self._resize))

    def features(self, images: list[torch.Tensor]) -> torch.Tensor:
        """Put them together and return zeros."""
        return torch.zeros(len(torch.stack(images)), self.dim)


def measure(extractor: Any, files: list[str], batch: int) -> dict[str, float]:
    """Return CPU and wall seconds of our loop."""
    reader, items = FeatureReader(extractor, batch_size=batch, progress=False), [FileImage(path, Path(path)) for path in files]
    list(reader.read(items[:WARM]))
    start, wall = cpu_seconds(), time.perf_counter()
    assert sum(len(keys) for keys, _ in reader.read(items)) == len(files)
    return {"cpu": cpu_seconds() - start, "wall": time.perf_counter() - wall}


def theirs(python: str, folder: Path, peer: str, files: list[str], **given: Any) -> dict[str, float]:
    """Return CPU and wall seconds of a peer's loop."""
    job = {"peer": peer, "files": files, "weights": str(folder / "random.pth"), "warm": WARM, **given}
    told = run_peer(python, job, folder)
    return {"cpu": told["cpu"], "wall": told["wall"]}


def network(python: str, folder: Path, number: int, batch: int) -> dict[str, dict[str, float]]:
    """Measure end to end at fp32."""
    files, found = write_files(folder, ("png", "jpg"), number), {}
    for peer in PEERS:
        found[peer] = theirs(python, folder, peer, files, batch=batch)
        extractor = InceptionExtractor(Extraction(weights=folder / "random.pth", resize=RESIZE[peer]))
        found[f"ours, {RESIZE[peer]}"] = measure(extractor, files, batch)
    return found


def loader(python: str, folder: Path, number: int, batch: int) -> dict[str, dict[str, float]]:
    """Measure the loops around a network that costs nothing."""
    found = {}
    for kind in ("jpg", "png"):
        place = folder / kind
        place.mkdir(exist_ok=True)
        files = write_files(place, (kind,), number)
        for peer in PEERS:
            found[f"{peer}, {kind}"] = theirs(python, folder, peer, files, batch=batch, free=True)
        for name, resize in (("ours", None), ("ours, resized", "clean")):
            found[f"{name}, {kind}"] = measure(Free(resize), files, batch)
    return found


def tell(rounds: list[dict[str, dict[str, float]]], number: int, as_json: bool) -> None:
    """Print medians of the rounds: milliseconds of CPU and of wall time an image."""
    out = {}
    for name in rounds[0]:
        out[name] = {kind: 1000 * statistics.median(each[name][kind] for each in rounds) / number for kind in ("cpu", "wall")}
        print(f"{name:<28} {out[name]['cpu']:8.2f} CPU-ms {out[name]['wall']:8.2f} ms an image", file=sys.stderr)
    if "ours, tf1" in out:
        for peer in PEERS:
            ratio = out[peer]["cpu"] / out[f"ours, {RESIZE[peer]}"]["cpu"]
            print(f"{peer} / ours, {RESIZE[peer]}: {ratio:.2f}", file=sys.stderr)
    for kind in ("jpg", "png") if "ours, jpg" in out else ():
        for peer in PEERS:
            ratio = out[f"ours, {kind}"]["cpu"] / out[f"{peer}, {kind}"]["cpu"]
            print(f"ours / {peer}, {kind}: {ratio:.2f}", file=sys.stderr)
    if as_json:
        print(json.dumps(out, indent=1))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["network", "loader"], default="network")
    parser.add_argument("--images", type=int, help="48 for the network, 1000 for the loader")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--peers", help="the interpreter of an environment made before")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # as the command does
    part, number = {"network": (network, args.images or 48), "loader": (loader, args.images or 1000)}[args.only]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        random_weights(folder / "random.pth")
        python = args.peers or peer_python(folder)
        tell([part(python, folder, number, args.batch) for _ in range(args.rounds)], number, args.json)


if __name__ == "__main__":
    main()
