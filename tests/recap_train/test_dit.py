"""Runs of a tiny diffusion transformer: what it makes opens in plain diffusers, and it goes on exactly where it stopped."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from support import assert_two_line_error, recap
from tiny_dit import tiny_parts, tiny_recipe, tiny_run, tiny_vae, weights

from recap_eval.artifact import find_artifact
from recap_eval.errors import DataError, UserError
from recap_train import checkpoint, loop
from recap_train.diffusion import run as diffusion
from recap_train.diffusion.precompute import Encoding, precompute
from recap_train.engine import Engine
from recap_train.loop import Loop
from recap_train.mixing import Mix
from recap_train.workers import Loading


@pytest.fixture(scope="module")
def parts(models, tmp_path_factory):
    """A tiny auto-encoder, and a CLIP's text tower."""
    return tiny_parts(tmp_path_factory.mktemp("parts"), models[0.0, 0])


@pytest.fixture(scope="module")
def encoded(world, parts, tmp_path_factory):
    """The world, precomputed."""
    out = tmp_path_factory.mktemp("encoded") / "set"
    run = tiny_run(world, out, world)
    precompute(Encoding(run, diffusion.open_encoders(run.recipe, parts, "cpu"), size=10))
    return out


@pytest.fixture(scope="module")
def trained(world, parts, tmp_path_factory):
    """A finished run from the shards."""
    out = tmp_path_factory.mktemp("trained") / "dit"
    diffusion.train(tiny_run(world, out, world), parts)
    return out


def same(one, other, **tolerance):
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    for name in ours:
        if tolerance:
            torch.testing.assert_close(ours[name], theirs[name], **tolerance)
        else:
            assert torch.equal(ours[name], theirs[name]), name


def test_the_artifact_says_how_it_was_made(trained):
    artifact = find_artifact(trained)
    assert artifact.kind == "diffusion" and "transformer/config.json" in artifact.files
    made = artifact.made
    assert made["p_original"] == 0.5 and made["samples_seen"] == 96 and made["weights"] == "average" and made["ema"] == 0.9
    assert made["mix"] == "caption dropout 0.1" and 0 < made["dropped_captions"] < 40
    assert made["objective"] == "epsilon" and made["text_length"] == 64 and "diffusers" in artifact.run["packages"]
    assert not (trained / checkpoint.NAME).exists()


def test_no_part_of_it_says_where_it_was_loaded_from(trained, parts):
    configs = [path for path in trained.rglob("*.json") if path.name != "artifact.json"]
    told = [path for path in configs if str(parts.autoencoder) in (text := path.read_text()) or "_name_or_path" in text]
    assert trained / "vae" / "config.json" in configs and not told


def test_plain_diffusers_opens_it(trained):
    from diffusers import DiffusionPipeline

    pipeline = DiffusionPipeline.from_pretrained(trained)
    pipeline.set_progress_bar_config(disable=True)
    size = {"max_sequence_length": 64, "use_resolution_binning": False, "num_inference_steps": 2}
    image = pipeline("a red circle", generator=torch.Generator().manual_seed(0), **size).images[0]
    assert type(pipeline).__name__ == "PixArtAlphaPipeline" and image.size == (32, 32)


def test_our_loader_makes_images_of_it(trained, world, tmp_path):
    words = ["--model", trained, "--prompts", "scenes", "--data", world, "--limit", 3, "--steps", 2]
    done = recap("recap-eval", "generate", *words, "--scheduler", "ddpm", "--out", tmp_path / "ddpm", "--json")
    assert done.returncode == 0, done.stderr
    made = json.loads((tmp_path / "ddpm" / "generation.json").read_text())
    sampling = json.dumps(made)
    assert '"max_sequence_length": 64' in sampling  # without being asked for
    assert '"clip_sample": false' in sampling and '"class": "DDPMScheduler"' in sampling  # latents go beyond 1
    done = recap("recap-eval", "generate", *words, "--scheduler", "dpm++", "--out", tmp_path / "dpm")
    assert done.returncode == 0, done.stderr


def test_a_flow_refuses_schedulers_that_do_not_know_it(world, parts, tmp_path):
    diffusion.train(tiny_run(world, tmp_path / "flow", world, samples=32, recipe=tiny_recipe("flow")), parts)
    words = ["--model", tmp_path / "flow", "--prompts", "scenes", "--data", world, "--limit", 2, "--steps", 2]
    done = recap("recap-eval", "generate", *words, "--scheduler", "ddim", "--out", tmp_path / "a")
    assert_two_line_error(done, 2, "ddim does not sample from a flow", "dpm++")
    assert recap("recap-eval", "generate", *words, "--scheduler", "dpm++", "--out", tmp_path / "b").returncode == 0


