"""Features, FID, KID and PRDC of torch-fidelity, pytorch-fid, clean-fid, torchmetrics and prdc against ours.

    python -m benchmarks.t2i_parity [--files 64] [--json]

The same random weights and the same files of mixed content: PNG and JPEG, 90 to 1024 px, square and not, grey, palette, alpha,
CMYK, an orientation in EXIF. FID is that of the first half to the second, each peer's by its own code from its own features;
ours from the singular values of the product of the centred features, which is exact when there are fewer images than features
("exact": the same of the peer's features; what remains is the rounding of its own distance, which takes square roots of
eigenvalues that are zero). KID over all pairs, and precision, recall, density and coverage are of drawn features, 1,000 by
2,048 and not negative, as the Inception's are; to the peers in float32, which is what they compute in, and in float64. Four
minutes on one core.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.clip_eval import photo
from benchmarks.t2i_peers import RESIZE, peer_python, random_weights, run_peer
from recap_eval.data.items import FileImage
from recap_eval.extractors.base import Extraction
from recap_eval.extractors.drive import FeatureReader
from recap_eval.extractors.loading import load_extractor
from recap_eval.extractors.resize import RESIZES
from recap_eval.metrics.kernel import discrepancy, polynomial
from recap_eval.metrics.manifold import manifold

SIZES = [(256, 256), (512, 512), (300, 200), (90, 120), (1024, 768), (299, 299), (257, 255), (640, 480)]
MODES = ["RGB", "RGB", "L", "P", "RGBA", "RGB"]


def write_files(folder: Path, number: int) -> list[str]:
    """Write files of mixed content; the second half is brighter."""
    rng, paths = np.random.default_rng(0), []
    for i in range(number):
        image = Image.open(io.BytesIO(photo(rng, *SIZES[i % len(SIZES)])))
        image = image.point(lambda level: min(255, level + 25)) if i >= number // 2 else image
        mode, jpeg = MODES[i % len(MODES)], i % 3 == 1
        exif = Image.Exif()
        exif[0x0112] = 6 if i % 5 == 0 else 1
        if jpeg:
            kind = "CMYK" if i % 4 == 1 else mode if mode in ("RGB", "L") else "RGB"
            paths.append(folder / f"{i:03d}.jpg")
            image.convert(kind).save(paths[-1], quality=90, exif=exif.tobytes())
        else:
            image = image.quantize(64) if mode == "P" else image.convert(mode)
            if mode == "RGBA":
                image.putalpha(Image.fromarray(rng.integers(0, 256, image.size[::-1], dtype=np.uint8)))
            paths.append(folder / f"{i:03d}.png")
            image.save(paths[-1], exif=exif.tobytes())
    return [str(path) for path in paths]


def ours(files: list[str], weights: Path, resize: str, batch: int = 32) -> np.ndarray:
    """Return our features."""
    extractor = load_extractor("inception", Extraction(weights=weights, resize=resize))
    items = [FileImage(path, Path(path)) for path in files]
    parts = [part for _, part in FeatureReader(extractor, batch_size=batch, progress=False).read(items)]
    return torch.cat(parts).numpy()


def frechet(one: np.ndarray, two: np.ndarray) -> float:
    """Return the Fréchet distance of two sets with fewer rows than columns, exactly."""
    one, two = one.astype(np.float64), two.astype(np.float64)
    a, b = ((each - each.mean(0)) / np.sqrt(len(each) - 1) for each in (one, two))
    difference = one.mean(0) - two.mean(0)
    cross = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return float(difference @ difference + (a * a).sum() + (b * b).sum() - 2 * cross)


def compare(python: str, files: list[str], folder: Path, weights: Path) -> dict[str, Any]:
    """Return, by peer, how far its features and FID are from ours under its own protocol."""
    half = len(files) // 2
    mine = {resize: ours(files, weights, resize) for resize in RESIZES}
    found: dict[str, Any] = {"ours": {resize: frechet(each[:half], each[half:]) for resize, each in mine.items()}, "peers": {}}
    pairs = [(a, b) for i, a in enumerate(mine) for b in list(mine)[:i]]
    found["mixed"] = {f"{a} to {b}": frechet(mine[a], mine[b]) for a, b in pairs}
    for peer, resize in RESIZE.items():
        job = {"peer": peer, "files": files, "weights": str(weights), "batch": 1, "half": half}
        told = run_peer(python, job, folder)
        theirs, own = told["features"], mine[resize]
        fid = found["ours"][resize]
        found["peers"][peer] = {
            "resize": resize,
            "features": float(np.abs(own - theirs).max() / np.abs(theirs).max()),
            "fid": told["fid"],
            "fid, relative": abs(fid - told["fid"]) / told["fid"],
            "exact, relative": abs(fid - (exact := frechet(theirs[:half], theirs[half:]))) / exact,
        }
        print(f"{peer:<30} {json.dumps(found['peers'][peer])}", file=sys.stderr, flush=True)
    return found


def of_features(python: str, folder: Path, n: int = 1000) -> dict[str, Any]:
    """Return KID and PRDC of drawn features, by peer and ours."""
    rng = np.random.default_rng(0)
    base = rng.gamma(0.5, 0.5, 2048)  # most of the Inception's features are near 0 most of the time
    real, own = (rng.gamma(0.7, base * shift / 0.7, (n, 2048)).astype(np.float32) for shift in (1.0, 1.05))
    np.savez(folder / "sets.npz", ours=own, real=real)
    found = manifold(own, real)
    mine = {"kid": [discrepancy(own, real, polynomial).value]}
    mine["prdc"] = [float(found.inside.mean()), found.recall, found.density, found.coverage]
    return {"ours": mine, "peers": run_peer(python, {"sets": str(folder / "sets.npz")}, folder)}


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=64)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "files").mkdir()
        weights = folder / "random.pth"
        random_weights(weights)
        python = peer_python(folder)
        drawn = of_features(python, folder)
        found = compare(python, write_files(folder / "files", args.files), folder, weights) | {"drawn features": drawn}
    print(f"{'peer':<30} {'resize':<16} {'features':>10} {'its FID':>14} {'our FID':>14} {'relative':>10} {'exact':>10}")
    for peer, row in found["peers"].items():
        fid = found["ours"][row["resize"]]
        numbers = f"{row['features']:>10.1e} {row['fid']:>14.6f} {fid:>14.6f} {row['fid, relative']:>10.1e}"
        print(f"{peer:<30} {row['resize']:<16} {numbers} {row['exact, relative']:>10.1e}")
    for pair, distance in found["mixed"].items():
        print(f"the same files, {pair}: {distance:.1f}")
    for name, peers in drawn["peers"].items():
        print(f"{name}: ours {drawn['ours'][name.split(',')[0]]}")
        for peer, figures in peers.items():
            print(f"    {peer:<26} {figures}")
    if args.json:
        print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
