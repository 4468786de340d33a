"""Precomputed sets: what they hold, going on, and what they refuse; the auto-encoder of scenes; the commands."""

import json
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from support import assert_two_line_error, recap, write_tar
from tiny_dit import tiny_parts, tiny_recipe, tiny_run

from recap_eval.artifact import find_artifact
from recap_eval.errors import DataError, UserError
from recap_train.diffusion import features, precompute
from recap_train.diffusion import run as diffusion
from recap_train.diffusion.precompute import Encoding
from recap_train.training_data import read_training_data

SHIFT = 2.0**-9  # two half-precision steps at 1


@pytest.fixture(scope="module")
def parts(models, tmp_path_factory):
    return tiny_parts(tmp_path_factory.mktemp("parts"), models[0.0, 0])


@pytest.fixture(scope="module")
def encoders(parts):
    return diffusion.open_encoders(tiny_recipe(), parts, "cpu")


@pytest.fixture
def made(world, encoders, tmp_path):
    """A set in parts of forty samples, and its run."""
    run = tiny_run(world, tmp_path / "set", world)
    precompute.precompute(Encoding(run, encoders, size=16))
    return run


def test_it_holds_what_the_encoders_give(made, world, encoders):
    data, found = read_training_data(made), features.Features(features.open_manifest(made.out), made.out)
    assert len(found) == len(data) == 96 and found.source == data.source
    moments, places = found.array("00000.moments.npy"), found.places()
    assert moments.dtype == np.float16 and moments.shape == (96, 8, 16, 16)
    pixels = torch.stack(
        [
            data.feed(made, precompute.InOrder(data.keys(), made.mix, 0), encoders.text.tokens).batch(n, n + 1).pixels[0]
            for n in (0, 95)
        ]
    )
    torch.testing.assert_close(torch.from_numpy(moments[[0, 95]]), encoders.moments(pixels), rtol=SHIFT, atol=SHIFT)
    states = found.array("00000.states.npy")
    for index in (0, 7, 95):
        captions = data.captions_at(index)
        assert found.captions_at(index) == captions and found.name(index) == data.name(index)
        for slot, text in enumerate(captions.texts()):
            first, rows = places[index, slot]
            if not text.strip():
                assert rows == 0
                continue
            wanted, present = encoders.states(encoders.text.tokens([text]))
            torch.testing.assert_close(
                torch.from_numpy(states[first : first + rows]), wanted[0][present[0]], rtol=SHIFT, atol=SHIFT
            )


def test_a_text_is_kept_once(made):
    found = features.Features(features.open_manifest(made.out), made.out)
    texts = {text for index in range(96) for text in found.captions_at(index).texts() if text.strip()}
    spans = {tuple(span) for span in found.places().reshape(-1, 2).tolist() if span[1]}
    assert len(spans) == len(texts) < 192
    assert sum(rows for _, rows in spans) == len(found.array("00000.states.npy"))


def test_an_empty_caption_gives_way_or_is_empty(made, encoders):
    """At p = 1 the empty text's states; in between, the other caption's."""
    from dataclasses import replace

    from recap_train.mixing import Mix
    from recap_train.training_data import plan_of

    found = features.Features(features.open_manifest(made.out), made.out)
    gaps = [index for index in range(96) if not found.captions_at(index).original.strip()]
    assert gaps
    empty, _ = encoders.states(encoders.text.tokens([""]))
    for p, stands_in in ((1.0, False), (0.999, True)):
        run = replace(made, mix=Mix(p))
        plan = plan_of(run, found)
        batch, order = found.feed(run, plan, None).batch(0, 96), plan.visit(0, 96).index.tolist()
        for index in gaps:
            row = order.index(index)
            length = int(batch.present[row].sum())
            assert (length > 2) == stands_in
            if not stands_in:
                torch.testing.assert_close(batch.states[row, :length], empty[0], rtol=SHIFT, atol=SHIFT)


