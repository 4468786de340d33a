"""Several processes against one with the same global batch."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from ranked import Case, together, watch
from support import ROOT, make_run

from recap_eval.artifact import find_artifact
from recap_eval.data.shards import read_shards
from recap_train.clip import train
from recap_train.engine import Engine
from recap_train.parallel import alone_environment
from recap_train.recipes import load_recipe

pytestmark = pytest.mark.serial
STEPS = 10


def weights(folder):
    from safetensors.torch import load_file

    return load_file(folder / "open_clip_model.safetensors")


def close(one, two, bound=1e-5):
    return torch.linalg.norm(one - two) <= bound * torch.linalg.norm(two)


def tiny(batch_size=32, **settings):
    recipe = load_recipe("scenes-tiny")
    return replace(recipe, train=recipe.train | {"batch_size": batch_size} | settings)


@pytest.fixture(scope="module")
def spoilt(world, tmp_path_factory):
    """A world of whose first batch of eight the second half cannot be read, and three images of the others."""
    folder = shutil.copytree(world, tmp_path_factory.mktemp("spoilt") / "scenes")
    samples = read_shards(folder / "train")
    from recap_train.training_data import plan_of, read_training_data

    run = make_run(folder, folder)
    order = plan_of(run, read_training_data(run)).visit(0, 96).index
    for position in (4, 5, 6, 7, 9, 10, 22):
        sample = samples[order[position]]
        with sample.tar.open("r+b") as stream:
            stream.seek(sample.image.offset)
            stream.write(b"\0" * sample.image.size)
    return folder


@pytest.fixture(scope="module")
def watched(world, spoilt, tmp_path_factory):
    """Every case by one process and by two."""
    root = tmp_path_factory.mktemp("ranks")
    slow = tiny(eps=1e-4)  # so that rounding in a gradient that is zero is no step of full length
    plain = make_run(world, root, samples=STEPS * 32, recipe=tiny())
    masked = replace(plain, samples_seen=4 * 32, recipe=slow, engine=Engine(mask_images=0.5, ema=0.5))
    bad = make_run(spoilt, root, samples=6 * 8, recipe=tiny(8), skip_bad=True)
    long = make_run(world, root, samples=6 * 32, recipe=tiny(eps=1e-4, grad_clip=0.5), engine=Engine(ema=0.5))
    cases = {}
    for kind in ("ddp", "fsdp"):
        cases[f"plain-{kind}"] = Case(plain)
        cases[f"masked-{kind}"] = Case(replace(masked, engine=replace(masked.engine, micro_batch=7, grad_checkpointing=True)))
        cases[f"bad-{kind}"] = Case(bad)
        cases[f"stop-{kind}"] = Case(long, stop_after=2)
        for name in cases:
            if name.endswith(kind):
                run = cases[name].run
                cases[name].run = replace(run, out=root / name, engine=replace(run.engine, parallel=kind))
    two = dict(zip(cases, zip(*together(list(cases.values()), root), strict=True), strict=True))
    one = {}
    for name, run in {"plain": plain, "masked": masked, "bad": bad, "stop": long}.items():
        one[name] = watch(Case(replace(run, out=root / f"{name}-one")))
    return root, one, two, cases


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
@pytest.mark.parametrize("case", ["plain", "masked", "bad"])
def test_two_processes_are_one(watched, case, kind):
    """First gradient and all losses; masked is in micro-batches too; in bad a process has no readable image at first."""
    root, one, two, _ = watched
    first, second = two[f"{case}-{kind}"]
    assert first["losses"] == second["losses"]
    assert first["losses"] == pytest.approx(one[case]["losses"], rel=1e-5)
    assert close(first["gradient"], one[case]["gradient"])
    alone, shared = (find_artifact(root / f"{case}-{end}").made for end in ("one", kind))
    assert alone == shared and (case != "bad" or alone["bad_images"] == 7)
    ours, theirs = weights(root / f"{case}-{kind}"), weights(root / f"{case}-one")
    assert {name: value.shape for name, value in ours.items()} == {name: value.shape for name, value in theirs.items()}


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_averages_are_the_same(watched, kind):
    root = watched[0]
    ours, theirs = (weights(root / f"masked-{end}" / "ema") for end in (kind, "one"))
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-5) for name in theirs)


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_all_stop_at_one_step_and_another_number_goes_on(watched, kind):
    """SIGTERM to one of two processes; one process finishes."""
    root, _, two, cases = watched
    assert [seen["stopped"] for seen in two[f"stop-{kind}"]] == [("stopped at step 2 of 6", 0)] * 2
    run = cases[f"stop-{kind}"].run
    state = torch.load(run.out / "checkpoint.pt")
    assert state["model"]["model.logit_scale"].shape == () and state["progress"]["step"] == 2
    train(run)
    for part in (".", "ema"):
        ours, theirs = weights(run.out / part), weights(root / "stop-one" / part)
        assert all(torch.allclose(ours[name], theirs[name], atol=1e-5) for name in theirs)
    assert find_artifact(run.out).made == find_artifact(root / "stop-one").made
    log = [json.loads(line)["step"] for line in (run.out / "log.jsonl").read_text().splitlines()]
    assert log == [1, 2, 6]


def test_torchrun_trains_and_one_process_measures(world, tmp_path):
    words = ["--data", world, "--model", "scenes-tiny", "--p-original", "0.5", "--samples-seen", "256", "--out", tmp_path / "o"]
    words += ["--leaderboards", tmp_path / "lb", "--reports", tmp_path / "rep", "--parallel", "fsdp", "--device", "cpu"]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launch, "-m", "recap_train.cli", "clip", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("256 samples in") == 1 and len(list((tmp_path / "lb").rglob("*.json"))) == 5
    assert find_artifact(tmp_path / "o").run["processes"] == 2


def test_a_command_started_on_the_way_is_no_part_of_the_world(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    assert not {"RANK", "TORCHELASTIC_RUN_ID"} & alone_environment().keys() and "PATH" in alone_environment()


def test_a_batch_that_cannot_be_shared_is_refused(world, tmp_path, monkeypatch):
    from recap_eval.errors import UserError
    from recap_train import clip
    from recap_train.parallel import World

    with pytest.raises(UserError, match="128 cannot be shared by 3"):
        clip.train_with(make_run(world, tmp_path / "r"), World(size=3))
