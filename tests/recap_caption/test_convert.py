import json
import os
import pickle

import pyarrow.parquet as pq
import pytest
import torch
from original_llava import LLAVA, TEXT, VISION, make_original, make_weights, save_weights
from safetensors import safe_open
from support import assert_two_line_error, recap

from recap_caption.convert.check import BOUND, check_memory, judge
from recap_caption.convert.names import EMBEDDING, HEAD, LAYOUTS, TOWER, renamed
from recap_caption.convert.original import read_original
from recap_caption.convert.reference import original_logits
from recap_eval.artifact import find_artifact, verify
from recap_eval.errors import DataError

TOKENS = 261  # of the tests' tokenizer


def convert(place, *words, name="out"):
    given = ("--tokenizer", place / "tokenizer", "--vision-tower", place / "tower")
    return recap("recap-caption", "convert", place / "ckpt", "--out", place / name, *given, *words)


def read_all(folder):
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            found |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return found


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def question(weights, seed=3):
    """A random image and text, as tokens with the image left out, and its place."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, TOKENS, (13,), generator=generator).tolist()
    return ids, 5, torch.randn(1, 3, 28, 28, generator=generator)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("tower", [True, False])
@pytest.mark.parametrize("form", ["safetensors", "bin"])
@pytest.mark.parametrize("shards", [1, 3])
def test_plain_transformers_loads_it_and_gives_the_original_s_logits(tmp_path, layout, tower, form, shards):
    from transformers import AutoModelForImageTextToText

    weights = make_original(tmp_path / "ckpt", form, shards, tower)
    done = convert(tmp_path, "--layout", layout)
    assert done.returncode == 0, done.stderr
    model, info = AutoModelForImageTextToText.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    ids, place, pixels = question(weights)
    image = [model.config.image_token_index] * 4
    with torch.no_grad():
        tokens = torch.tensor([ids[:place] + image + ids[place:]])
        found = model.eval()(input_ids=tokens, pixel_values=pixels).logits[0, :, :TOKENS]
    wanted = original_logits(weights.__getitem__, original(), VISION, ids, place, pixels)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    assert set(read_all(tmp_path / "out")) == {renamed(name, layout) for name in weights}


def original(**changes):
    return read_original({**TEXT, **LLAVA, "mm_vision_tower": "x/clip", **changes}, "it")


def test_the_reference_agrees_with_transformers_own_reading_of_original_names(tmp_path):
    """transformers reads the original file itself, by a mapping of names of its own: no code of the conversion is in it."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    weights = make_weights(TOKENS)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**VISION), text_config=LlamaConfig(**TEXT, vocab_size=TOKENS), image_token_index=4,
        image_seq_length=4,
    )  # fmt: skip
    save_weights(tmp_path, weights)
    config.save_pretrained(tmp_path)
    names = {
        r"^model\.vision_tower\.vision_tower\.vision_model\.": "model.vision_tower.",
        r"^model\.mm_projector\.0": "model.multi_modal_projector.linear_1",
        r"^model\.mm_projector\.2": "model.multi_modal_projector.linear_2",
        r"^model\.(?=embed_tokens|layers|norm)": "model.language_model.",
    }
    model, info = LlavaForConditionalGeneration.from_pretrained(tmp_path, key_mapping=names, output_loading_info=True)
    assert not info["missing_keys"]
    ids, place, pixels = question(weights)
    with torch.no_grad():
        found = model.eval()(input_ids=torch.tensor([ids[:place] + [4] * 4 + ids[place:]]), pixel_values=pixels).logits[0]
    wanted = original_logits(weights.__getitem__, original(), VISION, ids, place, pixels)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_check_tells_the_difference_and_the_types_are_kept(tmp_path, dtype):
    make_original(tmp_path / "ckpt", tower=False, dtype=dtype)
    done = convert(tmp_path, "--check")
    assert done.returncode == 0 and "logits differ from the original's by at most" in done.stdout, done.stderr
    artifact = find_artifact(tmp_path / "out")
    verify(tmp_path / "out", artifact)
    assert artifact.kind == "captioner" and artifact.made["check"]["same_choice"] > 0.9
    assert artifact.made["check"]["max_difference"] < 1e-5 < BOUND * artifact.made["check"]["logit_sd"]
    assert {str(tensor.dtype) for tensor in read_all(tmp_path / "out").values()} == {f"torch.{dtype}"}, "of the tower, too"


