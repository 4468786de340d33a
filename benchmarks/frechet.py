"""Fréchet distance and streaming moments against every peer's way: the same features, one thread, in one run, as ratios.

    python -m benchmarks.frechet                      all parts, under five minutes; needs the machine alone
    python -m benchmarks.frechet --only distance      or low-rank, moments, errors: each within 90 seconds
    python -m benchmarks.frechet --no-peer            without the environment of scipy 1.17.1 and torch-fidelity 0.4

Parts: distance (2048 features, 10,000 images a side), low-rank (1,000 images against 10,000, and how exact each way is),
moments (30,000 x 2048: seconds, and memory above what was there before), errors (what a standard error, a limit and KID
cost beside the distance). Peers: scipy's matrix square root, as pytorch-fid, clean-fid and dgm-eval take it; torchmetrics'
`torch.linalg.eigvals`; torch-fidelity's `np.linalg.eigvals`, its own function. Each is run in turn, medians of the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from recap_eval.metrics.frechet import Reference, frechet_distance, frechet_distance_of
from recap_eval.metrics.infinity import frechet_infinity, part_moments
from recap_eval.metrics.influence import influence
from recap_eval.metrics.kernel import kid
from recap_eval.metrics.moments import Moments, Statistics

D, MANY, FEW, ALL, BATCH = 2048, 10_000, 1_000, 30_000, 80
MIB = 1 << 20
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}


def features(n: int, seed: int) -> np.ndarray:
    """Return (n, 2048) float32 like Inception's: not negative, correlated, a spectrum that falls by powers."""
    mixing = (
        np.random.default_rng(7).normal(size=(D, D)).astype(np.float32) * np.arange(1, D + 1, dtype=np.float32)[:, None] ** -0.5
    )
    out = np.empty((n, D), dtype=np.float32)
    rng = np.random.default_rng(seed)
    for start in range(0, n, 2000):
        block = rng.normal(size=(min(2000, n - start), D)).astype(np.float32) @ mixing
        out[start : start + 2000] = np.maximum(block * (1 + 0.05 * seed) + 0.3, 0) / 2
    return out


def alternating(cases: dict[str, Callable[[], Any]], rounds: int) -> tuple[dict[str, float], dict[str, Any]]:
    """Return the median seconds of each case, run in turn, and what each returned last."""
    times: dict[str, list[float]] = {name: [] for name in cases}
    found: dict[str, Any] = {}
    for _ in range(rounds):
        for name, work in cases.items():
            start = time.perf_counter()
            found[name] = work()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}, found


def peer_ways(a: Statistics, b: Statistics) -> dict[str, Callable[[], float]]:
    """Return what peers compute of two sets of statistics, those of this environment's libraries."""
    import scipy
    import torch
    from scipy import linalg

    torch.set_num_threads(1)
    fixed = float(np.square(a.mean - b.mean).sum() + a.covariance.trace() + b.covariance.trace())
    first, second = torch.from_numpy(np.ascontiguousarray(a.covariance)), torch.from_numpy(np.ascontiguousarray(b.covariance))
    torch_fidelity = "torch-fidelity's np.linalg.eigvals"
    ways = {
        "torchmetrics' torch.linalg.eigvals": lambda: fixed - 2 * torch.linalg.eigvals(first @ second).sqrt().real.sum().item(),
        torch_fidelity: lambda: (
            fixed - 2 * np.sqrt(np.linalg.eigvals(a.covariance.dot(b.covariance)).astype(complex)).real.sum()
        ),
        f"scipy {scipy.__version__} sqrtm": lambda: fixed - 2 * linalg.sqrtm(a.covariance.dot(b.covariance)).real.trace(),
    }
    try:
        from torch_fidelity import metric_fid
    except ImportError:
        return ways
    stats = [{"mu": one.mean, "sigma": one.covariance} for one in (a, b)]
    call = getattr(metric_fid, "fid_statistics_to_metric")  # noqa: B009
    return ways | {torch_fidelity: lambda: call(*stats, False)["frechet_inception_distance"]}


def distance(rounds: int, peers: bool) -> dict[str, float]:
    """The distance of full-rank statistics, the reference's factor made before; what that costs once."""
    a, b = (Moments.of(features(MANY, seed)).statistics() for seed in (1, 2))
    reference = Reference(b)
    start = time.perf_counter()
    _ = reference.factor
    out = {"distance, reference's factor once, s": time.perf_counter() - start}
    ours, found = alternating({"ours": lambda: frechet_distance(a, reference).value}, max(3, rounds))
    out["distance, ours, s"] = ours["ours"]
    if peers:
        times, values = alternating(peer_ways(a, b), rounds)
        for name, seconds in times.items():
            out[f"distance, {name}, s"] = seconds
            out[f"distance, {name} / ours"] = seconds / ours["ours"]
            out[f"distance, {name}, relative difference"] = abs(values[name] - found["ours"]) / found["ours"]
    return out


