import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from support import ROOT, assert_two_line_error, make_run, recap, recap_apart

from recap_eval.artifact import find_artifact
from recap_eval.errors import DataError, UserError
from recap_eval.models.text import encode_text_trimmed, is_trimmable
from recap_train.captions import Captions
from recap_train.clip import build_model, train
from recap_train.engine import Engine
from recap_train.loop import Schedule
from recap_train.recipes import load_recipe, recipe_names
from recap_train.words import vocabulary


def weights(folder):
    from safetensors.torch import load_file

    return load_file(folder / "open_clip_model.safetensors")


def test_a_stranger_loads_the_artifact(model, world):
    """By open_clip alone: model, transform and tokenizer from the folder."""
    import open_clip
    from PIL import Image

    net, _, transform = open_clip.create_model_and_transforms(f"local-dir:{model}", require_pretrained=True)
    tokens = open_clip.get_tokenizer(f"local-dir:{model}")(["a red circle", "Buy RED, circle!"])
    assert tokens.shape == (2, 64)
    ours = weights(model)
    assert all(torch.equal(tensor, ours[name]) for name, tensor in net.state_dict().items())
    with torch.no_grad():
        image = net.encode_image(transform(Image.new("RGB", (32, 32), "red"))[None])
        text = net.encode_text(tokens)
    assert image.shape == (1, 96) and text.shape == (2, 96) and torch.isfinite(text).all()
    assert tokens[0].argmax() == 4 and tokens[1].argmax() == 4  # start, words, end


def test_artifact_tells_how_it_was_made(model):
    made = find_artifact(model).made
    assert made["p_original"] == 1.0 and made["samples_seen"] == 256 and made["recipe"] == "scenes-tiny"
    assert made["realised_original"] == 1.0 and made["empty_captions"] == made["missing_captions"]["original"]
    log = [json.loads(line) for line in (model / "log.jsonl").read_text().splitlines()]
    assert log[-1]["samples"] == 256 and log[-1]["loss"] > 0
    assert not (model / "checkpoint.pt").exists()