@pytest.mark.parametrize("damage", ["swapped", "nan"])
def test_check_refuses_a_model_that_is_not_the_original(tmp_path, damage, monkeypatch):
    from recap_caption.convert import weights as module

    make_original(tmp_path / "ckpt")
    whole = module.renamed
    swap = {"model.layers.0.": "model.layers.1.", "model.layers.1.": "model.layers.0."}

    def wrong(name, layout):
        head = next((old for old in swap if name.startswith(old)), None)
        return whole(name.replace(head, swap[head]) if head else name, layout)

    if damage == "swapped":
        monkeypatch.setattr(module, "renamed", wrong)
    else:
        monkeypatch.setattr(module, "with_rows", lambda table, rows: torch.full((rows, table.shape[1]), torch.nan))
    assert_two_line_error(convert(tmp_path, "--check"), 1, "was not converted rightly")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ckpt", "tokenizer", "tower"]


def test_judge_is_strict_at_its_bound():
    wanted = torch.tensor([[0.0, 2.0], [0.0, 2.0]])
    assert judge(wanted + 0.9 * BOUND, wanted, "it").same_choice == 1  # their standard deviation is 1.15
    for wrong in (0.01, float("nan"), float("inf")):
        with pytest.raises(DataError, match="not converted rightly"):
            judge(wanted + torch.tensor([wrong, 0.0]), wanted, "it")


@pytest.mark.parametrize(("path", "name", "value"), [
    ("text_config", "rope_theta", 10000.0), ("vision_config", "hidden_act", "gelu"), (None, "vision_feature_layer", -1),
    ("text_config", "rms_norm_eps", 1e-3), (None, "projector_hidden_act", "relu"),
])  # fmt: skip
def test_check_finds_a_wrong_configuration(tmp_path, path, name, value, monkeypatch):
    """Weights in their places, and one constant of the model wrong."""
    from recap_caption.convert import run

    make_original(tmp_path / "ckpt", dtype="bfloat16")
    whole = run.model_config

    def wrong(*given):
        found = whole(*given)
        (found[path] if path else found)[name] = value
        return found

    monkeypatch.setattr(run, "model_config", wrong)
    assert_two_line_error(convert(tmp_path, "--check"), 1, "was not converted rightly")


def test_check_says_what_memory_it_wants(monkeypatch):
    from recap_caption.convert import check

    monkeypatch.setattr(check, "_free_memory", lambda: 10**9)
    check_memory(10**8)
    with pytest.raises(DataError, match=r"takes 32 GB; 1 GB are free"):
        check_memory(8 * 10**9)
    monkeypatch.setattr(check, "_free_memory", lambda: None)
    check_memory(8 * 10**9)


@pytest.mark.parametrize(("extra", "added", "image", "rows"), [
    (0, ["<image>", "<pad>"], 261, 320), (1, ["<pad>", "<image>"], 262, 320), (59, ["<pad>", "<image>"], 320, 384),
])  # fmt: skip
def test_no_row_of_the_checkpoint_changes_its_meaning(tmp_path, extra, added, image, rows):
    from transformers import AutoTokenizer

    weights = make_original(tmp_path / "ckpt", extra_rows=extra)
    assert convert(tmp_path).returncode == 0
    facts = find_artifact(tmp_path / "out").made["vocabulary"]
    assert (facts["added"], facts["image_id"], facts["rows"]) == (added, image, rows)
    found = read_all(tmp_path / "out")
    for name, old in (("language_model.model.embed_tokens.weight", EMBEDDING), ("language_model.lm_head.weight", HEAD)):
        assert torch.equal(found[name][: TOKENS + extra], weights[old]) and len(found[name]) == rows
        mean = weights[old].mean(0)
        torch.testing.assert_close(found[name][TOKENS + extra :], mean.expand(rows - TOKENS - extra, -1))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.convert_tokens_to_ids("<image>") == image and tokenizer("<image>a")["input_ids"][1] == image
    assert tokenizer.pad_token_id == facts["pad_id"] and tokenizer.padding_side == "left"
    before = AutoTokenizer.from_pretrained(tmp_path / "tokenizer")
    assert tokenizer("some text")["input_ids"] == before("some text")["input_ids"]


