"""Measuring on the way: when, once, without a trace in what is trained."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support import make_run
from test_clip import weights

from recap_eval.artifact import find_artifact
from recap_eval.results import read_results
from recap_eval.signals import Stopped
from recap_train.clip import train
from recap_train.evals import Evals, InTraining
from recap_train.loop import Loop

SCORE = {"scenes-zeroshot/acc1": 0.25}


@pytest.fixture
def measured(monkeypatch):
    """The folders that are measured, without a process."""
    folders: list[Path] = []

    def run(self, folder, stop_wished):
        assert find_artifact(folder) is not None and (folder / "open_clip_model.safetensors").is_file()
        folders.append(folder)
        return dict(SCORE)

    monkeypatch.setattr(InTraining, "_run", run)
    return folders


def entries(out):
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_the_weights_so_far_are_measured_by_recap_eval(world, tmp_path):
    run = make_run(world, tmp_path / "o", samples=384)
    train(replace(run, evals=Evals(256, "scenes-zeroshot", world)))
    results = read_results(tmp_path / "o" / "evals" / "leaderboards")
    assert [(found.model, found.task) for found in results] == [("tiny-p0.5-s0@256", "scenes-zeroshot")]
    made = results[0].meta
    assert made["samples_seen"] == 256 and made["samples_total"] == 384
    noted = [entry for entry in entries(tmp_path / "o") if "eval" in entry]
    assert noted == [
        {"step": 2, "samples": 256, "eval": {"scenes-zeroshot/acc1": results[0].record["metrics"]["acc1"]["value"]}}
    ]
    assert not list((tmp_path / "o" / "evals").rglob("*.safetensors"))


def test_the_training_is_bit_identical_with_and_without(world, tmp_path, measured):
    with_evals, without = (make_run(world, tmp_path / name, samples=640) for name in ("with", "without"))
    one, _ = train(replace(with_evals, evals=Evals(200, keep=True)))
    other, _ = train(without)
    ours, theirs = weights(tmp_path / "with"), weights(tmp_path / "without")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs) and one.revision == other.revision
    assert one.made == other.made
    # batches of 128: 200 is passed at 256, 400 at 512, 600 at the end, where the finished model is measured
    assert [folder.name for folder in measured] == ["samples-256", "samples-512"]
    kept = weights(measured[0])
    assert any(not torch.equal(kept[name], ours[name]) for name in ours)


def test_nothing_is_measured_twice_after_a_stop(world, tmp_path, measured, monkeypatch):
    run = replace(make_run(world, tmp_path / "o", samples=640), evals=Evals(128))
    real = Loop._step

    def step(self, number, *rest):
        if number == 3:
            raise RuntimeError("the power fails")  # after the measurement of step 3, before any checkpoint
        return real(self, number, *rest)

    monkeypatch.setattr(Loop, "_step", step)
    with pytest.raises(RuntimeError):
        train(run)
    assert [folder.name for folder in measured] == ["samples-128", "samples-256", "samples-384"]
    monkeypatch.setattr(Loop, "_step", real)
    train(run)
    assert [folder.name for folder in measured][3:] == ["samples-512"]
    noted = [entry["samples"] for entry in entries(tmp_path / "o") if "eval" in entry]
    assert noted == [128, 256, 384, 512]


def test_a_measurement_that_was_broken_off_is_made_where_the_run_goes_on(world, tmp_path, monkeypatch):
    import os
    import signal

    asked = []

    def run(self, folder, stop_wished):
        asked.append(folder.name)
        if len(asked) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop_wished()
            return None
        return dict(SCORE)

    monkeypatch.setattr(InTraining, "_run", run)
    run_ = replace(make_run(world, tmp_path / "o", samples=384), evals=Evals(128))
    with pytest.raises(Stopped):
        train(run_)
    assert not (tmp_path / "o" / "evals" / "samples-128" / "evaluated.json").exists()
    train(run_)
    assert asked == ["samples-128", "samples-128", "samples-256"]


def test_a_failing_measurement_is_told_and_trained_past(world, tmp_path, capsys):
    run = make_run(world, tmp_path / "o", samples=384)
    artifact, _ = train(replace(run, evals=Evals(256, "scenes-zeroshot", tmp_path / "nowhere")))
    told = capsys.readouterr().err
    assert "warning: no measurement after 256 samples" in told and "scenes-zeroshot" in told
    assert artifact.made["samples_seen"] == 384 and not list((tmp_path / "o" / "evals").rglob("*.safetensors"))


def test_a_process_is_ended_when_the_training_is_to_stop():
    import subprocess
    import sys
    import time

    from recap_train.evals import _ended

    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    start = time.perf_counter()
    assert not _ended(process, lambda: True)
    assert time.perf_counter() - start < 5 and process.returncode is not None


def test_the_launchers_variables_are_not_handed_on(monkeypatch):
    from recap_train.parallel import alone_environment

    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "TORCHELASTIC_RUN_ID"):
        monkeypatch.setenv(name, "1")
    left = alone_environment()
    assert not [name for name in left if name.startswith(("RANK", "WORLD", "MASTER", "TORCHELASTIC"))] and "PATH" in left