def test_vision_tower_fits_clip_vision_model(model):
    """The captioner takes a transformers CLIPVisionModel: the same weights give the same features there."""
    import open_clip
    from transformers import CLIPVisionConfig, CLIPVisionModel

    visual = open_clip.create_model(f"local-dir:{model}", require_pretrained=True).visual.eval()
    width, layers = 96, len(visual.transformer.resblocks)
    config = CLIPVisionConfig(
        hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers, num_attention_heads=4,
        image_size=32, patch_size=8, hidden_act="gelu", layer_norm_eps=1e-5,
    )  # fmt: skip
    theirs = CLIPVisionModel(config).eval()
    source, target = visual.state_dict(), {}
    for block in range(layers):
        ours, to = f"transformer.resblocks.{block}.", f"encoder.layers.{block}."
        for kind in ("weight", "bias"):
            parts = source[f"{ours}attn.in_proj_{kind}"].chunk(3)
            for name, part in zip(("q_proj", "k_proj", "v_proj"), parts, strict=True):
                target[f"{to}self_attn.{name}.{kind}"] = part
            pairs = {"attn.out_proj": "self_attn.out_proj", "ln_1": "layer_norm1", "ln_2": "layer_norm2"}
            pairs |= {"mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
            target |= {f"{to}{b}.{kind}": source[f"{ours}{a}.{kind}"] for a, b in pairs.items()}
    for kind in ("weight", "bias"):
        target[f"pre_layrnorm.{kind}"], target[f"post_layernorm.{kind}"] = source[f"ln_pre.{kind}"], source[f"ln_post.{kind}"]
    target["embeddings.class_embedding"] = source["class_embedding"]
    target["embeddings.patch_embedding.weight"] = source["conv1.weight"]
    target["embeddings.position_embedding.weight"] = source["positional_embedding"]
    own = theirs.state_dict()
    prefix = "vision_model." if any(key.startswith("vision_model.") for key in own) else ""
    missing = theirs.load_state_dict({prefix + key: value for key, value in target.items()}, strict=False)
    assert not missing.unexpected_keys and all("position_ids" in key for key in missing.missing_keys)
    pixels = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        ours = visual(pixels)
        pooled = theirs(pixels).pooler_output @ visual.proj
    assert torch.allclose(ours, pooled, atol=1e-5)


def test_same_run_same_weights_and_p_changes_only_the_captions(world, tmp_path, models):
    train(make_run(world, tmp_path / "again", 1.0, 0, samples=256))
    again, first, other = (weights(folder) for folder in (tmp_path / "again", models[1.0, 0], models[0.0, 0]))
    assert all(torch.equal(again[name], first[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    run = make_run(world, tmp_path / "x", 0.0)
    one, _, _ = build_model(run, [Captions("a", ("b",))])
    two, _, _ = build_model(make_run(world, tmp_path / "y", 1.0), [Captions("a", ("b",))])
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


CHILD = """
import sys
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
from pathlib import Path
from support import make_run
from recap_train.clip import train
from recap_train.engine import Engine
from recap_eval.signals import Stopped
engine = Engine(**{engine!r}, save_seconds=0.0)  # a checkpoint after every step
try:
    train(make_run(Path({world!r}), Path({out!r}), 0.5, 3, samples=1536, engine=engine))
except Stopped as stop:
    sys.exit(stop.exit_code)
"""


@pytest.mark.serial
@pytest.mark.parametrize("engine", [{}, {"mask_images": 0.5, "micro_batch": 50, "ema": 0.9}], ids=["plain", "all on"])
def test_killed_at_random_steps_it_ends_in_the_same_weights(engine, world, tmp_path):
    torch.set_num_threads(1)
    train(make_run(world, tmp_path / "whole", 0.5, 3, samples=1536, engine=Engine(**engine)))
    out = tmp_path / "killed"
    code = CHILD.format(tests=str(ROOT / "tests"), world=str(world), out=str(out), engine=engine)
    chance = random.Random(0)
    for kind in (signal.SIGKILL, signal.SIGTERM):
        child = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.DEVNULL)
        before = (out / "checkpoint.pt").stat().st_mtime_ns if (out / "checkpoint.pt").exists() else 0
        deadline = time.time() + 120
        while time.time() < deadline and child.poll() is None:
            if (out / "checkpoint.pt").exists() and (out / "checkpoint.pt").stat().st_mtime_ns != before:
                break
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.2))
        child.send_signal(kind)
        assert child.wait(timeout=60) in (-signal.SIGKILL, 0)
        assert not (out / "artifact.json").exists()
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    whole, killed = weights(tmp_path / "whole"), weights(out)
    assert all(torch.equal(whole[name], killed[name]) for name in whole)
    if "ema" in engine:
        whole, killed = weights(tmp_path / "whole" / "ema"), weights(out / "ema")
        assert all(torch.equal(whole[name], killed[name]) for name in whole)
    one, two = find_artifact(tmp_path / "whole").made, find_artifact(out).made
    assert one == two
    logs = [
        [json.loads(line)["loss"] for line in (f / "log.jsonl").read_text().splitlines()] for f in (tmp_path / "whole", out)
    ]
    assert logs[0] == logs[1]


def test_finished_runs_are_found_and_others_refused(world, model, tmp_path):
    artifact, known = train(make_run(world, model, 1.0, 0, samples=256))
    assert known and artifact.name == "tiny-p1-s0"
    with pytest.raises(UserError, match="made otherwise"):
        train(make_run(world, model, 0.5, 0, samples=256))
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UserError, match=r"other files \(notes\.txt\)"):
        train(make_run(world, tmp_path))


def test_a_damaged_checkpoint_or_another_runs_is_refused(world, tmp_path):
    run = make_run(world, tmp_path / "r")
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "checkpoint.pt").write_bytes(b"junk")
    with pytest.raises(DataError, match=r"checkpoint\.pt is damaged"):
        train(run)
    torch.save({"identity": "another"}, tmp_path / "r" / "checkpoint.pt")
    with pytest.raises(UserError, match="other settings"):
        train(run)