def low_rank(rounds: int, peers: bool) -> dict[str, float]:
    """The distance of fewer images than features; the truth is the nuclear norm by singular values."""
    x, b = features(FEW, 1), Moments.of(features(MANY, 2)).statistics()
    reference = Reference(b)
    _ = reference.factor
    a = Moments.of(x).statistics()
    rows = (x - x.mean(axis=0, dtype=np.float64)) / np.sqrt(FEW - 1)
    nuclear = np.linalg.svd(np.linalg.qr(reference.project(rows), mode="r"), compute_uv=False).sum()
    truth = float(np.square(a.mean - b.mean).sum() + a.covariance.trace() + b.covariance.trace() - 2 * nuclear)
    ours, found = alternating(
        {"features": lambda: frechet_distance_of(x, reference).value, "moments": lambda: frechet_distance(a, reference).value},
        max(3, rounds),
    )
    out = {f"low rank, ours from {name}, s": seconds for name, seconds in ours.items()}
    out |= {f"low rank, ours from {name}, error": abs(value - truth) for name, value in found.items()}
    own = Reference(a)
    out["low rank, a set against itself"] = frechet_distance_of(x, own).value
    out["low rank, trace of both"] = float(a.covariance.trace() + b.covariance.trace())
    if peers:
        times, values = alternating(peer_ways(a, b), rounds)
        for name, seconds in times.items():
            out[f"low rank, {name}, s"] = seconds
            out[f"low rank, {name} / ours"] = seconds / ours["features"]
            out[f"low rank, {name}, error"] = abs(values[name] - truth)
    return out


class Peak:
    """The process's largest resident memory while a block runs, above what it was when the block began."""

    def __enter__(self) -> Peak:
        self._base = self._now()
        self.most, self._stop = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.002):
            self.most = max(self.most, self._now() - self._base)

    @staticmethod
    def _now() -> int:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


def stream(block: np.ndarray, batch: int) -> Statistics:
    """Return our statistics of 30,000 rows that come in batches."""
    moments = Moments()
    for start in range(0, ALL, batch):
        moments.update(block[start % len(block) : start % len(block) + batch])
    return moments.statistics()


def store_all(block: np.ndarray, batch: int) -> Statistics:
    """The way of torch-fidelity and clean-fid: a list of batches, all of them joined, numpy's mean and covariance."""
    kept = [np.array(block[start % len(block) : start % len(block) + batch]) for start in range(0, ALL, batch)]
    whole = np.concatenate(kept)
    return Statistics(whole.mean(axis=0), np.cov(whole, rowvar=False), len(whole))


def raw_moments(block: np.ndarray, batch: int) -> Statistics:
    """The way of torchmetrics: float64 sums of each batch's rows and products."""
    import torch

    total, products = torch.zeros(D, dtype=torch.float64), torch.zeros(D, D, dtype=torch.float64)
    for start in range(0, ALL, batch):
        rows = torch.from_numpy(block[start % len(block) : start % len(block) + batch]).double()
        total += rows.sum(dim=0)
        products += rows.t().mm(rows)
    mean = (total / ALL)[None]
    return Statistics(mean[0].numpy(), ((products - ALL * mean.t().mm(mean)) / (ALL - 1)).numpy(), ALL)


MOMENTS = {"ours": stream, "store all": store_all, "torchmetrics' raw moments": raw_moments}


