"""Recap-CLIP as data: sizes as published, every constant with its source, models that open_clip builds."""

import json

import pytest
import torch

from recap_eval.errors import UserError
from recap_train.cli import main
from recap_train.estimate import count_flops, count_parameters, meta_model
from recap_train.recipes import UNSTATED, load_recipe, recipe_names
from recap_train.recipes.layers import SOURCES
from recap_train.stages import Changes, changed_constants, choose_stages, learning_rate, resolve

TABLE = {"s16": (22, 33), "b16": (86, 53), "l16": (303, 109), "h14": (631, 334)}  # M, the paper's Table 2
LARGER = {"s16-btxt": ("s16", "b16"), "b16-ltxt": ("b16", "l16"), "l16-htxt": ("l16", "h14")}
BERT_WORDS, TABLE_TOKENS = 30_522, 32  # of BERT's vocabulary; CLIPA's text length


def at(name, stage="1", **changes):
    recipe = load_recipe(f"recap-clip-{name}")
    return resolve(recipe, [stage], Changes(**changes))[0]


def as_in_the_table(name, stage):
    """Parameters as the table counts them: without projections; the text tower with BERT's own words and CLIPA's 32 places.

    Our table of words has CLIPA's 32,000 rows and 128 places, as the code that was run has: 1,478 rows and 96 places more.
    """
    recipe = at(name, stage)
    model = meta_model(recipe)
    sizes, text = count_parameters(model), recipe.model_cfg["text_cfg"]
    width = text["width"]
    more = (text["vocab_size"] - BERT_WORDS + text["context_length"] - TABLE_TOKENS) * width
    return (sizes["vision"] - model.visual.proj.numel()) / 1e6, (sizes["text"] - model.text_projection.numel() - more) / 1e6


@pytest.mark.parametrize("name", TABLE)
def test_parameters_are_those_of_the_papers_table(name):
    vision, text = as_in_the_table(name, "1")
    assert (round(vision), round(text)) == TABLE[name]


@pytest.mark.parametrize("name", LARGER)
def test_the_larger_text_tower_is_that_of_the_next_size(name):
    vision, text = as_in_the_table(name, "1")
    mine, next_size = LARGER[name]
    assert (round(vision), round(text)) == (TABLE[mine][0], TABLE[next_size][1])
    assert at(name).model_cfg["embed_dim"] == at(mine).model_cfg["embed_dim"]


def test_flops_are_those_of_a_forward_pass():
    """B/16 as counted independently: 2 x (products of weights x tokens + attention) of twelve blocks."""
    model = meta_model(at("b16"))
    assert count_flops(model) == pytest.approx({"image": 8.644e9, "text": 10.067e9}, rel=1e-3)
    blocks = 12 * (2 * 12 * 768**2 * 50 + 4 * 50 * 50 * 768)
    assert count_flops(model)["image"] == blocks + 2 * 49 * 768 * 3 * 16**2 + 2 * 768 * 512
    assert count_flops(meta_model(at("b16", "2")))["image"] == pytest.approx(35.127e9, rel=1e-3)


@pytest.mark.parametrize("name", recipe_names())
def test_no_constant_lacks_a_source(name):
    whole = load_recipe(name)
    for recipe in (whole, *resolve(whole, choose_stages(whole, None), Changes())):
        for key in recipe.constants():
            assert recipe.sources.get(key), key
        assert not set(recipe.sources) - set(recipe.constants())
    if whole.stages:
        assert set(whole.sources.values()) <= set(SOURCES)
    assert whole.summary


def test_sources_tell_the_paper_from_what_it_leaves_open():
    recipe = load_recipe("recap-clip-b16")
    assert recipe.sources["model_cfg.vision_cfg.width"] == recipe.sources["stages.1.batch_size"] == "paper"
    assert recipe.sources["train.betas"] == recipe.sources["model_cfg.text_cfg.vocab_size"] == "CLIPA"
    assert load_recipe("ViT-B-16").sources["train.lr"] == UNSTATED


@pytest.mark.parametrize("name", ["b16", "h14"])
def test_the_model_is_shaped_like_open_clips_own_clipa(name):
    """All that open_clip's ViT-*-CLIPA configs say besides sizes, lengths and learned positions (they load converted ones)."""
    import open_clip

    theirs, ours = open_clip.get_model_config("ViT-H-14-CLIPA"), at(name, "2").model_cfg
    sizes = {"layers", "width", "heads", "head_width", "patch_size", "context_length"}
    for tower in ("vision_cfg", "text_cfg"):
        shared = {key: value for key, value in theirs[tower].items() if key not in sizes}
        assert {key: ours[tower][key] for key in shared} == shared
    if name == "h14":
        assert {key: ours["vision_cfg"][key] for key in sizes & ours["vision_cfg"].keys()} == {
            key: theirs["vision_cfg"][key] for key in sizes & theirs["vision_cfg"].keys()
        }