def test_a_checkpoint_that_would_run_code_is_refused(world, tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    (tmp_path / "r").mkdir()
    torch.save({"identity": Evil()}, tmp_path / "r" / "checkpoint.pt")
    with pytest.raises(DataError, match="damaged"):
        train(make_run(world, tmp_path / "r"))
    assert not (tmp_path / "executed").exists()


def test_a_loss_that_is_not_finite_stops(world, tmp_path, monkeypatch):
    from recap_train.contrastive import Contrastive

    monkeypatch.setattr(Contrastive, "backward", lambda *_: torch.tensor(float("nan")))
    with pytest.raises(DataError, match=r"loss is nan at step 0, whose batch begins with the samples \d{9}, \d{9}, \d{9}"):
        train(make_run(world, tmp_path / "r"))


def test_loss_is_open_clips(world, tmp_path):
    """Our loss of a batch against open_clip's own forward pass and ClipLoss, padding and all."""
    from open_clip.loss import ClipLoss

    from recap_train.towers import Form, Towers

    run = make_run(world, tmp_path / "r")
    texts = ["red circle", "a photo of a large blue square in the top left and a ring", "star", "", "the image shows a cross"]
    net, tokenizer, _ = build_model(run, [Captions(text, (text,)) for text in texts])
    pixels = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)
    ours = ClipLoss()(*Towers(net, run.recipe.preprocess_cfg, Form())(pixels, tokenizer(texts)))
    mean, std = (torch.tensor(run.recipe.preprocess_cfg[k])[:, None, None] for k in ("mean", "std"))
    theirs = ClipLoss()(*net((pixels / 255 - mean) / std, tokenizer(texts)))
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)


@pytest.mark.parametrize("chunks", [1, 2, 4, 9])
def test_trimmed_text_is_the_same_function(model, chunks):
    import open_clip

    net = open_clip.create_model(f"local-dir:{model}", require_pretrained=True)
    tokenizer = open_clip.get_tokenizer(f"local-dir:{model}")
    tokens = tokenizer(["a red circle", "blue", "the image shows " + "a star " * 40, "", "a large ring in the top left"])
    assert is_trimmable(net)
    assert torch.allclose(encode_text_trimmed(net, tokens, chunks), net.encode_text(tokens), atol=1e-6)


def test_towers_that_look_at_their_padding_are_not_trimmed():
    import open_clip

    config = load_recipe("scenes-tiny").model_cfg
    for change in ({"no_causal_mask": True}, {"pool_type": "last"}, {"embed_cls": True}):
        text = config["text_cfg"] | change | {"hf_tokenizer_name": None}
        assert not is_trimmable(open_clip.CustomTextCLIP(**(config | {"text_cfg": text})))


def test_schedule():
    schedule = Schedule(100, 8, 1e-3, 0.1, (0.9, 0.98), 0.1)
    rates = [schedule.lr_at(step) for step in range(100)]
    assert rates[0] == pytest.approx(1e-4) and max(rates) == pytest.approx(1e-3)
    assert rates[9] == pytest.approx(1e-3) and rates[55] == pytest.approx(1e-3 * 0.5) and rates[-1] < 1e-6
    assert np.all(np.diff(rates[10:]) < 0)


def test_vocabulary_is_ordered_by_count_and_ends_with_the_end():
    assert vocabulary(["b b a", "c a b"], 100) == ["<pad>", "<unk>", "<start>", "b", "a", "c", "<end>"]
    assert vocabulary(["b b a", "c a b"], 6) == ["<pad>", "<unk>", "<start>", "b", "a", "<end>"]
    with pytest.raises(UserError, match="no words"):
        vocabulary(["", "!!"], 10)


def test_recipes():
    assert "scenes-tiny" in recipe_names()
    assert load_recipe("ViT-B-16").image_size == 224
    with pytest.raises(UserError, match="scenes-tiny"):
        try:
            load_recipe("scene-tiny")
        except UserError as error:
            raise UserError(error.hint, "") from error


