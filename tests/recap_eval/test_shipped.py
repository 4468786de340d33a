"""The models that come with the package: whole, small, and what the docs say of them."""

import json

import pytest
from support import recap

from recap_eval.artifact import find_artifact, verify
from recap_eval.models.shipped import FOLDER, place_of, shipped_models

MOST = 9 << 20  # bytes


def test_they_are_whole_and_small():
    assert {"scenes-tiny", *(f"dit-scenes-p{p}-s0" for p in ("0", "0.5", "1"))} <= set(shipped_models())
    for name in shipped_models():
        folder = place_of(name)
        artifact = find_artifact(folder)
        assert artifact is not None and artifact.name == name
        verify(folder, artifact)
        assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < MOST
        assert artifact.run["command"].startswith("recap-train ") and artifact.run["git"]["dirty"] is False


def test_names_stand_for_folders_unless_a_folder_is_there(tmp_path, monkeypatch):
    assert place_of("scenes-tiny") == FOLDER / "scenes-tiny" and str(place_of("ORG/NAME")) == "ORG/NAME"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scenes-tiny").mkdir()
    assert str(place_of("scenes-tiny")) == "scenes-tiny"


def test_the_learning_curve_rises():
    lines = (place_of("scenes-tiny") / "log.jsonl").read_text().splitlines()
    evals = [entry["eval"]["f1"] for entry in map(json.loads, lines) if "eval" in entry]
    assert len(evals) >= 5 and evals[-1] > 0.9 > evals[0]


@pytest.mark.slow
def test_it_describes_scenes_that_it_has_not_seen(world, tmp_path):
    words = ("captioner", "--model", "scenes-tiny", "--data", world, "--tasks", "scenes-caption", "--batch-size", 48)
    done = recap("recap-eval", *words, "--out", tmp_path, "--no-report", "--answers", tmp_path / "answers.sqlite", "--json")
    assert done.returncode == 0, done.stderr
    record = next(iter(json.loads(done.stdout).values()))["results"][0]
    assert record["model"]["name"] == "scenes-tiny" and record["metrics"]["f1"]["n"] == 48
    assert record["metrics"]["f1"]["value"] > 0.9 and record["metrics"]["hallucination"]["value"] < 0.1


@pytest.mark.slow
def test_a_diffusion_transformer_draws_more_of_what_is_asked_for_with_recaptions(world, tmp_path):
    found = {}
    for name in ("dit-scenes-p0-s0", "dit-scenes-p1-s0"):
        words = ("t2i", "--model", name, "--prompts", "scenes", "--column", "recap", "--metrics", "scenes-truth", "--limit", 24)
        places = ("--data", world, "--images", tmp_path / name, "--out", tmp_path / "lb")
        how = ("--scheduler", "dpm++", "--steps", 20, "--guidance-scale", 3)
        done = recap("recap-eval", *words, *places, *how, "--json")
        assert done.returncode == 0, done.stderr
        record = next(iter(next(tmp_path.glob(f"lb/results/{name}-*")).glob("*.json")))
        found[name] = json.loads(record.read_text())["metrics"]["truth"]["value"]
    assert found["dit-scenes-p0-s0"] > 0.4 > found["dit-scenes-p1-s0"]
