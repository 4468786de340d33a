"""What torch-fidelity, pytorch-fid, clean-fid and torchmetrics make of a list of image files, in an environment of their own.

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
    "scipy": "1.17.1",
}
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
        raise SystemExit(f"{job['peer']} failed:\n{done.stderr[-3000:]}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told | {"features": np.load(folder / "features.npy")}


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

    class Same(torch.nn.Module):
        num_features = 2048

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    metric = FrechetInceptionDistance(feature=Same())
    metric.update(torch.from_numpy(one), real=True)
    metric.update(torch.from_numpy(two), real=False)
    return float(metric.compute())


def cpu_seconds() -> float:
    """Return CPU seconds of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main() -> None:
    """Do one job and tell its outcome as JSON on the last line."""
    job = {"free": False, "half": 0, "warm": 0} | json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(1)
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
