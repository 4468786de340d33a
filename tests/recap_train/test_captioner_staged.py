"""Stages on TRL's trainer: what moves, what stays, what is saved, and how a killed stage goes on."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from captioner_data import make_edits, make_mix, make_pairs, make_speaker
from safetensors.torch import load_file, save_file
from support import ROOT, assert_two_line_error, recap

pytest.importorskip("trl")
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaForConditionalGeneration,
)

from recap_eval.errors import DataError, UserError
from recap_eval.signals import Stopped, Wishes
from recap_train.captioner import staged
from recap_train.captioner.conversations import read_conversations
from recap_train.captioner.opening import open_llava, put_together
from recap_train.captioner.recipe import load_captioner_recipe
from recap_train.captioner.staged import Stage, train
from recap_train.engine import Engine

RECIPE = load_captioner_recipe("scenes-tiny")
PROJECTOR, LANGUAGE, TOWER = "model.multi_modal_projector.", ("model.language_model.", "lm_head."), "model.vision_tower."


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    return make_speaker(tmp_path_factory.mktemp("llava") / "start")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    make_pairs(folder), make_mix(folder)
    return folder


def stage_of(out, name="instruct", seen=24, lora=False, save=60.0, **changed):
    settings = RECIPE.stages[name] | {"batch_size": 4, "lr": 1e-2} | changed
    return Stage(RECIPE, name, settings, seen, 0, out, "tiny", lora, engine=Engine(save_seconds=save))


def run(stage, llava, data, name="mix"):
    rows = read_conversations(data / f"{name}.json", data / "images")
    return train(stage, rows, open_llava(str(llava), None), {"init": "x"})


def weights_of(folder):
    return dict(LlavaForConditionalGeneration.from_pretrained(folder).named_parameters())


def moved(before, after):
    """Return the parts of the model of which a weight has changed."""
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    parts = {"projector": PROJECTOR, "language_model": LANGUAGE, "vision_tower": TOWER}
    return {part for part, start in parts.items() if any(name.startswith(start) for name in changed)}


@pytest.mark.parametrize(
    ("name", "rows", "lora", "parts"),
    [
        ("projector", "pairs", False, {"projector"}),
        ("instruct", "mix", False, {"projector", "language_model"}),
        ("instruct", "mix", True, {"projector", "language_model"}),
        ("hq-edit", "mix", False, {"projector", "language_model"}),
    ],
)
def test_what_is_frozen_does_not_move(tmp_path, llava, data, name, rows, lora, parts):
    artifact, known = run(stage_of(tmp_path / "out", name, lora=lora), llava, data, rows)
    assert not known and artifact.kind == "captioner" and artifact.made["stage"] == name
    before, after = weights_of(llava), weights_of(tmp_path / "out")
    assert moved(before, after) == parts
    if lora:  # neither embedding nor norms, only the products of attention and of the feed-forward part
        still = [name for name in before if "embed_tokens" in name or "norm" in name]
        assert still and all(torch.equal(before[name], after[name]) for name in still)
    assert not (tmp_path / "out/training").exists()
    again = run(stage_of(tmp_path / "out", name, lora=lora), llava, data, rows)
    assert again[1] and again[0] == artifact


@pytest.mark.parametrize(
    ("name", "rows", "lora"), [("projector", "pairs", False), ("instruct", "mix", False), ("instruct", "mix", True)]
)
def test_weights_that_came_in_bf16_stay_so_and_learn_in_fp32(tmp_path, llava, data, name, rows, lora):
    start = LlavaForConditionalGeneration.from_pretrained(llava).to(torch.bfloat16)
    shutil.copytree(llava, tmp_path / "start")
    start.save_pretrained(tmp_path / "start")
    small = stage_of(tmp_path / "out", name, lora=lora, lr=1e-5)  # a step is far below bf16's resolution
    run(replace(small, precision="bf16", samples_seen=96), tmp_path / "start", data, rows)
    after = load_file(tmp_path / "out/model.safetensors")
    assert {weight.dtype for weight in after.values()} == {torch.bfloat16}
    before, after = weights_of(tmp_path / "start"), weights_of(tmp_path / "out")
    assert "vision_tower" not in moved(before, after) and "projector" in moved(before, after)


class Impatient(Wishes):
    """Asks to stop after so many looks."""

    def __init__(self, steps):
        super().__init__()
        object.__setattr__(self, "left", steps)

    def __getattribute__(self, name):
        if name != "term":
            return super().__getattribute__(name)
        object.__setattr__(self, "left", super().__getattribute__("left") - 1)
        return super().__getattribute__("left") < 0


@pytest.mark.parametrize("lora", [False, True])
def test_stopped_and_resumed_is_uninterrupted(tmp_path, llava, data, monkeypatch, lora):
    run(stage_of(tmp_path / "whole", lora=lora), llava, data)
    for steps in (2, 1):
        with monkeypatch.context() as patch:
            patch.setattr(staged, "stop_signals", lambda launched, steps=steps: _wishes(steps))
            with pytest.raises(Stopped):
                run(stage_of(tmp_path / "cut", lora=lora), llava, data)
    assert [path.name for path in (tmp_path / "cut/training").glob("checkpoint-*")] == ["checkpoint-5"]
    run(stage_of(tmp_path / "cut", lora=lora), llava, data)
    whole, cut = weights_of(tmp_path / "whole"), weights_of(tmp_path / "cut")
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    assert not all(torch.equal(whole[name], weight) for name, weight in weights_of(llava).items())


def _wishes(steps):
    import contextlib

    return contextlib.nullcontext(Impatient(steps))


def test_a_checkpoint_that_is_not_whole_is_not_taken(tmp_path, llava, data, monkeypatch):
    monkeypatch.setattr(staged, "stop_signals", lambda launched: _wishes(2))
    with pytest.raises(Stopped):
        run(stage_of(tmp_path / "cut"), llava, data)
    (tmp_path / "cut/training/checkpoint-4").mkdir()
    (tmp_path / "cut/training/checkpoint-4/trainer_state.json").write_text("{}")
    monkeypatch.undo()
    run(stage_of(tmp_path / "cut"), llava, data)
    run(stage_of(tmp_path / "whole"), llava, data)
    whole, cut = weights_of(tmp_path / "whole"), weights_of(tmp_path / "cut")
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_other_settings_do_not_go_on(tmp_path, llava, data, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(staged, "stop_signals", lambda launched: _wishes(2))
        with pytest.raises(Stopped):
            run(stage_of(tmp_path / "out"), llava, data)
    with pytest.raises(UserError, match="unfinished run with other settings"):
        run(stage_of(tmp_path / "out", lr=1e-3), llava, data)
    run(stage_of(tmp_path / "out"), llava, data)
    with pytest.raises(UserError, match="made otherwise"):
        run(stage_of(tmp_path / "out", lr=1e-3), llava, data)


def test_micro_batches_take_the_same_steps(tmp_path, llava, data):
    run(stage_of(tmp_path / "one"), llava, data)
    stage = stage_of(tmp_path / "two")
    run(replace(stage, engine=Engine(micro_batch=2)), llava, data)
    one, two = weights_of(tmp_path / "one"), weights_of(tmp_path / "two")
    assert all(torch.allclose(one[name], two[name], atol=1e-5) for name in one)
    with pytest.raises(UserError, match="is not made of 3 rows"):
        run(replace(stage_of(tmp_path / "three"), engine=Engine(micro_batch=3)), llava, data)


def test_merged_lora_is_what_was_trained(tmp_path, llava, data, monkeypatch):
    kept = {}
    finish = staged._finish

    def look(stage, opened, trainer, pace, made):
        model, batch = trainer.model.eval(), trainer.data_collator([{"row": 1}, {"row": 2}])
        batch.pop("labels")
        with torch.no_grad():
            kept["before"] = model(**batch).logits
        artifact = finish(stage, opened, trainer, pace, made)
        with torch.no_grad():
            kept["after"] = LlavaForConditionalGeneration.from_pretrained(stage.out).eval()(**batch).logits
            kept["start"] = LlavaForConditionalGeneration.from_pretrained(llava).eval()(**batch).logits
        return artifact

    monkeypatch.setattr(staged, "_finish", look)
    run(stage_of(tmp_path / "out", lora=True), llava, data)
    assert torch.allclose(kept["before"], kept["after"], atol=1e-5)
    assert (kept["start"] - kept["after"]).abs().max() > 1e-2


def test_names_of_the_hub_are_read_and_missing_weights_refused(tmp_path, llava):
    hub = {
        "model.language_model.": "language_model.model.", "lm_head.": "language_model.lm_head.",
        "model.multi_modal_projector.": "multi_modal_projector.", "model.vision_tower.": "vision_tower.vision_model.",
    }  # fmt: skip
    shutil.copytree(llava, tmp_path / "hub")
    weights = weights_of(llava)
    named = {
        next(new + name.removeprefix(old) for old, new in hub.items() if name.startswith(old)): weight.detach().clone()
        for name, weight in weights.items()
    }
    save_file(named, tmp_path / "hub/model.safetensors", {"format": "pt"})
    opened = dict(open_llava(str(tmp_path / "hub"), None).model.named_parameters())
    assert all(torch.equal(opened[name], weights[name]) for name in weights)
    lost = "multi_modal_projector.linear_1.weight"
    save_file(
        {name: weight for name, weight in named.items() if name != lost}, tmp_path / "hub/model.safetensors", {"format": "pt"}
    )
    with pytest.raises(DataError, match=f"lacks 1 weights, the first .*{lost}"):
        open_llava(str(tmp_path / "hub"), None)


def test_processors_that_crop_are_made_to_pad(tmp_path, llava):
    shutil.copytree(llava, tmp_path / "crops")
    path = tmp_path / "crops/processor_config.json"
    record = json.loads(path.read_text())
    record["image_processor"]["do_pad"] = False
    path.write_text(json.dumps(record))
    images = open_llava(str(tmp_path / "crops"), None).processor.image_processor
    assert images.do_pad and images.size["shortest_edge"] == 32


def test_put_together_keeps_both_parts(tmp_path, llava):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(llava)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(1)
    llm = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), tie_word_embeddings=False, **sizes)).to(torch.bfloat16)
    tower = CLIPVisionModel(CLIPVisionConfig(image_size=32, patch_size=16, **sizes))
    llm.save_pretrained(tmp_path / "llm"), tokenizer.save_pretrained(tmp_path / "llm"), tower.save_pretrained(tmp_path / "clip")
    opened = put_together(str(tmp_path / "llm"), str(tmp_path / "clip"), RECIPE, None, 3)
    model, rows = opened.model, len(tokenizer)
    embedding = model.get_input_embeddings().weight
    assert opened.dtype == "bfloat16" and embedding.shape[0] % 64 == 0 and embedding.shape[0] >= rows
    assert torch.equal(embedding[:rows], llm.get_input_embeddings().weight.float())
    assert torch.allclose(embedding[-1], embedding[:rows].mean(dim=0))
    mine, theirs = model.model.vision_tower.state_dict(), tower.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    again = put_together(str(tmp_path / "llm"), str(tmp_path / "clip"), RECIPE, None, 3).model
    other = put_together(str(tmp_path / "llm"), str(tmp_path / "clip"), RECIPE, None, 4).model
    weight = "model.multi_modal_projector.linear_1.weight"
    assert torch.equal(model.get_parameter(weight), again.get_parameter(weight))
    assert not torch.equal(model.get_parameter(weight), other.get_parameter(weight))
    assert not any(parameter.is_meta for parameter in model.parameters())
    inputs = opened.processor(text="<image>a", images=_image(), return_tensors="pt")
    assert model(**inputs).logits.isfinite().all()


def _image():
    from PIL import Image

    return Image.new("RGB", (20, 30), (255, 0, 0))


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--data", "none.json"), 1, "none.json"),
        (("--stage", "projectr"), 2, "Did you mean 'projector'"),
        (("--recipe", "llava15-llama3-8b"), 2, "What the stage starts from is not named"),
        (("--init", "nothing-here"), 1, "nothing-here"),
        (("--language-model", "a", "--init", "b"), 2, "names a whole LLaVA"),
        (("--stage", "projector", "--lora"), 2, "trains the projector alone"),
        (("--ema", "0.9"), 2, "--ema is not of the stages"),
        (("--chat-template", "lama-3"), 2, "llama-3"),
        (("--samples-seen", "2"), 2, "less than one batch"),
    ],
)
def test_wrong_requests(tmp_path, data, llava, words, code, told):
    defaults = {"--recipe": "scenes-tiny", "--stage": "instruct", "--data": data / "mix.json", "--images": data / "images"}
    defaults |= {"--init": llava, "--out": tmp_path / "out"} | dict.fromkeys(())
    given = {
        name: value
        for name, value in defaults.items()
        if name not in words and not (name == "--init" and told == "What the stage starts from is not named")
    }
    done = recap("recap-train", "captioner", *(word for pair in given.items() for word in pair), *words)
    assert_two_line_error(done, code, told)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_image_is_told_in_two_lines(tmp_path, data, llava, workers):
    shutil.copytree(data, tmp_path / "data")
    (tmp_path / "data/images/part/005.png").write_bytes(b"no image")
    words = ("--recipe", "scenes-tiny", "--stage", "instruct", "--data", tmp_path / "data/mix.json", "--init", llava)
    more = ("--images", tmp_path / "data/images", "--batch-size", 4, "--precision", "fp32", "--workers", workers)
    done = recap("recap-train", "captioner", *words, *more, "--out", tmp_path / "out")
    assert_two_line_error(done, 1, "row 5 (5)", "005.png is no readable image")


def test_the_command_trains_and_tells(tmp_path, data, llava):
    words = (
        "captioner",
        "--recipe",
        "scenes-tiny",
        "--stage",
        "hq-edit",
        "--data",
        make_edits(tmp_path / "hq"),
        "--init",
        llava,
    )
    done = recap("recap-train", *words, "--batch-size", 4, "--out", tmp_path / "out", "--precision", "fp32", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["made"]["samples_seen"] == 12 and told["made"]["settings"]["form"] == "chat"
    log = [json.loads(line) for line in (tmp_path / "out/log.jsonl").read_text().splitlines()]
    assert log and (tmp_path / "out/artifact.json").is_file()
    assert load_file(tmp_path / "out/model.safetensors")


CHILD = """
import sys
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
from pathlib import Path
from test_captioner_staged import run, stage_of
run(stage_of(Path({out!r}), seen=160, save=0.0), Path({llava!r}), Path({data!r}))
"""


@pytest.mark.serial
@pytest.mark.slow
def test_killed_on_the_way_it_ends_in_the_same_weights(tmp_path, llava, data):
    run(stage_of(tmp_path / "whole", seen=160), llava, data)
    out = tmp_path / "killed"
    tests = str(Path(__file__).parent)
    code = CHILD.format(tests=tests, out=str(out), llava=str(llava), data=str(data))
    path = os.pathsep.join([tests, str(ROOT / "tests"), str(ROOT)])
    child = subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path}, stderr=subprocess.DEVNULL)
    until = time.time() + 120
    while time.time() < until and child.poll() is None and not list(out.glob("training/*/recap.json")):
        time.sleep(0.01)
    time.sleep(0.2)
    child.send_signal(signal.SIGKILL)
    child.wait(60)
    assert not (out / "artifact.json").exists()
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    whole, killed = weights_of(tmp_path / "whole"), weights_of(out)
    assert all(torch.equal(whole[name], killed[name]) for name in whole)