def test_a_new_row_is_never_the_greedy_choice():
    """Its logit is the mean of the others', whatever the state."""
    from recap_caption.convert.weights import with_rows

    generator = torch.Generator().manual_seed(1)
    head = torch.randn(100, 16, generator=generator) - 3
    states = 10 * torch.randn(500, 16, generator=generator)
    logits = states @ with_rows(head, 128).T
    assert (logits[:, :100].max(1).values > logits[:, 100:].max(1).values).all()


def test_processor_and_generation_are_the_paper_s(tmp_path):
    from PIL import Image
    from transformers import AutoProcessor, GenerationConfig

    make_original(tmp_path / "ckpt")
    assert convert(tmp_path).returncode == 0
    processor = AutoProcessor.from_pretrained(tmp_path / "out")
    assert type(processor).__name__ == "LlavaProcessor" and processor.image_processor.do_pad
    image = Image.new("RGB", (10, 50), (255, 0, 0))
    asked = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Tell."}]}]
    text = processor.apply_chat_template(asked, add_generation_prompt=True)
    inputs = processor(images=[image], text=[text], return_tensors="pt", add_special_tokens=False)
    assert inputs["pixel_values"].shape == (1, 3, 28, 28) and inputs["input_ids"].tolist()[0].count(261) == 4
    grey = (torch.tensor([122, 116, 104]) / 255 - torch.tensor([0.48145466, 0.4578275, 0.40821073])) / 0.27
    assert (inputs["pixel_values"][0, :, 14, 0] - grey).abs().max() < 0.05, "padded with the mean colour"
    config = GenerationConfig.from_pretrained(tmp_path / "out")
    known = processor.tokenizer.convert_tokens_to_ids(["<|end_of_text|>", "<|eot_id|>"])
    assert config.eos_token_id == known and not config.do_sample and config.pad_token_id == 262
    assert inputs["input_ids"][0, 0] == processor.tokenizer.bos_token_id != inputs["input_ids"][0, 1]


def test_an_image_aspect_ratio_other_than_pad_is_not_padded(tmp_path):
    make_original(tmp_path / "ckpt")
    edit(tmp_path / "ckpt" / "config.json", image_aspect_ratio="square", mm_vision_select_feature="cls_patch")
    done = convert(tmp_path, "--check")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out" / "preprocessor_config.json").read_text())["do_pad"] is False
    assert json.loads((tmp_path / "out" / "config.json").read_text())["image_seq_length"] == 5


def test_a_tied_head_stays_tied(tmp_path):
    make_original(tmp_path / "ckpt")
    edit(tmp_path / "ckpt" / "config.json", tie_word_embeddings=True)
    done = convert(tmp_path, "--check")
    assert done.returncode == 0, done.stderr
    assert not any("lm_head" in name for name in read_all(tmp_path / "out"))


def test_what_every_library_computes_anew_is_dropped(tmp_path):
    weights = make_original(tmp_path / "ckpt")
    extra = {f"{TOWER}embeddings.position_ids": torch.arange(5), "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}
    save_weights(tmp_path / "ckpt", weights | extra | {"model.image_newline": torch.ones(32)})
    assert convert(tmp_path, "--check").returncode == 0


# What is refused.


@pytest.mark.parametrize(("name", "says"), [
    ("model.layers.1.mlp.up_proj.weight", "lacks 1 weights; the first: model.layers.1.mlp.up_proj.weight"),
    (EMBEDDING, f"lacks {EMBEDDING}"), ("model.mm_projector.2.bias", "model.mm_projector.2.bias"),
    (f"{TOWER}post_layernorm.bias", "post_layernorm.bias"),
])  # fmt: skip
def test_a_missing_weight_is_named(tmp_path, name, says):
    weights = make_original(tmp_path / "ckpt")
    del weights[name]
    save_weights(tmp_path / "ckpt", weights)
    assert_two_line_error(convert(tmp_path), 1, says)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("name", "tensor", "says"), [
    ("model.layers.2.mlp.up_proj.weight", torch.ones(48, 32), "1 weights that no LLaVA-1.5"),
    ("model.layers.0.self_attn.q_proj.lora_A.weight", torch.ones(4, 32), "lora_A"),
    ("model.norm.weight", torch.ones(33), "model.norm.weight is 33, and config.json says 32"),
    ("model.norm.weight", torch.ones(32, dtype=torch.int8), "holds int8"),
])  # fmt: skip
@pytest.mark.parametrize("form", ["safetensors", "bin"])
def test_an_unknown_or_misshapen_weight_is_named(tmp_path, name, tensor, says, form):
    weights = make_original(tmp_path / "ckpt", form)
    save_weights(tmp_path / "ckpt", weights | {name: tensor}, form)
    done = convert(tmp_path)
    assert_two_line_error(done, 1, says.replace("int8", "I8") if form == "safetensors" else says)


