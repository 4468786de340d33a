"""The small captioner: its tokens, its loss, its run."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from support import assert_two_line_error, recap
from transformers import AutoModelForImageTextToText, AutoProcessor

from recap_eval.artifact import find_artifact
from recap_eval.data.scenes.language import long_caption, recaption
from recap_eval.data.scenes.world import draw_scenes
from recap_eval.errors import DataError, UserError
from recap_eval.hashrand import Draws
from recap_eval.models.llava.tokenizer import read_template
from recap_eval.signals import Stopped, Wishes
from recap_train import loop
from recap_train.captioner import whole
from recap_train.captioner.objective import Captioning, Telling
from recap_train.captioner.recipe import load_captioner_recipe
from recap_train.captioner.small import build_model, build_processor, wording_of
from recap_train.captioner.tokens import SPECIAL, make_tokenizer
from recap_train.ledger import Ledger
from recap_train.loader import Batch
from recap_train.mixing import Mix
from recap_train.parallel import World
from recap_train.run import Run
from recap_train.states import Spread

RECIPE = load_captioner_recipe("scenes-tiny")
SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
TINY = replace(RECIPE, model_cfg=RECIPE.model_cfg | {"vision": SIZES | {"patch_size": 16}, "text": SIZES})
CAPTIONS = [recaption(scene, 0.0, Draws(number))[0] for number, scene in enumerate(draw_scenes("train", 0, 400, 0))]


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer(CAPTIONS, RECIPE.model_cfg["prompt"], 1024, read_template("llama-3")[1])


@pytest.fixture(scope="module")
def wording(tokenizer):
    return wording_of(TINY, build_processor(TINY, tokenizer))


def test_captions_are_few_tokens_and_any_text_is_some(tokenizer):
    lengths = [len(tokenizer(text)["input_ids"]) for text in CAPTIONS]
    words = [len(text.replace(".", " .").replace(",", " ,").split()) for text in CAPTIONS]
    assert lengths == words and max(lengths) < 64
    rng = np.random.default_rng(0)
    texts = ["", " ", "\n\n", "Zürich — 日本 🙂\t\r\n x", *CAPTIONS[:3]]
    texts += ["".join(chr(code) for code in rng.integers(1, 0x2FFF, 40) if chr(code).isprintable()) for _ in range(20)]
    for text in texts:
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text
    assert [tokenizer.convert_tokens_to_ids(token) for token in SPECIAL] == list(range(len(SPECIAL)))


def test_the_same_captions_make_the_same_tokenizer(tokenizer):
    again = make_tokenizer(CAPTIONS, RECIPE.model_cfg["prompt"], 1024, read_template("llama-3")[1])
    one, two = (json.loads(each.backend_tokenizer.to_str())["model"] for each in (again, tokenizer))
    assert one == two
    with pytest.raises(UserError, match="no words"):
        make_tokenizer(["", " "], "a prompt", 1024, "")


def test_a_caption_has_the_tokens_that_the_whole_conversation_gives_it(tokenizer, wording):
    processor = build_processor(TINY, tokenizer)
    for text in [*CAPTIONS[:20], long_caption(draw_scenes("val", 3, 4, 0)[0], Draws(1)), "\nodd", " odd", "12 odd"]:
        talk = [
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": TINY.model_cfg["prompt"]}]},
            {"role": "assistant", "content": [{"type": "text", "text": text}]},
        ]
        told = processor.apply_chat_template(talk, tokenize=False).replace("<image>", "<image>" * 4)
        row = wording.tokenize([text])[0]
        mine = [*wording.prefix, *row[row != tokenizer.pad_token_id].tolist()]
        if text.startswith("\n"):  # a line break joins those before it: such a caption cannot be told from its prompt
            assert tokenizer.decode(mine) == told
        else:
            assert mine == tokenizer(told, add_special_tokens=False)["input_ids"]


def test_captions_that_are_too_long_are_told(wording):
    with pytest.raises(DataError, match="A caption has 71 tokens, more than 64"):
        wording.tokenize(["a" + " red" * 69])
    assert wording.tokenize([""]).tolist()[0][:2] == [wording.tokenizer.eos_token_id, wording.tokenizer.pad_token_id]


def batch_of(wording, texts):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (len(texts), 3, 32, 32), generator=generator, dtype=torch.uint8)
    return Batch(pixels, wording.tokenize(texts), Ledger(), np.zeros(len(texts), dtype=np.uint64))


def test_the_loss_is_that_of_the_captions_tokens_alone(tokenizer, wording):
    model = build_model(TINY, tokenizer, 0)
    told = Telling(model, wording, TINY.preprocess_cfg, False, "cpu")
    batch = batch_of(wording, CAPTIONS[:90])
    loss = Captioning(Spread(told), World(), told.pad).backward(batch, 0)
    mine = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad()
    ids = torch.cat([torch.tensor(wording.prefix).expand(90, -1), batch.tokens], dim=1)
    labels = ids.clone()
    labels[:, : len(wording.prefix)] = -100  # the conversation before, its image tokens among it
    labels[ids == told.pad] = -100
    mean, std = (torch.tensor(TINY.preprocess_cfg[name])[:, None, None] for name in ("mean", "std"))
    theirs = model(input_ids=ids, pixel_values=(batch.pixels / 255 - mean) / std, labels=labels).loss  # transformers' own
    theirs.backward()
    assert loss.item() == pytest.approx(theirs.item(), abs=1e-5)
    for name, grad in mine.items():
        assert torch.allclose(grad, model.get_parameter(name).grad, atol=1e-5), name


def run_of(world, out, samples=96, **other):
    key = "json:re_caption"
    recipe = replace(TINY, train=TINY.train | {"batch_size": 16}, stages={})
    return Run(world, recipe, Mix(0.0), samples, 0, out, "tiny", {"original": key, "recaption": key}, "fp32", False, **other)


class Impatient(Wishes):
    """Asks to stop after so many looks of the loop."""

    looks = 0

    def __bool__(self):
        return self.term

    def __getattribute__(self, name):
        if name == "term":
            self.__dict__["looks"] = self.__dict__.get("looks", 0) + 1
            return self.__dict__["looks"] > 2
        return super().__getattribute__(name)


def test_stopped_and_resumed_is_uninterrupted(world, tmp_path, monkeypatch):
    import contextlib

    whole.train(run_of(world, tmp_path / "whole"))
    with monkeypatch.context() as patch:
        patch.setattr(loop, "stop_signals", lambda launched: contextlib.nullcontext(Impatient()))
        with pytest.raises(Stopped):
            whole.train(run_of(world, tmp_path / "cut"))
    assert (tmp_path / "cut/checkpoint.pt").is_file()
    artifact, known = whole.train(run_of(world, tmp_path / "cut"))
    other = find_artifact(tmp_path / "whole")
    assert not known and artifact.files == other.files and artifact.made == other.made
    assert not (tmp_path / "cut/checkpoint.pt").exists()
    assert whole.train(run_of(world, tmp_path / "cut"))[1]
    with pytest.raises(UserError, match="made otherwise"):
        whole.train(run_of(world, tmp_path / "cut", samples=112))


def test_everything_is_trained_and_the_folder_is_transformers(world, tmp_path):
    artifact, _ = whole.train(run_of(world, tmp_path / "out"))
    model, facts = AutoModelForImageTextToText.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not facts["missing_keys"] and not facts["unexpected_keys"]
    processor = AutoProcessor.from_pretrained(tmp_path / "out")
    start = build_model(TINY, processor.tokenizer, 0)
    still = [name for name, weight in start.named_parameters() if torch.equal(weight, model.get_parameter(name))]
    # the class token and the last norm of the tower are not among what is projected
    assert all("post_layernorm" in name for name in still), still
    assert artifact.kind == "captioner" and "p_original" not in artifact.made
    assert artifact.made["captions"] == "json:re_caption" and artifact.made["samples_seen"] == 96
    assert model.generation_config.eos_token_id == [2, 5] and not model.generation_config.do_sample
    assert model.lm_head.weight is model.model.language_model.embed_tokens.weight


def test_the_average_is_what_is_kept_where_there_is_one(world, tmp_path):
    from recap_train.engine import Engine

    last, _ = whole.train(run_of(world, tmp_path / "last"))
    average, _ = whole.train(run_of(world, tmp_path / "average", engine=Engine(ema=0.9)))
    assert average.made["weights"] == "average" and last.made["weights"] == "last"
    assert average.files["model.safetensors"] != last.files["model.safetensors"]


@pytest.mark.slow
def test_the_command_measures_on_the_way_and_afterwards(world, tmp_path):
    words = ("captioner", "--recipe", "scenes-tiny", "--data", world, "--samples-seen", 64, "--out", tmp_path / "out")
    places = ("--leaderboards", tmp_path / "lb", "--reports", tmp_path / "reports")
    done = recap("recap-train", *words, *places, "--eval-every", 32, "--eval-limit", 4, "--precision", "fp32")
    assert done.returncode == 0, done.stderr
    log = [json.loads(line) for line in (tmp_path / "out/log.jsonl").read_text().splitlines()]
    evals = [entry["eval"] for entry in log if "eval" in entry]
    assert len(evals) == 1 and 0 <= evals[0]["f1"] <= 1
    assert list((tmp_path / "lb").rglob("*scenes-caption*.json"))


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--recipe", "scenes-tiney"), 2, "Did you mean 'scenes-tiny'"),
        (("--init", "x", "--data", "y"), 2, "is trained whole, from nothing"),
        ((), 2, "--data is needed"),
        (("--data", "nothing-here"), 1, "nothing-here does not exist"),
        (("--data", "nothing-here", "--caption-key", "txt"), 1, "nothing-here"),
        (("--recipe", "recipe.json"), 1, "recipe.json"),
    ],
)
def test_wrong_requests(tmp_path, words, code, told):
    recipe = () if "--recipe" in words else ("--recipe", "scenes-tiny")
    done = recap("recap-train", "captioner", *recipe, "--out", tmp_path / "out", "--samples-seen", 64, *words)
    assert_two_line_error(done, code, told)


def test_what_the_recipe_says_and_leaves_open():
    done = recap("recap-train", "captioner", "--recipe", "llava15-llama3-8b", "--stage", "hq-edit", "--dry-run")
    assert done.returncode == 0 and "leaves open" in done.stdout
    rows = {line.split()[0]: line.split()[-2:] for line in done.stdout.splitlines() if line and " " in line}
    assert rows["lr"][-1] == "(unstated)" and rows["rows"][-1] == "paper" and rows["prompt"][-1] == "paper"
    told = json.loads(
        recap("recap-train", "captioner", "--recipe", "llava15-llama3-8b", "--stage", "instruct", "--dry-run", "--json").stdout
    )
    assert told["constants"]["lr"] == {"value": 2e-5, "source": "LLaVA-1.5"} and len(told["unknown"]) >= 6
    assert all(one["source"] for one in told["constants"].values())


def test_recipes_of_ones_own(tmp_path):
    record = json.loads(
        (whole.__file__ and __import__("pathlib").Path(whole.__file__).parent / "recipes/llava.json").read_text()
    )
    record["recipes"] = {"mine": record["recipes"]["scenes-tiny"]}
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(record))
    assert load_captioner_recipe(str(path)).name == "mine"
    record["parts"]["scenes-whole"]["scaled down"]["train"]["lrr"] = 1
    path.write_text(json.dumps(record))
    with pytest.raises(UserError, match="'lrr'"):
        load_captioner_recipe(str(path))
    del record["parts"]["scenes-whole"]["scaled down"]["train"]["lrr"]
    del record["parts"]["scenes-whole"]["scaled down"]["train"]["crop_min_area"]
    path.write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"lacks train\.crop_min_area"):
        load_captioner_recipe(str(path))