@pytest.mark.parametrize("objective", ["flow", "epsilon"])
@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_the_pipeline_samples_what_was_trained(world, parts, tmp_path, objective, guidance):
    """diffusers' pipeline against a sampler written out here, on the states and the masks that training uses."""
    from diffusers import DiffusionPipeline, DPMSolverMultistepScheduler

    recipe = tiny_recipe(objective, lr=3e-3)
    diffusion.train(tiny_run(world, tmp_path / "dit", world, recipe=recipe), parts)
    pipeline = DiffusionPipeline.from_pretrained(tmp_path / "dit")
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config, solver_order=1)
    prompts = ["a red circle", "The image shows a large blue star in the top left."]
    start = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(5))
    call = {"latents": start, "output_type": "latent", "max_sequence_length": 64, "use_resolution_binning": False}
    found = pipeline(prompts, num_inference_steps=4, guidance_scale=guidance, **call).images
    encoders = diffusion.open_encoders(recipe, parts, "cpu")
    wanted = by_hand(pipeline, encoders.text, prompts, start, guidance)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)


def by_hand(pipeline, text, prompts, latents, guidance):
    """Euler's method for a flow; for noise, DDIM's step, which is a DPM-Solver++ of first order."""
    scheduler = pipeline.scheduler
    scheduler.set_timesteps(4)
    flow = scheduler.config.prediction_type == "flow_prediction"

    def guess(x, t):
        outputs = []
        for texts in (prompts, [""] * len(prompts)):
            states, present = text.states(text.tokens(texts))
            given = {"encoder_hidden_states": states, "encoder_attention_mask": present.float()}
            outputs.append(pipeline.transformer(x, timestep=t.expand(2), **given).sample[:, :4])
        return outputs[1] + guidance * (outputs[0] - outputs[1])

    with torch.no_grad():
        for number, time in enumerate(scheduler.timesteps):
            now, then = scheduler.sigmas[number : number + 2]
            if flow:
                latents = latents + (then - now) * guess(latents, time)
                continue
            (a, s), (a2, s2) = (((1 + v**2) ** -0.5, v * (1 + v**2) ** -0.5) for v in (now, then))
            noise = guess(latents, time)
            latents = a2 * (latents - s * noise) / a + s2 * noise
    return latents


def test_precomputed_and_on_the_fly_train_the_same(world, parts, encoded, trained, tmp_path):
    artifact, _ = diffusion.train(tiny_run(encoded, tmp_path / "dit", world), parts)
    same(tmp_path / "dit", trained, rtol=1e-3, atol=2e-4)
    theirs = find_artifact(trained)
    for name in ("identity", "train_data", "samples_seen", "realised_original", "dropped_captions", "missing_captions"):
        assert artifact.made[name] == theirs.made[name], name


def test_a_run_begun_on_the_fly_goes_on_from_a_precomputed_set(world, parts, encoded, tmp_path, monkeypatch):
    out = tmp_path / "dit"
    interrupted(monkeypatch, 3, lambda: diffusion.train(tiny_run(world, out, world), parts))
    artifact, known = diffusion.train(tiny_run(encoded, out, world), parts)
    assert not known and artifact.made["samples_seen"] == 96


class Cut(Exception):
    """Stands in for a kill."""


def interrupted(monkeypatch, step, train):
    """Train until a step, with a checkpoint after each."""
    count, real = Loop._count, checkpoint.save

    def count_to(self, progress, batch, seconds, waited):
        count(self, progress, batch, seconds, waited)
        if progress.step > step:
            raise Cut

    monkeypatch.setattr(Loop, "_count", count_to)
    with pytest.raises(Cut):
        train()
    monkeypatch.setattr(Loop, "_count", count)
    assert checkpoint.save is real