@pytest.mark.parametrize("form", ["safetensors", "bin"])
@pytest.mark.parametrize("keep", [0, 5, 0.5, 0.999])
def test_a_file_cut_short_is_named(tmp_path, form, keep):
    make_original(tmp_path / "ckpt", form, shards=3)
    path = sorted((tmp_path / "ckpt").glob(f"*-00002-*.{form}"))[0]
    payload = path.read_bytes()
    path.write_bytes(payload[: int(keep * len(payload)) if isinstance(keep, float) else keep])
    assert_two_line_error(convert(tmp_path), 1, path.name)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["ckpt", "tokenizer", "tower"]


class Trap:
    def __reduce__(self):
        return (os.mkdir, ("executed",))


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_a_pickle_with_code_in_it_is_refused_and_not_run(tmp_path, how, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weights = make_original(tmp_path / "ckpt", "bin")
    path = tmp_path / "ckpt" / "pytorch_model.bin"
    if how == "torch":
        torch.save(weights | {"model.trap": Trap()}, path)
    else:
        path.write_bytes(pickle.dumps(Trap()))
    assert_two_line_error(convert(tmp_path), 1, "nothing in it was executed")
    assert not (tmp_path / "executed").exists()


def test_a_pickle_of_the_old_form_is_read(tmp_path):
    """torch before 1.6 wrote no zip; it cannot be mapped."""
    weights = make_original(tmp_path / "ckpt", "bin")
    torch.save(weights, tmp_path / "ckpt" / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    assert convert(tmp_path, "--check").returncode == 0


def test_a_pickle_of_something_else_is_refused(tmp_path):
    make_original(tmp_path / "ckpt", "bin")
    torch.save([torch.ones(2)], tmp_path / "ckpt" / "pytorch_model.bin")
    assert_two_line_error(convert(tmp_path), 1, "other things than tensors")


@pytest.mark.parametrize(("index", "says"), [
    ({"weight_map": {"a": "../elsewhere.safetensors"}}, "no file beside it"), ({"weight_map": {}}, "names no files"),
    ({"weight_map": {"a": "absent.safetensors"}}, "absent.safetensors does not exist"), ([], "names no files"),
])  # fmt: skip
def test_an_index_that_names_what_is_not_there_is_refused(tmp_path, index, says):
    make_original(tmp_path / "ckpt", shards=3)
    (tmp_path / "ckpt" / "model.safetensors.index.json").write_text(json.dumps(index))
    assert_two_line_error(convert(tmp_path), 1, says)


def test_a_weight_in_two_files_is_refused(tmp_path):
    weights = make_original(tmp_path / "ckpt", shards=3)
    from safetensors.torch import save_file

    path = sorted((tmp_path / "ckpt").glob("*-00003-*"))[0]
    save_file({"model.norm.weight": weights["model.norm.weight"], EMBEDDING: weights[EMBEDDING]}, path)
    assert_two_line_error(convert(tmp_path), 1, "is in model-0000")


@pytest.mark.parametrize(("changes", "says"), [
    ({"architectures": ["LlamaForCausalLM"], "model_type": "llama"}, "no checkpoint in LLaVA's original format"),
    ({"mm_projector_type": "linear"}, "mm_projector_type 'linear'"), ({"image_aspect_ratio": "anyres"}, "anyres"),
    ({"mm_use_im_start_end": True}, "mm_use_im_start_end"), ({"hidden_size": None}, "no hidden_size"),
    ({"mm_patch_merge_type": "spatial_unpad"}, "mm_patch_merge_type"), ({"num_hidden_layers": 3}, "lacks 9 weights"),
    ({"mm_vision_select_feature": "cls"}, "mm_vision_select_feature"), ({"mm_vision_tower": None}, "no mm_vision_tower"),
])  # fmt: skip
def test_another_architecture_is_refused(tmp_path, changes, says):
    make_original(tmp_path / "ckpt")
    edit(tmp_path / "ckpt" / "config.json", **changes)
    assert_two_line_error(convert(tmp_path), 1, says)


def test_wrong_requests(tmp_path):
    make_original(tmp_path / "ckpt", tower=False)
    place, out = tmp_path / "ckpt", tmp_path / "out"
    tokens = ("--tokenizer", tmp_path / "tokenizer")
    tower = ("--vision-tower", tmp_path / "tower")

    def ask(*words, model=place):
        return recap("recap-caption", "convert", model, "--out", out, *words)

    assert_two_line_error(ask(*tokens, *tower, model=tmp_path / "absent"), 1, "absent is not a folder")
    assert_two_line_error(ask(*tokens, *tower, model="no such/name/here"), 1, "neither a folder nor ORG/NAME")
    assert_two_line_error(ask(*tokens, *tower, model="nobody/nothing"), 1, "Cannot get nobody/nothing from the hub")
    assert_two_line_error(ask(*tokens), 1, "vision tower cannot be had", "--vision-tower FOLDER")
    assert_two_line_error(ask(*tokens, "--vision-tower", tmp_path / "no"), 2, "is not there")
    assert_two_line_error(ask(*tower), 1, "meta-llama/Meta-Llama-3-8B-Instruct", "name a folder")
    assert_two_line_error(ask(*tower, "--tokenizer", tmp_path / "tower"), 1, "holds no tokenizer.json")
    assert_two_line_error(ask(*tower, *tokens, "--chat-template", "lama-3"), 2, "Did you mean 'llama-3'")
    (tmp_path / "empty.jinja").write_text("\n")
    assert_two_line_error(ask(*tower, *tokens, "--chat-template", tmp_path / "empty.jinja"), 1, "is empty")
    out.mkdir()
    (out / "mine.txt").write_text("x")
    assert_two_line_error(ask(*tower, *tokens), 2, "is not empty")
    assert (out / "mine.txt").read_text() == "x"


@pytest.mark.parametrize("rows", [-1, 300])
def test_another_model_s_tokenizer_is_refused(tmp_path, rows):
    make_original(tmp_path / "ckpt", extra_rows=rows)
    assert_two_line_error(convert(tmp_path), 2, "The tokenizer has 261 tokens", "--tokenizer")


def test_a_tokenizer_without_llama_3_s_marks_needs_its_own_template(tmp_path):
    from tiny_llava import _tokenizer

    make_original(tmp_path / "ckpt", extra_rows=-1)
    _tokenizer().save_pretrained(tmp_path / "tokenizer")
    assert_two_line_error(convert(tmp_path), 2, "<|start_header_id|>", "--chat-template")
    (tmp_path / "mine.jinja").write_text("{% for m in messages %}{{ m['content'] }}{% endfor %}")
    done = convert(tmp_path, "--chat-template", tmp_path / "mine.jinja", "--check")
    assert done.returncode == 0, done.stderr
    facts = find_artifact(tmp_path / "out").made
    assert facts["chat_template"] == "mine" and facts["vocabulary"]["added"] == [] and facts["vocabulary"]["image_id"] == 3


def test_a_vision_tower_that_is_no_clip_is_refused(tmp_path):
    make_original(tmp_path / "ckpt", tower=False)
    edit(tmp_path / "tower" / "config.json", model_type="siglip")
    assert_two_line_error(convert(tmp_path), 1, "is siglip, not CLIP")


def test_a_tower_within_needs_only_the_configuration_of_one(tmp_path):
    make_original(tmp_path / "ckpt")
    (tmp_path / "tower" / "model.safetensors").unlink()
    assert convert(tmp_path).returncode == 0


def test_a_known_tower_within_needs_no_files_of_it(tmp_path, monkeypatch):
    from recap_caption.convert import original as module

    make_original(tmp_path / "ckpt")
    monkeypatch.setitem(module.TOWERS, "clip-vit-tiny-of-tests", VISION)
    given = ("--tokenizer", tmp_path / "tokenizer", "--json")
    done = recap("recap-caption", "convert", tmp_path / "ckpt", "--out", tmp_path / "out", *given)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)["made"]["vision_tower"]
    assert told == {"name": "openai/clip-vit-tiny-of-tests", "weights": "in the checkpoint"}


# Again, at once, killed.


def test_again_does_nothing_and_another_question_is_refused(tmp_path):
    make_original(tmp_path / "ckpt")
    assert convert(tmp_path).returncode == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    done = convert(tmp_path, "--check")
    assert done.returncode == 0 and "converted already" in done.stdout
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert_two_line_error(convert(tmp_path, "--layout", "transformers"), 2, "holds another conversion")
    weights = make_weights(TOKENS)
    save_weights(tmp_path / "ckpt", {**weights, "model.norm.weight": torch.zeros(32)})
    assert_two_line_error(convert(tmp_path), 2, "holds another conversion")


def test_what_a_killed_conversion_left_is_no_obstacle(tmp_path):
    make_original(tmp_path / "ckpt")
    left = tmp_path / ".out.part" / "folder"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_text("half")
    assert convert(tmp_path).returncode == 0
    assert not (tmp_path / ".out.part").exists() and not (tmp_path / "out" / "folder").exists()


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    from recap_caption.convert import run

    make_original(tmp_path / "ckpt")
    monkeypatch.setattr(run.shutil, "disk_usage", lambda place: type("Usage", (), {"free": 1000})())
    assert_two_line_error(convert(tmp_path), 1, "GB left")
    assert not (tmp_path / "out").exists() and not (tmp_path / ".out.part").exists()


def test_conversions_are_cached_and_processes_wait_for_each_other(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    from recap_caption.convert.cached import converted, needs_conversion

    make_original(tmp_path / "ckpt")
    assert needs_conversion(str(tmp_path / "ckpt"))
    with ThreadPoolExecutor(2) as pool:
        asks = [
            pool.submit(converted, str(tmp_path / "ckpt"), str(tmp_path / "tokenizer"), tmp_path / "cache",
                        vision_tower=str(tmp_path / "tower"))
            for _ in range(2)
        ]  # fmt: skip
        places = {ask.result() for ask in asks}
    (place,) = places
    assert find_artifact(place) and not needs_conversion(str(place))
    assert [path.name for path in place.parent.iterdir()] == [place.name]
    other = converted(
        str(tmp_path / "ckpt"), str(tmp_path / "tokenizer"), tmp_path / "cache", "llava-pp", str(tmp_path / "tower")
    )
    assert other != place


def test_big_models_are_cut_into_files_with_an_index(tmp_path, monkeypatch):
    from recap_caption.convert import run, writing

    make_original(tmp_path / "ckpt")
    monkeypatch.setattr(run, "write_pieces", lambda *given: writing.write_pieces(*given, most=40_000))
    assert convert(tmp_path, "--check").returncode == 0
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    files = sorted(path.name for path in (tmp_path / "out").glob("*.safetensors"))
    assert sorted(set(index["weight_map"].values())) == files and len(files) > 3
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in read_all(tmp_path / "out").values())


def test_a_run_converts_an_original_by_itself_and_captions_as_the_conversion_does(tmp_path):
    from asked import png
    from support import write_tar

    make_original(tmp_path / "ckpt")
    for path in (tmp_path / "tokenizer").iterdir():  # a checkpoint that brings its tokenizer
        (tmp_path / "ckpt" / path.name).write_bytes(path.read_bytes())
    edit(tmp_path / "ckpt" / "config.json", mm_vision_tower=str(tmp_path / "tower"))
    (tmp_path / "in").mkdir()
    write_tar(tmp_path / "in" / "00000.tar", {f"{number}.png": png(number) for number in range(3)})
    assert convert(tmp_path).returncode == 0
    rows = []
    for number, model in enumerate((tmp_path / "ckpt", tmp_path / "out", tmp_path / "ckpt")):
        words = ("--input", tmp_path / "in", "--original-key", "none", "--model", model, "--no-eval")
        done = recap("recap-caption", "run", *words, "--output", tmp_path / f"run{number}")
        assert done.returncode == 0, done.stderr
        assert ("converting it into" in done.stderr) == (number == 0), done.stderr
        (path,) = (tmp_path / f"run{number}" / "captions").iterdir()
        rows.append([(one["re_caption"], *one["model_id"].split("@")) for one in pq.read_table(path).to_pylist()])
    assert rows[0] == rows[2] and len(rows[0]) == 3 and {row[1] for row in rows[0]} == {"ckpt"}
    assert [(row[0], row[2]) for row in rows[1]] == [(row[0], row[2]) for row in rows[0]], "the same captions and revision"