@pytest.mark.parametrize(
    ("words", "code", "fragments"),
    [
        (["--p-original", "1.5"], 2, ["1.5", "[0, 1]"]),
        (["--model", "scenes-tinny"], 2, ["'scenes-tiny'"]),
        (["--max-bad", "2"], 2, ["--max-bad 2.0 is not a share"]),
        (["--data", "s3://bucket/{0..3}.tar", "--caption-preset", "scenes"], 2, ["neither a file nor an http"]),
        (["--samples-seen", "5"], 2, ["less than one batch of 128"]),
        (["--caption-preset", "recap-datacom"], 2, ["'recap-datacomp'"]),
        (["--caption-preset", "datacomp"], 2, ["recaption is not named", "--recaption-key"]),
        (["--original-key", "json:no_such", "--recaption-key", "txt"], 1, ["96 of 96 samples lack", "000000000.jpg"]),
        (["--data", "/nowhere"], 1, ["/nowhere"]),
        (["--data", "/nowhere", "--caption-preset", "scenes"], 1, ["/nowhere is not a folder"]),
    ],
)
def test_wrong_words(words, code, fragments, world, tmp_path):
    base = {
        "--data": str(world),
        "--model": "scenes-tiny",
        "--p-original": "0.5",
        "--samples-seen": "256",
        "--out": str(tmp_path / "o"),
    }
    base |= dict(zip(words[::2], words[1::2], strict=True))
    done = recap("recap-train", "clip", *[word for pair in base.items() for word in pair])
    assert_two_line_error(done, code, *fragments)
    assert not (tmp_path / "o").exists()


@pytest.mark.slow
def test_the_command_trains_and_measures(world, tmp_path):
    words = ["--data", world, "--model", "scenes-tiny", "--p-original", "0.5", "--samples-seen", "256", "--out", tmp_path / "o"]
    words += ["--leaderboards", tmp_path / "lb", "--reports", tmp_path / "rep"]
    done = recap_apart("recap-train", "clip", *words)
    assert done.returncode == 0, done.stderr
    assert "50% original captions, 50% recaptions" in done.stderr and done.stderr.count("recaption:") == 3
    assert len(list((tmp_path / "lb").rglob("*.json"))) == 5 and (tmp_path / "rep" / "clip.md").is_file()
    again = recap_apart("recap-train", "clip", *words)
    assert "trained already" in again.stdout and "measured before" in again.stderr


def test_a_failing_evaluation_does_not_cost_the_run(world, tmp_path):
    damaged = shutil.copytree(world, tmp_path / "s")
    (damaged / "test.parquet").write_bytes(b"x")
    words = ["--data", damaged, "--model", "scenes-tiny", "--p-original", "1", "--samples-seen", "256", "--out", tmp_path / "o"]
    done = recap("recap-train", "clip", *words, "--leaderboards", tmp_path / "lb", "--reports", tmp_path / "rep")
    assert done.returncode == 1 and "only its measurement failed" in done.stderr
    assert find_artifact(tmp_path / "o") is not None


def test_a_checkpoint_that_fails_on_the_way_is_told_and_trained_past(world, tmp_path, monkeypatch, capsys):
    from dataclasses import replace

    from recap_train import checkpoint, clip

    real, calls = checkpoint.save, []

    def full_once(folder, state):
        calls.append(state["progress"]["step"])
        if len(calls) == 1:
            raise DataError("Cannot write checkpoint.pt: no space.", "Free some space.")
        real(folder, state)

    schedule = clip.Run.schedule
    monkeypatch.setattr(clip.Run, "schedule", lambda run: replace(schedule(run), save_seconds=0.0))
    monkeypatch.setattr(checkpoint, "save", full_once)
    artifact, _ = train(make_run(world, tmp_path / "r", samples=384))
    assert calls == [1, 2, 3, 3] and artifact.made["samples_seen"] == 384
    assert "no checkpoint at step 1" in capsys.readouterr().err