@pytest.mark.parametrize("source", ["shards", "precomputed"])
def test_resumed_runs_are_bit_identical(world, parts, encoded, tmp_path, monkeypatch, source):
    data = world if source == "shards" else encoded
    engine = Engine(ema=0.9, save_seconds=0.0)
    run = tiny_run(data, tmp_path / "whole", world, engine=engine)
    diffusion.train(run, parts)
    cut = replace(run, out=tmp_path / "cut", name="cut")
    for step in (2, 4):
        interrupted(monkeypatch, step, lambda: diffusion.train(cut, parts))
    state = torch.load(tmp_path / "cut" / checkpoint.NAME, weights_only=True)
    assert state["progress"]["step"] == 4 and state["average"].keys() == state["model"].keys() and state["optimizer"]["state"]
    diffusion.train(cut, parts)
    same(tmp_path / "whole", tmp_path / "cut")
    whole, again = ([json.loads(line) for line in (tmp_path / name / loop.LOG).open()] for name in ("whole", "cut"))
    assert [entry["loss"] for entry in whole] == [entry["loss"] for entry in again]
    assert find_artifact(tmp_path / "whole").made["ledger"] == find_artifact(tmp_path / "cut").made["ledger"]


def test_what_the_machine_does_changes_nothing_but_rounding(world, parts, encoded, tmp_path):
    whole = tiny_run(encoded, tmp_path / "whole", world)
    diffusion.train(whole, parts)
    for name, engine, loading in (
        ("micro", Engine(ema=0.9, micro_batch=5), Loading()),
        ("checkpointed", Engine(ema=0.9, grad_checkpointing=True), Loading()),
        ("workers", Engine(ema=0.9), Loading(workers=2)),
    ):
        diffusion.train(replace(whole, out=tmp_path / name, engine=engine, loading=loading), parts)
        same(tmp_path / "whole", tmp_path / name, rtol=1e-3, atol=2e-4)
        made = [find_artifact(tmp_path / one).made for one in ("whole", name)]
        assert (
            made[0]["identity"] == made[1]["identity"] and made[0]["ledger"] == made[1]["ledger"]
        )  # so it may be changed on the way


def test_mixes_share_everything_but_the_captions(world, parts, encoded):
    """The same images, noise, times and dropped captions at every p."""
    from recap_train.diffusion.features import Features, open_features
    from recap_train.training_data import plan_of

    encoders = diffusion.open_encoders(tiny_recipe(), parts, "cpu")
    data = Features(open_features(encoded, encoders), encoded)
    batches = []
    for p in (0.0, 0.3, 1.0):
        run = tiny_run(encoded, encoded, world, p)
        batches.append(data.feed(run, plan_of(run, data), None).batch(80, 130))  # straddles two epochs
    for one in batches[1:]:
        assert (one.keys == batches[0].keys).all() and (one.epochs == batches[0].epochs).all()
        assert torch.equal(one.moments, batches[0].moments)
        assert one.ledger.mix.dropped == batches[0].ledger.mix.dropped > 0
    assert not torch.equal(batches[0].present.sum(1), batches[2].present.sum(1))


def test_a_finished_run_is_found_and_another_is_refused(world, parts, trained, tmp_path):
    run = tiny_run(world, trained, world)
    assert diffusion.train(run, parts)[1]
    with pytest.raises(UserError, match="made otherwise"):
        diffusion.train(replace(run, mix=Mix(0.2, dropout=0.1)), parts)
    other = diffusion.Parts(str(tiny_vae(tmp_path / "vae", seed=1)), parts.text_encoder)
    with pytest.raises(UserError, match="made otherwise"):
        diffusion.train(run, other)


def test_sets_of_other_encoders_and_mixes_are_refused(world, parts, encoded, models, tmp_path):
    run = tiny_run(encoded, tmp_path / "x", world)
    with pytest.raises(UserError, match="another autoencoder"):
        diffusion.train(run, diffusion.Parts(str(tiny_vae(tmp_path / "vae", seed=1)), parts.text_encoder))
    with pytest.raises(UserError, match="another text-encoder"):
        diffusion.train(run, diffusion.Parts(parts.autoencoder, str(models[1.0, 1])))
    with pytest.raises(UserError, match="joined"):
        diffusion.train(replace(run, mix=Mix(None, "concat")), parts)
    with pytest.raises(UserError, match="factor of 2"):
        diffusion.open_encoders(replace(run.recipe, model_cfg=run.recipe.model_cfg | {"latent_factor": 8}), parts, "cpu")


def test_a_damaged_set_is_named(world, parts, encoded, tmp_path):
    folder = shutil.copytree(encoded, tmp_path / "set")
    with (folder / "00000.moments.npy").open("r+b") as stream:
        stream.seek(500)
        stream.write(b"\1\2\3")
    with pytest.raises(DataError, match=r"moments\.npy is damaged"):
        diffusion.train(tiny_run(folder, tmp_path / "x", world), parts)
    (folder / "00000.states.npy").unlink()
    with pytest.raises(DataError, match=r"missing|damaged"):
        diffusion.train(tiny_run(folder, tmp_path / "x", world), parts)
