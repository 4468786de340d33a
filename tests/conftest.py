"""Small worlds and models, made once a session; torch on one thread, so that parallel tests do not fight."""

import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["RECAP_CACHE"] = tempfile.mkdtemp(prefix="recap-test-cache-")
os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parents[1])  # for processes that tests and commands start
sys.path.insert(0, str(Path(__file__).parent))

import pytest
from support import make_run


def pytest_runtest_setup(item):
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA GPU")


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Path:
    """A folder of scenes: 96 training images, 48 in val and test."""
    from recap_eval.data.scenes.write import World, write_world

    folder = tmp_path_factory.mktemp("world") / "scenes"
    write_world(folder, World(n=96, n_eval=48), workers=1)
    return folder


@pytest.fixture
def fresh_world(world, tmp_path) -> Path:
    """A copy of the world that a test may damage."""
    import shutil

    return Path(shutil.copytree(world, tmp_path / "scenes"))


@pytest.fixture(scope="session")
def models(world, tmp_path_factory) -> dict[tuple[float, int], Path]:
    """Briefly trained models by (p, seed): p in 0, 1 and seeds 0, 1."""
    from recap_train.clip import train

    root = tmp_path_factory.mktemp("models")
    made = {}
    for p in (0.0, 1.0):
        for seed in (0, 1):
            made[p, seed] = root / f"tiny-p{p:g}-s{seed}"
            train(make_run(world, made[p, seed], p, seed, samples=256))
    return made


@pytest.fixture(scope="session")
def model(models) -> Path:
    """One briefly trained model."""
    return models[1.0, 0]


@pytest.fixture
def host(monkeypatch):
    """A local web server that has one file; failures are not waited for."""
    from web import DATA, NAME, Host

    from recap_eval.data import download

    monkeypatch.setattr(download, "WAIT", 0.001)
    server = Host()
    server.files[f"/{NAME}"] = DATA
    yield server
    server.close()