def one_moments(which: str) -> dict[str, float]:
    """Seconds and memory of one way, in a process of its own; features come again, so that they are no memory of it."""
    import torch

    torch.set_num_threads(1)
    block = features(24 * BATCH, 1)
    rows = block[:BATCH].astype(np.float64)  # both libraries' BLAS and its buffers are there before
    assert np.isfinite((rows.T @ rows).sum()) and torch.isfinite((torch.from_numpy(rows).T @ torch.from_numpy(rows)).sum())
    del rows
    with Peak() as peak:
        start = time.perf_counter()
        found = MOMENTS[which](block, BATCH)
        seconds = time.perf_counter() - start
    whole = np.concatenate([block] * (ALL // len(block)) + [block[: ALL % len(block)]]).astype(np.float64)
    error = float(np.abs(found.covariance - np.cov(whole, rowvar=False)).max())
    return {"s": seconds, "MiB above base": peak.most / MIB, "largest error": error}


def moments(rounds: int, peers: bool) -> dict[str, float]:
    """Statistics of 30,000 x 2048 in batches of 80."""
    out, found = {}, {}
    for name in MOMENTS if peers else ["ours"]:
        command = [sys.executable, "-m", "benchmarks.frechet", "--moments-of", name]
        runs = [
            json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            for _ in range(min(rounds, 2))
        ]
        found[name] = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        out |= {f"moments, {name}, {key}": value for key, value in found[name].items()}
    for name in found.keys() - {"ours"}:
        out[f"moments, {name} / ours, time"] = found[name]["s"] / found["ours"]["s"]
        out[f"moments, {name} / ours, memory"] = found[name]["MiB above base"] / found["ours"]["MiB above base"]
    return out


def known_limit() -> dict[str, float]:
    """How far the distance and its limit are from the truth, where that is known: Gaussians, a reference without noise."""
    rng = np.random.default_rng(3)
    spectrum = np.arange(1, D + 1) ** -0.7
    spectrum *= 100 / spectrum.sum()
    turn = np.linalg.qr(rng.normal(size=(D, D)))[0]
    root = turn * np.sqrt(spectrum * np.exp(0.8 * rng.normal(size=D)))
    reference = Reference(Statistics(np.zeros(D), (turn * spectrum) @ turn.T))
    truth = frechet_distance(Statistics(0.08 * np.ones(D), root @ root.T), reference).value
    found = frechet_infinity(part_moments(rng.normal(size=(MANY, D)) @ root.T + 0.08), reference)
    richardson = 2 * found.points[0][1] - found.points[1][1]
    out = {"errors, truth": truth, "errors, distance of 10,000 - truth": found.points[0][1] - truth}
    return out | {f"errors, {found.method} - truth": found.value - truth, "errors, richardson - truth": richardson - truth}


def errors(rounds: int, peers: bool) -> dict[str, float]:
    """What comes beside a distance: standard error with every image's influence, the limit, KID of 100 subsets of 1,000."""
    x, y = features(MANY, 1), features(MANY, 2)
    reference = Reference(Moments.of(y).statistics())
    own = Moments.of(x).statistics()
    _ = reference.factor
    parts = part_moments(x)
    cases = {
        "distance": lambda: frechet_distance(own, reference).value,
        "influence of 10,000 images": lambda: influence(x, reference, own).estimate().se,
        "limit": lambda: frechet_infinity(parts, reference).value,
        "KID": lambda: kid(x, y).value,
    }
    times, found = alternating(cases, 1)
    out = {f"errors, {name}, s": seconds for name, seconds in times.items()}
    return out | {f"errors, {name}, value": float(value) for name, value in found.items()} | known_limit()


PARTS = {"distance": distance, "low-rank": low_rank, "moments": moments, "errors": errors}


def peer_python(folder: Path) -> str:
    """Make an environment with scipy 1.17.1 and torch-fidelity 0.4 before all that this one has; return its interpreter."""
    place = folder / "peer"
    venv.create(place, with_pip=False, symlinks=True)
    inside = next((place / "lib").glob("python*")) / "site-packages"
    wanted = ["scipy==1.17.1", "torch-fidelity==0.4.0"]
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(inside), *wanted], check=True)
    borrowed = [path for path in sys.path if path.endswith("site-packages")]
    (inside / "borrowed.pth").write_text("\n".join(borrowed) + "\n")
    return str(place / "bin" / "python")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, comma-separated")
    parser.add_argument("--rounds", type=int, default=1, help="turns of every peer; ours has three at least")
    parser.add_argument("--no-peer", action="store_true", help="measure ours alone, in this environment")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--moments-of", choices=list(MOMENTS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.moments_of:
        print(json.dumps(one_moments(args.moments_of)))
        return
    if not args.inside:  # libraries read their number of threads, and peers their scipy, when they are imported
        with tempfile.TemporaryDirectory() as name:
            python = sys.executable if args.no_peer else peer_python(Path(name))
            again = [python, "-m", "benchmarks.frechet", "--inside", *sys.argv[1:]]
            raise SystemExit(subprocess.run(again, env=os.environ | ONE_THREAD).returncode)
    out: dict[str, float] = {}
    for part in args.only.split(","):
        found = PARTS[part](args.rounds, not args.no_peer)
        for key, value in found.items():
            print(f"{key:<72} {value:.4g}", file=sys.stderr, flush=True)
        out |= found
    if args.json:
        print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