def test_made_in_pieces_it_is_the_same(made, world, encoders, tmp_path, monkeypatch):
    """Stopped within the second shard, the same command goes on; what is done stays."""
    sizes = np.array([40, 0, 56])
    monkeypatch.setattr("recap_train.training_data.ShardData.sizes", lambda self: sizes)
    run = tiny_run(world, tmp_path / "pieces", world)
    real = precompute._make_part

    def stop_at_second(what, lying, span, name):
        if name != "00000":
            raise KeyboardInterrupt
        real(what, lying, span, name)

    monkeypatch.setattr(precompute, "_make_part", stop_at_second)
    with pytest.raises(KeyboardInterrupt):
        precompute.precompute(Encoding(run, encoders, 16))
    assert not features.is_features(run.out)
    stamp = (run.out / "00000.states.npy").stat().st_mtime_ns
    monkeypatch.setattr(precompute, "_make_part", real)
    manifest, known = precompute.precompute(Encoding(run, encoders, 16))
    assert not known and [part["n"] for part in manifest["parts"]] == [40, 56]
    assert (run.out / "00000.states.npy").stat().st_mtime_ns == stamp
    assert precompute.precompute(Encoding(run, encoders, 16))[1]
    whole, cut = (features.Features(features.open_manifest(folder), folder) for folder in (made.out, run.out))
    joined = np.concatenate([cut.array(f"{name}.moments.npy") for name in ("00000", "00002")])
    np.testing.assert_allclose(joined, whole.array("00000.moments.npy"), rtol=SHIFT, atol=SHIFT)
    assert whole.fingerprint == cut.fingerprint


def test_another_set_is_refused(made, world, models, parts, tmp_path):
    other = diffusion.open_encoders(tiny_recipe(), diffusion.Parts(parts.autoencoder, str(models[1.0, 1])), "cpu")
    with pytest.raises(UserError, match="another set"):
        precompute.precompute(Encoding(made, other))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(UserError, match="not empty"):
        precompute.precompute(Encoding(tiny_run(world, tmp_path / "full", world), other))


def test_unreadable_images_are_left_out_if_asked(encoders, world, tmp_path):
    from dataclasses import replace

    from recap_train.workers import Loading

    with tarfile.open(world / "train" / "00000.tar") as tar:
        jpeg = tar.extractfile("000000000.jpg").read()
    meta = json.dumps({"org_caption": "a red circle", "re_caption": "a large red circle"}).encode()
    members = {}
    for number in range(20):
        members |= {f"{number:04d}.jpg": b"no image" if number == 3 else jpeg, f"{number:04d}.json": meta}
    (tmp_path / "shards").mkdir()
    write_tar(tmp_path / "shards" / "00000.tar", members)
    run = replace(tiny_run(tmp_path / "shards", tmp_path / "set", world), loading=Loading(max_bad=0.1))
    with pytest.raises(DataError, match="0003"):
        precompute.precompute(Encoding(run, encoders))
    shutil.rmtree(tmp_path / "set")
    manifest, _ = precompute.precompute(Encoding(replace(run, skip_bad=True), encoders))
    assert manifest["n"] == 19 and manifest["ledger"]["failed"] == 1
    assert features.Features(manifest, tmp_path / "set").name(3) == "0004"


@pytest.mark.slow
def test_the_commands_from_scenes_to_a_measured_model(world, models, tmp_path):
    clip, cut = models[0.0, 0], ["--precision", "fp32"]
    done = recap("recap-train", "vae", "--data", world, "--samples-seen", 64, "--out", tmp_path / "vae", *cut)
    assert done.returncode == 0 and "PSNR" in done.stdout, done.stderr
    artifact = find_artifact(tmp_path / "vae")
    assert artifact.kind == "autoencoder" and artifact.made["measured"]["deviation"] > 0
    config = json.loads((tmp_path / "vae" / "config.json").read_text())
    assert config["scaling_factor"] == pytest.approx(1 / artifact.made["measured"]["deviation"], rel=1e-3)
    assert (
        "already" in recap("recap-train", "vae", "--data", world, "--samples-seen", 64, "--out", tmp_path / "vae", *cut).stdout
    )
    parts = ["--recipe", "dit-scenes", "--autoencoder", tmp_path / "vae", "--text-encoder", clip]
    done = recap("recap-train", "precompute", "--data", world, *parts, "--out", tmp_path / "set")
    assert done.returncode == 0 and "96 samples" in done.stdout, done.stderr
    words = [
        "dit",
        "--data",
        tmp_path / "set",
        *parts,
        "--p-original",
        0.1,
        "--samples-seen",
        48,
        "--out",
        tmp_path / "dit",
        *cut,
    ]
    assert_two_line_error(recap("recap-train", *words), 2, "a CLIP that knows scenes", "--scorer")
    words += ["--scorer", clip, "--eval-data", world, "--eval-every", 32, "--eval-limit", 4]
    done = recap("recap-train", *words, "--no-eval", cwd=tmp_path)
    assert done.returncode == 0 and "48 samples" in done.stdout, done.stderr
    log = [json.loads(line) for line in (tmp_path / "dit" / "log.jsonl").open()]
    (on_the_way,) = [entry for entry in log if "eval" in entry]
    assert on_the_way["samples"] == 32 and 0 <= on_the_way["eval"]["recap/t2i-scenes-truth"] <= 100, on_the_way
    folder = tmp_path / "dit" / "evals" / "samples-32"
    assert len(list((folder / "images" / "recap").rglob("*.png"))) == 4 and not (folder / "transformer").exists()


