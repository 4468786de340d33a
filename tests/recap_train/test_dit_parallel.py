"""Two processes train what one would: the same samples, noise and loss; an image that cannot be read counts nowhere."""

import json
import os
import subprocess
import sys

import pytest
import torch
from ranked import free_port
from tiny_dit import tiny_parts, weights


@pytest.fixture(scope="module")
def parts(models, tmp_path_factory):
    return tiny_parts(tmp_path_factory.mktemp("parts"), models[0.0, 0])


def train(world, parts, out, size=1, *words):
    command = [sys.executable, "-m", "recap_train.cli", "dit", "--data", world, "--recipe", "dit-scenes", "--no-eval"]
    command += ["--autoencoder", parts.autoencoder, "--text-encoder", parts.text_encoder, "--p-original", 0.5]
    command += ["--samples-seen", 64, "--objective", "epsilon", "--ema", 0.5, "--precision", "fp32", "--out", out, *words]
    known = os.environ | {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    ranks = [known | {"RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(size)} for rank in range(size)]
    children = [subprocess.Popen([*map(str, command)], env=env, stderr=subprocess.PIPE, text=True) for env in ranks]
    try:
        said = [child.communicate(timeout=200)[1] for child in children]
    finally:
        for child in children:
            child.kill()
    assert not any(child.returncode for child in children), "\n".join(said)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_processes_train_what_one_would(world, parts, tmp_path, kind):
    train(world, parts, tmp_path / "one")
    train(world, parts, tmp_path / "two", 2, "--parallel", kind, "--micro-batch", 5)
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-3, atol=3e-4, msg=name)
    made = [json.loads((tmp_path / name / "artifact.json").read_text())["made"] for name in ("one", "two")]
    assert made[0]["ledger"] == made[1]["ledger"] and made[0]["identity"] == made[1]["identity"]