@pytest.mark.serial
def test_a_full_disk_is_told_and_costs_nothing_that_was_saved(world, tmp_path):
    words = ["--data", world, "--model", "scenes-tiny", "--p-original", "1", "--samples-seen", "256", "--out", tmp_path / "o"]
    full = recap_apart("recap-train", "clip", *words, "--no-eval", largest_file=1_000_000)
    assert_two_line_error(full, 1, "Cannot write", "checkpoint.pt")
    assert find_artifact(tmp_path / "o") is None and not list((tmp_path / "o").glob("*.part"))
    done = recap("recap-train", "clip", *words, "--no-eval")
    assert done.returncode == 0 and find_artifact(tmp_path / "o") is not None


def test_shards_of_ones_own_need_their_roles_named(world, tmp_path):
    """The same tars outside a folder of scenes are plain img2dataset shards."""
    shards = shutil.copytree(world / "train", tmp_path / "shards")
    words = ["--data", shards, "--model", "scenes-tiny", "--p-original", "0.5", "--samples-seen", "128", "--no-eval"]
    assert_two_line_error(recap("recap-train", "clip", *words, "--out", tmp_path / "a"), 2, "is not named")
    done = recap(
        "recap-train", "clip", *words, "--out", tmp_path / "a", "--original-key", "txt", "--recaption-key", "json:re_caption"
    )
    assert done.returncode == 0, done.stderr


def test_a_recipe_of_ones_own_with_open_clips_tokenizer(world, tmp_path):
    """The path that ViT-B-16 takes, at a size a test can afford: CLIP's own tokenizer, random crops, another resolution."""
    import open_clip

    recipe = {
        "model_cfg": {
            "embed_dim": 16,
            "vision_cfg": {"image_size": 48, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
            "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
        },
        "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
        "tokenizer": "open_clip",
        "train": {"batch_size": 32, "crop_min_area": 0.4},
    }
    (tmp_path / "mine.json").write_text(json.dumps(recipe))
    words = ["--data", world, "--model", tmp_path / "mine.json", "--p-original", "0.8", "--samples-seen", "96"]
    done = recap(
        "recap-train", "clip", *words, "--out", tmp_path / "o", "--leaderboards", tmp_path / "lb", "--reports", tmp_path / "r"
    )
    assert done.returncode == 0, done.stderr
    assert open_clip.create_model(f"local-dir:{tmp_path / 'o'}", require_pretrained=True).visual.image_size == (48, 48)
    assert find_artifact(tmp_path / "o").made["recipe"] == "mine"


@pytest.mark.parametrize("name", ["ViT-B-16-SigLIP", "coca_ViT-B-32", "roberta-ViT-B-32"])
def test_configs_that_need_more_are_refused(name):
    with pytest.raises(UserError, match="not trained here yet"):
        load_recipe(name)


def test_what_is_said_of_the_data_stands_beside_the_weights_and_changes_none(world, tmp_path):
    plain, said = make_run(world, tmp_path / "a"), replace(make_run(world, tmp_path / "b"), facts={"alt_noise": 0.4})
    one, _ = train(plain)
    other, _ = train(said)
    assert one.revision == other.revision and "facts" not in one.made and other.made["facts"] == {"alt_noise": 0.4}
    with pytest.raises(UserError):  # another run's folder
        train(replace(plain, out=said.out))


def test_facts_are_names_and_values():
    from recap_eval.artifact import named
    from recap_eval.console import fact

    assert (
        named("tiny-p0-s1", [("alt_noise", 0.4), ("error", 0.0), ("by", "llava")])
        == "tiny-p0-s1-alt_noise=0.4-error=0-by=llava"
    )

    assert fact("alt_noise=0.4") == ("alt_noise", 0.4) and fact("captioner=llava=1") == ("captioner", "llava=1")
    assert fact("x=inf") == ("x", "inf") and fact("x=nan") == ("x", "nan")
    for words in ("alt noise=1", "=1", "alt_noise", "alt_noise="):
        with pytest.raises(argparse.ArgumentTypeError, match="NAME=VALUE"):
            fact(words)