def test_requests_that_are_wrong(world, models, tmp_path):
    base = ["dit", "--recipe", "dit-scenes", "--no-eval"]
    assert_two_line_error(recap("recap-train", *base), 2, "--data is needed")
    known = [*base, "--data", world, "--out", tmp_path / "x", "--samples-seen", 32, "--p-original", 0.5]
    assert_two_line_error(recap("recap-train", *known), 2, "--autoencoder is needed")
    given = [*known, "--text-encoder", models[0.0, 0], "--autoencoder"]
    assert_two_line_error(recap("recap-train", *given, tmp_path / "nowhere"), 2, "nowhere does not exist")
    assert_two_line_error(recap("recap-train", *given, models[0.0, 0]), 2, "kind 'clip'")
    assert_two_line_error(recap("recap-train", *given, "x", "--objective", "flwo"), 2, "flwo")
    assert_two_line_error(recap("recap-train", "dit", "--recipe", "dit-b5", "--dry-run"), 2, "dit-b5", "dit-b4")
    (tmp_path / "empty").mkdir()
    assert_two_line_error(recap("recap-train", *given, tmp_path / "empty"), 1, "no AutoencoderKL")


def test_a_dry_run_tells_constants_and_cost():
    done = recap("recap-train", "dit", "--recipe", "dit-b4", "--dry-run", "--samples-seen", 1_240_000_000, "--batch-size", 1024)
    assert done.returncode == 0, done.stderr
    for part in ("train.batch_size", "changed; the recipe has 2048", "train.ema", "0.9999", "DiT", "paper", "GPU hours"):
        assert part in done.stdout, done.stdout
    facts = json.loads(recap("recap-train", "dit", "--recipe", "dit-b4", "--dry-run", "--json", "--batch-size", 64).stdout)
    told = {row["name"]: row["value"] for row in facts["constants"]}
    assert told["train.lr"] == 1e-4 and told["train.batch_size"] == 64  # no rule ties the one to the other
    assert 118e6 < facts["parameters"] < 122e6


@pytest.mark.serial
def test_killed_at_any_moment_the_same_command_ends_in_the_same_weights(world, parts, tmp_path):
    from tiny_dit import weights

    def command(out: Path):
        words = ["dit", "--data", world, "--recipe", "dit-scenes", "--autoencoder", parts.autoencoder, "--no-eval"]
        words += ["--text-encoder", parts.text_encoder, "--p-original", "0.5", "--samples-seen", "640", "--save-every", "0s"]
        words += ["--out", out, "--precision", "fp32"]
        return [sys.executable, "-m", "recap_train.cli", *map(str, words)]

    assert subprocess.run(command(tmp_path / "whole"), capture_output=True).returncode == 0
    for number, kind in enumerate((signal.SIGTERM, signal.SIGKILL)):
        process = subprocess.Popen(command(tmp_path / "cut"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _wait_for(tmp_path / "cut" / "checkpoint.pt", process)
        time.sleep(0.2 * number)
        process.send_signal(kind)
        assert process.wait(60) in (-signal.SIGKILL, 0)
    assert subprocess.run(command(tmp_path / "cut"), capture_output=True).returncode == 0
    ours, theirs = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def _wait_for(path: Path, process) -> None:
    before = path.stat().st_mtime_ns if path.exists() else 0
    deadline = time.time() + 120
    while time.time() < deadline and process.poll() is None:
        if path.exists() and path.stat().st_mtime_ns != before:
            return
        time.sleep(0.05)
    assert process.poll() is not None or path.exists()
