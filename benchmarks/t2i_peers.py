"""What torch-fidelity, pytorch-fid, clean-fid, torchmetrics and prdc make of files or features, in an environment of their own.

    python -m benchmarks.t2i_peers JOB.json     inside the environment that `peer_python` makes; t2i_parity and extract start it

The weights are a file of tensors given to all. pytorch-fid and clean-fid have no option for that: the function with which
pytorch-fid downloads is replaced, and clean-fid's TorchScript network by pytorch-fid's modules on what clean-fid prepares.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

VERSIONS = {
    "torch-fidelity": "0.4.0",
    "pytorch-fid": "0.3.0",
    "clean-fid": "0.1.35",
    "torchmetrics": "1.9.0",
    "prdc": "0.2",
    "scipy": "1.17.1",
}
K_PRECISION, K_DENSITY = 3, 5
RESIZE = {  # peer -> our name of what it does
    "torch-fidelity": "tf1",
    "pytorch-fid": "legacy_pytorch",
    "clean-fid": "clean",
    "clean-fid legacy_pytorch": "legacy_pytorch",
    "torchmetrics": "tm18",
    "torchmetrics antialias=False": "tf1",
}


def peer_python(folder: Path) -> str:
    """Make an environment with the peers that borrows torch and all else from this one; returns its interpreter."""
    place = folder / "peers"
    venv.create(place, with_pip=False, symlinks=True)
    inside = next((place / "lib").glob("python*")) / "site-packages"
    missing = [f"{name}=={version}" for name, version in VERSIONS.items() if _version(name) != version]
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(inside), *missing]
    subprocess.run(install, check=True)
    borrowed = [path for path in sys.path if path.endswith("site-packages")]
    (inside / "borrowed.pth").write_text("\n".join(borrowed) + "\n")
    return str(place / "bin" / "python")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def random_weights(path: Path, seed: int = 0) -> None:
    """Write random weights of the FID Inception, every part of them drawn, so that features spread as trained ones do."""
    import torchvision

    model = torchvision.models.inception_v3(num_classes=1008, aux_logits=False, weights=None, init_weights=False)
    generator, state = torch.Generator().manual_seed(seed), model.state_dict()
    for name, value in state.items():
        if name.endswith("conv.weight"):
            value.normal_(0, (2 / value[0].numel()) ** 0.5, generator=generator)
        elif name.endswith(("bn.weight", "running_var")):
            value.uniform_(0.5, 1.5, generator=generator)
        elif name.endswith(("bn.bias", "running_mean", "fc.weight", "fc.bias")):
            value.normal_(0, 0.1, generator=generator)
    torch.save(dict(state), path)


def run_peer(python: str, job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Run a job in the peers' environment; returns what it tells, features under "features"."""
    path = folder / "job.json"
    path.write_text(json.dumps(job | {"out": str(folder / "features.npy")}))
    quiet = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([python, "-m", "benchmarks.t2i_peers", str(path)], capture_output=True, text=True, env=quiet)
    if done.returncode:
        raise SystemExit(f"{job.get('peer', 'A peer')} failed:\n{done.stderr[-3000:]}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told if "sets" in job else told | {"features": np.load(folder / "features.npy")}


# ---- inside the peers' environment


def torch_fidelity(files: list[str], job: dict[str, Any]) -> np.ndarray:
    """Its own data set, loader, network and loop."""
    from torch_fidelity.datasets import ImagesPathDataset
    from torch_fidelity.feature_extractor_base import FeatureExtractorBase
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    from torch_fidelity.utils import get_featuresdict_from_dataset

    class Nothing(FeatureExtractorBase):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
            return (torch.zeros(len(x), 2048),)

        @staticmethod
        def get_provided_features_list() -> tuple[str]:
            return ("2048",)

    given = {"feature_extractor_weights_path": job["weights"]}
    net = Nothing("nothing", ["2048"]) if job["free"] else FeatureExtractorInceptionV3("inception", ["2048"], **given)
    found = get_featuresdict_from_dataset(ImagesPathDataset(files), net, job["batch"], False, False, False)
    each: np.ndarray = found["2048"].numpy()
    return each


def _pytorch_fid_network(job: dict[str, Any], **options: bool) -> Callable[[torch.Tensor], Any]:
    import pytorch_fid.inception as theirs

    if job["free"]:
        return _Free()
    state = torch.load(job["weights"], weights_only=True)
    theirs.load_state_dict_from_url = lambda url, progress: state
    return theirs.InceptionV3(**options).eval()


class _Free(torch.nn.Module):
    """A network that costs nothing."""

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [torch.zeros(len(x), 2048, 1, 1)]


def pytorch_fid(files: list[str], job: dict[str, Any]) -> np.ndarray:
    """Its own loop with the number of workers its command takes."""
    from pytorch_fid.fid_score import get_activations

    workers = min(len(os.sched_getaffinity(0)), 8)
    found: np.ndarray = get_activations(files, _pytorch_fid_network(job), job["batch"], 2048, "cpu", workers)
    return found


def clean_fid(files: list[str], job: dict[str, Any], mode: str = "clean") -> np.ndarray:
    """Its own loop and resize, pytorch-fid's modules in the place of its TorchScript network."""
    from cleanfid.fid import get_files_features

    net = _pytorch_fid_network(job, resize_input=False, normalize_input=mode == "legacy_pytorch")
    scale = (lambda x: x / 255) if mode == "legacy_pytorch" else (lambda x: (x - 128) / 128)
    given = {"batch_size": job["batch"], "device": torch.device("cpu"), "mode": mode, "verbose": False}
    found: np.ndarray = get_files_features(files, lambda x: net(scale(x))[0].flatten(1), **given)
    return found


def torchmetrics(files: list[str], job: dict[str, Any], antialias: bool = True) -> np.ndarray:
    """Its metric's network, fed as its documentation does, by torch's loader on PIL images."""
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset
    from torchmetrics.image.fid import NoTrainInceptionV3
    from torchvision.transforms.functional import pil_to_tensor

    class Files(Dataset):
        def __len__(self) -> int:
            return len(files)

        def __getitem__(self, i: int) -> torch.Tensor:
            return pil_to_tensor(Image.open(files[i]).convert("RGB"))

    net = NoTrainInceptionV3("inception-v3-compat", ["2048"], job["weights"], antialias) if not job["free"] else _Free()
    with torch.no_grad():
        loader = DataLoader(Files(), job["batch"], num_workers=min(len(os.sched_getaffinity(0)), 4))
        return torch.cat([(net(x)[0] if job["free"] else net(x)).reshape(len(x), 2048) for x in loader]).numpy()


PEERS: dict[str, Callable[[list[str], dict[str, Any]], np.ndarray]] = {
    "torch-fidelity": torch_fidelity,
    "pytorch-fid": pytorch_fid,
    "clean-fid": clean_fid,
    "clean-fid legacy_pytorch": lambda files, job: clean_fid(files, job, "legacy_pytorch"),
    "torchmetrics": torchmetrics,
    "torchmetrics antialias=False": lambda files, job: torchmetrics(files, job, antialias=False),
}


def frechet(peer: str, one: np.ndarray, two: np.ndarray) -> float:
    """Return the peer's own Fréchet distance of two sets of features."""
    if peer.startswith("torchmetrics"):
        return _torchmetrics_frechet(one, two)
    if peer == "torch-fidelity":
        from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

        a, b = (fid_features_to_statistics(torch.from_numpy(each)) for each in (one, two))
        return float(fid_statistics_to_metric(a, b, False)["frechet_inception_distance"])
    if peer == "pytorch-fid":
        from pytorch_fid.fid_score import calculate_frechet_distance

        return float(calculate_frechet_distance(one.mean(0), np.cov(one, rowvar=False), two.mean(0), np.cov(two, rowvar=False)))
    from cleanfid.fid import fid_from_feats

    return float(fid_from_feats(one, two))


def _torchmetrics_frechet(one: np.ndarray, two: np.ndarray) -> float:
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(feature=Same())
    metric.update(torch.from_numpy(one), real=True)
    metric.update(torch.from_numpy(two), real=False)
    return float(metric.compute())


class Same(torch.nn.Module):
    """A network for metrics of torchmetrics that are given features."""

    num_features = 2048

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return what is given."""
        return x


def kid_torch_fidelity(ours: np.ndarray, real: np.ndarray) -> list[float]:
    """KID over one subset that is everything, in the features' precision."""
    from torch_fidelity.metric_kid import kid_features_to_metric

    given = {"kid_subsets": 1, "kid_subset_size": len(ours), "verbose": False}
    found = kid_features_to_metric(torch.from_numpy(ours), torch.from_numpy(real), **given)
    return [float(found["kernel_inception_distance_mean"])]


def kid_torchmetrics(ours: np.ndarray, real: np.ndarray) -> list[float]:
    """The same."""
    from torchmetrics.image.kid import KernelInceptionDistance

    metric = KernelInceptionDistance(feature=Same(), subsets=1, subset_size=len(ours))
    metric.update(torch.from_numpy(real), real=True)
    metric.update(torch.from_numpy(ours), real=False)
    return [float(metric.compute()[0])]


def kid_clean_fid(ours: np.ndarray, real: np.ndarray) -> list[float]:
    """The same."""
    from cleanfid.fid import kernel_distance

    return [kernel_distance(real, ours, num_subsets=1, max_subset_size=len(ours))]


def prdc(ours: np.ndarray, real: np.ndarray) -> list[float]:
    """Precision and recall at the k of their authors, density and coverage at theirs."""
    import contextlib

    from prdc import compute_prdc

    with contextlib.redirect_stdout(sys.stderr):
        near, wide = compute_prdc(real, ours, K_PRECISION), compute_prdc(real, ours, K_DENSITY)
    return [float(near[name]) for name in ("precision", "recall")] + [float(wide[name]) for name in ("density", "coverage")]


def precision_recall_torch_fidelity(ours: np.ndarray, real: np.ndarray) -> list[float]:
    """Precision and recall."""
    from torch_fidelity.metric_prc import prc_features_to_metric

    found = prc_features_to_metric(torch.from_numpy(ours), torch.from_numpy(real), prc_neighborhood=K_PRECISION, verbose=False)
    return [found["precision"], found["recall"]]


MEASURES: dict[str, dict[str, Callable[[np.ndarray, np.ndarray], list[float]]]] = {
    "kid": {"torch-fidelity": kid_torch_fidelity, "torchmetrics": kid_torchmetrics, "clean-fid": kid_clean_fid},
    "prdc": {"prdc": prdc, "torch-fidelity": precision_recall_torch_fidelity},
}


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Return what each peer makes of two sets of features."""
    sets = np.load(job["sets"])
    found: dict[str, Any] = {}
    for name, peers in MEASURES.items():
        for precision in ("float32", "float64"):
            given = [sets[which].astype(precision) for which in ("ours", "real")]
            found[f"{name}, {precision}"] = {peer: how(*given) for peer, how in peers.items()}
    return found


def cpu_seconds() -> float:
    """Return CPU seconds of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main() -> None:
    """Do one job and tell its outcome as JSON on the last line."""
    job = {"free": False, "half": 0, "warm": 0} | json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(1)
    if "sets" in job:
        print(json.dumps(measure(job)))
        return
    run, files = PEERS[job["peer"]], job["files"]
    if job["warm"]:
        run(files[: job["warm"]], job)
    start, wall = cpu_seconds(), time.perf_counter()
    features = run(files, job)
    told = {"cpu": cpu_seconds() - start, "wall": time.perf_counter() - wall}
    if job["half"]:
        told["fid"] = frechet(job["peer"], features[: job["half"]], features[job["half"] :])
    np.save(job["out"], features)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
