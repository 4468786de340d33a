"""Pipelines of diffusers, tiny and in their real layout: noise by image, files checked before anything is loaded."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_pipelines import LENGTH, SIZE, make_pixart, make_stable_diffusion

from recap_eval.artifact import write_artifact
from recap_eval.errors import DataError, UserError
from recap_eval.generate.base import Running, Sampling
from recap_eval.generate.finish import finish
from recap_eval.generate.loading import load
from recap_eval.generate.manifest import read_manifest
from recap_eval.generate.pipeline import DiffusersModel
from recap_eval.generate.plan import seed_of
from recap_eval.generate.prompts import Prompt, PromptSet
from recap_eval.generate.run import Job, generate_images

TEXTS = [f"a red cube {number}" for number in range(8)]
SEEDS = [seed_of(0, text, 0) for text in TEXTS]
SHORT = Running(arguments={"max_sequence_length": LENGTH})  # PixArt pads to 120 tokens, more than the tiny text tower has


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory):
    root = tmp_path_factory.mktemp("pipelines")
    torch.set_num_threads(1)
    return {"sd": make_stable_diffusion(root / "sd"), "pixart": make_pixart(root / "pixart")}


@pytest.fixture
def fresh(pipelines, tmp_path):
    return shutil.copytree(pipelines["sd"], tmp_path / "model")


def model_of(folder, running=None, **sampling):
    return load(str(folder), Sampling(**{"steps": 3} | sampling), running or Running())


def pixels(pictures):
    return np.stack([np.asarray(picture.image, dtype=int) for picture in pictures])


def in_batches(model, size, texts=TEXTS, seeds=SEEDS):
    starts = range(0, len(texts), size)
    return pixels([one for at in starts for one in model.generate(texts[at : at + size], seeds[at : at + size])])


@pytest.mark.parametrize("scheduler", ["ddim", "ddpm", "euler-a", "dpm++-sde"])
@pytest.mark.parametrize("kind", ["sd", "pixart"])
def test_an_image_is_its_seed_and_prompt_whatever_the_batch(pipelines, kind, scheduler):
    """Same draws at any batch size, for schedulers that draw at every step too; rounding may move a level by one."""
    model = model_of(pipelines[kind], SHORT if kind == "pixart" else None, scheduler=scheduler)
    one, three, eight = (in_batches(model, size) for size in (1, 3, 8))
    assert one.shape == (8, SIZE, SIZE, 3) and one.std() > 10
    for other in (three, eight):
        assert np.abs(other - one).max() <= 1 and (other != one).mean() < 1e-3
    assert np.array_equal(in_batches(model, 3), three)
    order = [5, 2, 7, 0, 1, 3, 4, 6]
    turned = in_batches(model, 8, [TEXTS[n] for n in order], [SEEDS[n] for n in order])
    assert np.abs(turned - one[order]).max() <= 1
    assert min(np.abs(one[a] - one[b]).mean() for a in range(8) for b in range(a)) > 5
    again = model.generate(TEXTS[:1], [SEEDS[0] + 1])
    assert np.abs(pixels(again) - one[:1]).mean() > 5


def test_ancestral_noise_comes_from_the_images_own_generators(pipelines):
    """The noise of the steps does not move with the global generator, and differs between seeds with the same latents."""
    model = model_of(pipelines["sd"], scheduler="ddpm")
    torch.manual_seed(1)
    first = pixels(model.generate(TEXTS[:2], SEEDS[:2]))
    torch.manual_seed(2)
    assert np.array_equal(pixels(model.generate(TEXTS[:2], SEEDS[:2])), first)


def test_every_scheduler_of_the_table_fits_or_says_which_do(pipelines):
    from recap_eval.generate.schedulers import FLOWS, SCHEDULERS

    for name, (kind, _) in SCHEDULERS.items():
        if kind in FLOWS:
            with pytest.raises(UserError, match="does not fit this pipeline") as caught:
                model_of(pipelines["sd"], scheduler=name)
            assert "ddpm" in caught.value.hint
        else:
            model = model_of(pipelines["sd"], scheduler=name, steps=4)
            assert model.identity["scheduler"]["class"] == kind
            assert np.isfinite(pixels(model.generate(TEXTS[:1], SEEDS[:1]))).all()
    with pytest.raises(UserError, match="Unknown scheduler 'dpm\\+'"):
        model_of(pipelines["sd"], scheduler="dpm+")


def test_settings_reach_the_pipeline_and_the_record(pipelines):
    model = model_of(pipelines["sd"], guidance_scale=2.0, height=32, width=24, negative_prompt="ugly", steps=2)
    expected = {"num_inference_steps": 2, "guidance_scale": 2.0, "height": 32, "width": 24, "negative_prompt": "ugly"}
    assert expected.items() <= model.identity.items() and model.identity["precision"] == "fp32"
    found = pixels(model.generate(TEXTS[:3], SEEDS[:3]))
    assert found.shape == (3, 32, 24, 3)
    other = model_of(pipelines["sd"], guidance_scale=2.0, height=32, width=24, steps=2)
    assert not np.array_equal(pixels(other.generate(TEXTS[:3], SEEDS[:3])), found)
    defaults = load(str(pipelines["sd"]), Sampling(), Running()).identity
    assert (defaults["num_inference_steps"], defaults["guidance_scale"]) == (50, 7.5)
    bf16 = model_of(pipelines["sd"], precision="bf16")
    assert bf16.identity["precision"] == "bf16" and pixels(bf16.generate(TEXTS[:1], SEEDS[:1])).std() > 10


def test_pixart_takes_prompts_as_they_stand(pipelines):
    """Whether it rewrites them would depend on which packages are installed."""
    assert model_of(pipelines["pixart"], SHORT).identity["clean_caption"] is False


@pytest.mark.parametrize(
    ("sampling", "running", "told"),
    [
        ({"precision": "fp16"}, {}, "fp16 needs a GPU"),
        ({"precision": "fp8"}, {}, "Unknown precision"),
        ({}, {"device": "cuda:7"}, "no device 'cuda:7'"),
        ({}, {"arguments": {"gidance": 3}}, "takes no 'gidance'"),
    ],
)
def test_wrong_settings(pipelines, sampling, running, told):
    if torch.cuda.is_available():
        pytest.skip("says so only without a GPU")
    with pytest.raises(UserError, match=told):
        model_of(pipelines["sd"], Running(**running), **sampling)


def test_prompts_that_are_cut_are_counted(pipelines, tmp_path):
    prompts = PromptSet("p", (Prompt("short", "a b"), Prompt("fits", "a " * (LENGTH - 2)), Prompt("long", "a " * (LENGTH - 1))))
    model, job = model_of(pipelines["sd"]), Job(tmp_path / "out", prompts)
    generate_images(model, job, progress=False)
    artifact = finish(model, job, 1.0).artifact
    assert [row.cut_by for row in read_manifest(job.out / "manifest.jsonl")] == [[], [], [f"tokenizer:{LENGTH}"]]
    assert artifact.made["prompts"]["truncated"] == {f"tokenizer:{LENGTH}": {"images": 1, "share": 1 / 3}}
    assert artifact.made["sampling"]["scheduler"]["class"] == "DDIMScheduler"
    shorter = model_of(pipelines["pixart"], Running(arguments={"max_sequence_length": 5}))
    assert shorter.cuts(["a b c", "a b c d"]) == [[], ["tokenizer:5"]]


def test_the_safety_checker_is_off_or_its_victims_counted(tmp_path):
    folder = make_stable_diffusion(tmp_path / "safe", safety_checker=True)
    off = model_of(folder)
    assert not off.identity["safety_checker"] and pixels(off.generate(TEXTS[:2], SEEDS[:2])).std() > 10
    model = model_of(folder, Running(safety_checker=True))
    job = Job(tmp_path / "out", PromptSet("p", (Prompt("a", "a"), Prompt("b", "b"))))
    generate_images(model, job, progress=False)
    assert finish(model, job, 1.0).artifact.made["blanked"] == 2
    assert all(row.blanked for row in read_manifest(job.out / "manifest.jsonl"))


def test_an_image_that_is_no_number_is_a_failure_and_not_black(pipelines, tmp_path):
    model = model_of(pipelines["sd"])
    model._pipeline.vae.decoder.conv_out.bias.data[0] = float("nan")
    job = Job(tmp_path / "out", PromptSet("p", (Prompt("a", "a"),)))
    progress = generate_images(model, job, progress=False)
    assert progress.made == 0 and "invalid value" in progress.failed[0].row.error
    assert finish(model, job, 1.0).artifact is None


def test_the_revision_names_the_content(pipelines, fresh):
    assert model_of(fresh).revision == model_of(pipelines["sd"]).revision
    (fresh / "README.md").write_text("about")
    assert model_of(fresh).revision == model_of(pipelines["sd"]).revision
    path = fresh / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"beta_end": 0.02}))
    assert model_of(fresh).revision != model_of(pipelines["sd"]).revision


def test_our_artifact_is_verified_and_named(fresh):
    files = [str(path.relative_to(fresh)) for path in fresh.rglob("*") if path.is_file()]
    artifact = write_artifact(fresh, "diffusion", "dit-p0.5", files, {"p_original": 0.5}, {})
    model = model_of(fresh)
    assert (model.name, model.revision) == ("dit-p0.5", artifact.revision) and model.about["trained"] == {"p_original": 0.5}
    (fresh / "vae" / "config.json").write_text("{}")
    with pytest.raises(DataError, match=r"vae/config\.json"):
        model_of(fresh)
    write_artifact(fresh, "clip", "x", files, {}, {})
    with pytest.raises(UserError, match="kind 'clip'"):
        model_of(fresh)


def test_weights_that_are_missing_are_told(fresh):
    """The libraries log it and draw with what lies in memory."""
    for part, name in (("unet", "diffusion_pytorch_model"), ("text_encoder", "model")):
        path = fresh / part / f"{name}.safetensors"
        whole = load_file(path)
        first = sorted(whole)[-1]
        save_file({key: value for key, value in whole.items() if key != first}, path, {"format": "pt"})
        with pytest.raises(DataError, match=rf"{part} lacks 1 weights; the first: {first}"):
            model_of(fresh).generate(TEXTS[:1], SEEDS[:1])
        save_file(whole, path, {"format": "pt"})


def test_a_pipeline_saved_as_image_to_image_generates_from_text(fresh):
    _index(fresh, _class_name="StableDiffusionImg2ImgPipeline")
    assert model_of(fresh).identity["pipeline"] == "StableDiffusionPipeline"


def _drop_index(folder):
    (folder / "model_index.json").unlink()


def _no_class(folder):
    (folder / "model_index.json").write_text("{}")


def _unknown_class(folder):
    _index(folder, _class_name="NoSuchPipeline")


def _not_text_to_image(folder):
    _index(folder, _class_name="DiTPipeline")


def _own_code(folder):
    _index(folder, _class_name=["evil", "Evil"])
    (folder / "evil.py").write_text("raise SystemExit('ran')")


def _own_component(folder):
    _index(folder, unet=["evil", "Evil"])
    (folder / "unet" / "evil.py").write_text("raise SystemExit('ran')")


def _pickled(folder):
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()


def _cut_short(folder):
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def _no_scheduler(folder):
    (folder / "scheduler" / "scheduler_config.json").unlink()


def _other_shape(folder):
    path = folder / "unet" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"block_out_channels": [8, 32]}))


def _index(folder, **changes):
    path = folder / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (_drop_index, "has no model_index.json"), (_no_class, "names no class"), (_unknown_class, "has no NoSuchPipeline"),
        (_not_text_to_image, "no text-to-image pipeline"), (_own_code, "code of its own"), (_own_component, "cannot be loaded"),
        (_pickled, r"diffusion_pytorch_model\.bin is pickled"), (_cut_short, r"model\.safetensors is damaged"),
        (_no_scheduler, "scheduler cannot be read"), (_other_shape, "cannot be loaded"),
    ],
)  # fmt: skip
def test_wrong_files(fresh, damage, told):
    damage(fresh)
    with pytest.raises(UserError, match=told):
        model_of(fresh).generate(TEXTS[:1], SEEDS[:1])


def test_names_that_are_no_pipeline(tmp_path):
    for spec, told in (("nowhere", "does not exist"), ("a/b/c", "does not exist"), ("org/model", "Cannot get org/model")):
        with pytest.raises(UserError, match=told):
            model_of(spec)


def test_nothing_is_loaded_when_nothing_is_missing(pipelines, tmp_path, monkeypatch):
    job = Job(tmp_path / "out", PromptSet("p", (Prompt("a", "a"),)))
    for _ in range(2):
        model = model_of(pipelines["sd"])
        generate_images(model, job, progress=False)
        finish(model, job, 1.0)
        monkeypatch.setattr(DiffusersModel, "generate", lambda *_: pytest.fail("made again"))
    assert "_pipeline" not in vars(model)