def test_both_stages_are_the_papers():
    one, two = (at("b16", stage) for stage in "12")
    assert (one.image_size, two.image_size) == (112, 224)
    assert one.train["lr"] == pytest.approx(1.024e-3) and two.train["lr"] == pytest.approx(2.56e-5)
    steps = [
        (r.train["samples_seen"] // r.train["batch_size"], r.train["warmup_samples"] // r.train["batch_size"])
        for r in (one, two)
    ]
    assert steps == [(78_125, 1_562), (7_812, 1_562)]
    assert (one.name, two.name) == ("recap-clip-b16-stage1", "recap-clip-b16")


def test_the_rule_of_the_learning_rate():
    assert learning_rate(8e-6, 32_768) == pytest.approx(1.024e-3)
    assert learning_rate(1e-3, 600) == pytest.approx(2e-3)  # the batch is counted in whole 256s
    assert learning_rate(1e-3, 64) == pytest.approx(2.5e-4)  # below, where the floor is 0, in proportion


def test_changes_follow_the_rule_and_are_told():
    recipe = at("b16", batch_size=4096, samples_seen=2_560_000)
    assert recipe.train["lr"] == pytest.approx(8e-6 * 16) and recipe.train["warmup_samples"] == 51_200
    told = "\n".join(changed_constants(recipe))
    for word in ("batch_size is 4096", "the recipe has 32768", "lr is 0.000128", "by the rule", "samples_seen is 2.56e+06"):
        assert word in told
    assert not changed_constants(at("b16"))
    assert at("b16", batch_size=4096, lr=1e-3).train["lr"] == 1e-3
    tiny = resolve(load_recipe("scenes-tiny"), [""], Changes(batch_size=64))[0]
    assert tiny.train["lr"] == pytest.approx(7.5e-4) and tiny.digest != load_recipe("scenes-tiny").digest


def test_samples_are_shared_among_the_stages():
    recipe = load_recipe("recap-clip-b16")
    one, two = resolve(recipe, ["1", "2"], Changes(samples_seen=2_688_000))
    assert (one.train["samples_seen"], two.train["samples_seen"]) == (2_560_000, 128_000)
    with pytest.raises(UserError, match="--lr is of one stage"):
        resolve(recipe, ["1", "2"], Changes(lr=1e-3))


def test_scenes_tiny_is_what_it_was():
    """Committed results name this digest."""
    assert load_recipe("scenes-tiny").digest.startswith("c4706d8e3412")
    assert resolve(load_recipe("scenes-tiny"), [""], Changes(samples_seen=99))[0].digest == load_recipe("scenes-tiny").digest


def test_wrong_stages_and_sources_are_told(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="Unknown stage of recap-clip-b16 '3'"):
        choose_stages(load_recipe("recap-clip-b16"), "3")
    with pytest.raises(UserError, match="scenes-tiny has one stage only"):
        choose_stages(load_recipe("scenes-tiny"), "2")
    record = {"model_cfg": {}, "preprocess_cfg": {}, "tokenizer": "words", "train": {}, "stages": {"1": {"image_size": 8}}}
    (tmp_path / "mine.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="stage 1: batch_size is missing"):
        load_recipe(str(tmp_path / "mine.json"))
    from recap_train.recipes.layers import lay

    with pytest.raises(UserError, match="hearsay"):
        lay([{"hearsay": {"tokenizer": "words"}}], tmp_path)


def test_positions_are_fixed_and_embeddings_do_not_decay():
    from recap_train.loop import Schedule, make_optimizer

    with torch.device("cpu"):
        import open_clip

        model = open_clip.CLIP(**at("scenes").model_cfg)
    assert not model.visual.positional_embedding.requires_grad
    names = {id(weight): name for name, weight in model.named_parameters()}
    schedule = Schedule(10, 2, 1e-3, 0.0, (0.9, 0.95), 0.2, warmup_steps=3, no_decay=tuple(at("scenes").train["no_decay"]))
    decays, others = ([names[id(w)] for w in group["params"]] for group in make_optimizer(model, schedule).param_groups)
    assert {"token_embedding.weight", "positional_embedding", "visual.class_embedding", "logit_scale"} <= set(others)
    assert {"visual.conv1.weight", "visual.proj", "text_projection"} <= set(decays)
    assert [schedule.lr_at(step) for step in range(3)] == pytest.approx([1e-3 / 3, 2e-3 / 3, 1e-3])


def test_the_list_names_every_recipe(capsys):
    assert main(["list"]) == 0
    told = capsys.readouterr().out
    assert all(name in told for name in recipe_names()) and "112: 2.56B, 224: 128M" in told
