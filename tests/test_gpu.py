"""What a GPU makes against what the processor makes of the same: training, measuring, captioning, sampling."""

import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from support import make_run, recap
from tiny_dit import tiny_parts, tiny_recipe, tiny_run, weights

from recap_train.clip import train as train_clip
from recap_train.diffusion import run as diffusion
from recap_train.diffusion import vae
from recap_train.diffusion.recipe import load_image_recipe
from recap_train.engine import Engine

pytestmark = pytest.mark.gpu
GPU = "cuda"


def losses(folder):
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


def tensors(path):
    from safetensors.torch import load_file

    return load_file(path)


def near(one, other, share):
    """Matrices differ by a small share of their size; biases of keys have no gradient but rounding, whose steps Adam makes."""
    for name in (name for name, weight in one.items() if weight.ndim > 1):
        apart, size = (one[name] - other[name]).float().norm(), one[name].float().norm()
        assert apart <= share * size + 1e-6, f"{name}: {apart / size:.2g}"


@pytest.mark.parametrize(("precision", "share"), [("fp32", 5e-3), ("bf16", 0.1)])
def test_clip_trained_on_a_gpu_is_the_processors(world, tmp_path, precision, share):
    for device in ("cpu", GPU):
        run = make_run(world, tmp_path / device, 0.5, samples=256, engine=Engine(device=device))
        train_clip(replace(run, precision=precision if device == GPU else "fp32"))
    both = [tensors(tmp_path / device / "open_clip_model.safetensors") for device in ("cpu", GPU)]
    near(*both, share)
    assert losses(tmp_path / GPU) == pytest.approx(losses(tmp_path / "cpu"), rel=share)


@pytest.mark.parametrize(("precision", "allowed"), [("fp32", 0.0), ("bf16", 0.06)])
def test_a_gpu_measures_what_the_processor_measures(world, model, tmp_path, precision, allowed):
    found = {}
    for device in ("cpu", GPU):
        places = ("--data", world, "--out", tmp_path / device, "--no-report", "--no-cache")
        words = ("clip", "--model", model, "--device", device, *places)
        done = recap("recap-eval", *words, "--precision", precision if device == GPU else "fp32", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        records = [json.loads(path.read_text()) for path in sorted((tmp_path / device).rglob("scenes-*.json"))]
        found[device] = {(one["task"]["name"], name): cell["value"] for one in records for name, cell in one["metrics"].items()}
    assert found["cpu"].keys() == found[GPU].keys() and len(found[GPU]) > 5
    shares = [name for name in found["cpu"] if name[1].endswith(("r1", "acc1"))]
    for name in shares:
        assert found[GPU][name] == pytest.approx(found["cpu"][name], abs=allowed + 1e-9), name


@pytest.mark.parametrize("compiled", [False, True])
def test_a_diffusion_transformer_trained_on_a_gpu_is_the_processors(world, models, tmp_path, compiled):
    parts = tiny_parts(tmp_path / "parts", models[0.0, 0])
    recipe = tiny_recipe("flow-logit-normal")
    for device in ("cpu", GPU):
        engine = Engine(device=device, ema=0.9, compile=compiled and device == GPU)
        diffusion.train(tiny_run(world, tmp_path / device, world, recipe=recipe, engine=engine), parts)
    near(weights(tmp_path / "cpu"), weights(tmp_path / GPU), 2e-3)
    assert losses(tmp_path / GPU) == pytest.approx(losses(tmp_path / "cpu"), rel=2e-3)


def test_an_auto_encoder_and_a_set_made_on_a_gpu(world, models, tmp_path):
    recipe = load_image_recipe("vae-scenes-64", "autoencoder")
    run = make_run(world, tmp_path / "vae", 1.0, samples=64, recipe=recipe, engine=Engine(device=GPU))
    assert vae.train(run)[0].made["measured"]["psnr"] > 3
    words = ["--autoencoder", tmp_path / "vae", "--text-encoder", models[0.0, 0]]
    made = recap(
        "recap-train",
        "precompute",
        "--data",
        world,
        "--recipe",
        "dit-b4-scenes",
        *words,
        "--out",
        tmp_path / "set",
        "--device",
        GPU,
    )
    assert made.returncode == 0, made.stderr
    small = ["--batch-size", 8, "--samples-seen", 16, "--p-original", 0, "--device", GPU, "--no-eval"]
    words = ["dit", "--data", tmp_path / "set", "--recipe", "dit-b4-scenes", *words, *small, "--out", tmp_path / "dit"]
    done = recap("recap-train", *words)
    assert done.returncode == 0, done.stderr
    assert "MFU of" in done.stderr and "trained already" in recap("recap-train", *words).stdout


def test_a_run_goes_on_on_a_gpu(world, tmp_path, monkeypatch):
    from recap_train import loop

    def run(out):
        return make_run(world, out, 0.5, samples=640, engine=Engine(device=GPU, ema=0.9, save_seconds=0))

    train_clip(run(tmp_path / "whole"))
    count, real = [0], loop.Loop._step

    def failing(self, *args):
        count[0] += 1
        if count[0] == 3:
            raise KeyboardInterrupt
        return real(self, *args)

    monkeypatch.setattr(loop.Loop, "_step", failing)
    with pytest.raises(KeyboardInterrupt):
        train_clip(run(tmp_path / "halted"))
    monkeypatch.setattr(loop.Loop, "_step", real)
    train_clip(run(tmp_path / "halted"))
    near(*(tensors(tmp_path / name / "open_clip_model.safetensors") for name in ("whole", "halted")), 5e-3)


@pytest.mark.parametrize(("precision", "alike"), [("fp32", 0.99), ("bf16", 0.8)])
def test_a_gpu_captions_as_the_processor_does(world, tmp_path, precision, alike):
    texts = {}
    for device in ("cpu", GPU):
        data = ("--input", world / "train", "--caption-preset", "scenes", "--output", tmp_path / device)
        words = ("run", *data, "--model", "scenes-tiny", "--no-eval", "--temperature", 0, "--device", device)
        words += ("--precision", precision if device == GPU else "fp32")
        done = recap("recap-caption", *words)
        assert done.returncode == 0, done.stderr
        rows = pq.read_table(tmp_path / device / "captions").to_pylist()
        texts[device] = {row["key"]: row["re_caption"] for row in rows}
    assert texts["cpu"].keys() == texts[GPU].keys() and len(texts[GPU]) == 96
    assert np.mean([texts[GPU][key] == text for key, text in texts["cpu"].items()]) >= alike


@pytest.mark.parametrize(("precision", "alike"), [("fp32", 0.999), ("bf16", 0.6)])
def test_a_gpu_paints_what_the_processor_paints(world, tmp_path, precision, alike):
    images = {}
    for device in ("cpu", GPU):
        data = ("--prompts", "scenes", "--column", "recap", "--data", world, "--limit", 8, "--out", tmp_path / device)
        words = ("generate", "--model", "dit-scenes-p0-s0", *data, "--device", device)
        words += ("--precision", precision if device == GPU else "fp32")
        done = recap("recap-eval", *words)
        assert done.returncode == 0, done.stderr
        paths = sorted((tmp_path / device).rglob("*.png"))
        images[device] = np.stack(
            [np.asarray(Image.open(path), dtype=np.float32) for path in paths if path.parent.name != "sheet"]
        )
    assert images["cpu"].shape == images[GPU].shape and len(images[GPU]) >= 8
    assert np.corrcoef(images["cpu"].ravel(), images[GPU].ravel())[0, 1] >= alike


def test_the_step_is_counted_in_operations_and_in_memory(world, tmp_path):
    run = make_run(world, tmp_path / "clip", 0.5, samples=128, engine=Engine(device=GPU))
    artifact, _ = train_clip(run)
    assert artifact.run["mfu"] > 0 and artifact.run["peak_memory_gib"] < 4
    assert torch.cuda.get_device_name() == artifact.run["device"]
