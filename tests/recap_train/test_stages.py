"""Two stages: what is handed over, what is new, what is skipped; and tokenizers that lie in a folder."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from support import assert_two_line_error, make_run, make_stages, recap
from test_clip import weights

from recap_eval.artifact import find_artifact
from recap_eval.errors import DataError, UserError
from recap_train import clip
from recap_train.cli import main
from recap_train.clip import build_model, train
from recap_train.run import identity_of
from recap_train.stages import chain, places
from recap_train.start import Start

POSITIONS = "visual.positional_embedding"


@pytest.fixture(scope="module")
def finished(world, tmp_path_factory):
    """A run of both stages."""
    out = tmp_path_factory.mktemp("stages") / "run"
    train(chain(make_stages(world, out)))
    return out


def test_stage_2_starts_from_the_weights_of_stage_1_alone(finished, world, tmp_path):
    """Equal but for positions, which are computed for the new image size; the optimiser and the schedule begin anew."""
    from open_clip.pos_embed import get_2d_sincos_pos_embed

    last = chain(make_stages(world, finished))
    model, _, _ = build_model(replace(last, out=tmp_path / "o"), [("a", "b")])
    before, ours = weights(finished / "stage1"), model.state_dict()
    assert before.keys() == ours.keys()
    assert all(torch.equal(ours[name], before[name]) for name in ours if name != POSITIONS)
    assert before[POSITIONS].shape == (1 + 4 * 4, 96) and ours[POSITIONS].shape == (1 + 8 * 8, 96)
    right = torch.from_numpy(get_2d_sincos_pos_embed(96, 8, cls_token=True)).float()
    assert torch.equal(ours[POSITIONS], right) and torch.equal(weights(finished)[POSITIONS], right)
    log = [json.loads(line) for line in (finished / "log.jsonl").read_text().splitlines()]
    assert log[-1]["step"] == last.schedule().steps and log[-1]["samples"] == last.samples_seen // 64 * 64


def test_the_artifacts_say_what_they_came_from(finished):
    one, two = find_artifact(finished / "stage1"), find_artifact(finished)
    assert (one.made["recipe"], two.made["recipe"]) == ("recap-clip-scenes-stage1", "recap-clip-scenes")
    assert two.made["init"]["revision"] == one.revision and two.made["samples_seen"] > one.made["samples_seen"]
    assert (one.made["stage"], two.made["stage"]) == ("1", "2")
    assert one.files["tokenizer.json"] == two.files["tokenizer.json"]


def test_open_clip_alone_loads_the_artifact(finished):
    import open_clip
    from PIL import Image

    for folder, side in ((finished / "stage1", 16), (finished, 32)):
        net, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}", require_pretrained=True)
        tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(["a red circle"])
        assert net.visual.image_size == (side, side) and net.attn_mask is None
        assert "bilinear" in str(transform) and torch.isfinite(net.encode_text(tokens)).all()
        assert torch.isfinite(net.encode_image(transform(Image.new("RGB", (40, 32)))[None])).all()


def test_what_is_done_is_not_done_again_and_the_first_stage_may_be_deleted(finished, world, tmp_path, monkeypatch):
    whole = shutil.copytree(finished, tmp_path / "run")
    shutil.rmtree(whole / "stage1")
    artifact, known = train(chain(make_stages(world, whole)))
    assert known and artifact.revision == find_artifact(finished).revision
    half = tmp_path / "half"
    shutil.copytree(finished / "stage1", half / "stage1")
    built = []
    real = clip.build_model
    monkeypatch.setattr(clip, "build_model", lambda run, *rest: built.append(run.recipe.stage) or real(run, *rest))
    again, known = train(chain(make_stages(world, half)))
    assert built == ["2"] and not known and again.revision == artifact.revision


def test_stage_2_from_an_artifact_by_name_is_the_same_run(finished, world, tmp_path):
    alone = make_stages(world, tmp_path / "alone")[-1]
    artifact, _ = train(replace(alone, start=Start(init=finished / "stage1")))
    assert artifact.made["identity"] == find_artifact(finished).made["identity"]
    assert artifact.revision == find_artifact(finished).revision


def test_wrong_starts_are_told(finished, world, tmp_path, model):
    run = make_stages(world, tmp_path / "o")[-1]
    with pytest.raises(UserError, match="no CLIP model that recap-train made"):
        train(replace(run, start=Start(init=tmp_path / "nowhere")))
    with pytest.raises(UserError, match="does not fit the recipe"):
        train(replace(run, start=Start(init=model), out=tmp_path / "p"))
    damaged = shutil.copytree(finished / "stage1", tmp_path / "damaged")
    (damaged / "open_clip_model.safetensors").write_bytes(b"x")
    with pytest.raises(DataError, match="not the file"):
        train(replace(run, start=Start(init=damaged), out=tmp_path / "q"))


def test_each_stage_has_its_folder(world, tmp_path):
    assert [run.out for run in places(make_stages(world, tmp_path))] == [tmp_path / "stage1", tmp_path]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """A folder with a WordPiece tokenizer of BERT's kind, of a few words."""
    from tokenizers import BertWordPieceTokenizer
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "the", "red", "blue", "circle", "square", "large", "##s", "##d"]
    (folder / "vocab.txt").write_text("\n".join([*words, *"abcdefghijklmnopqrstuvwxyz"]))
    made = BertWordPieceTokenizer(str(folder / "vocab.txt"), lowercase=True)
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    PreTrainedTokenizerFast(tokenizer_object=made._tokenizer, **special).save_pretrained(folder)
    return folder


def with_bert(world, out, folder, **other):
    run = make_stages(world, out)[0]
    text = run.recipe.model_cfg["text_cfg"] | {"tokenizer_kwargs": {"strip_sep_token": True}} | other
    recipe = replace(run.recipe, tokenizer="hf", model_cfg=run.recipe.model_cfg | {"text_cfg": text})
    return replace(run, recipe=recipe, start=Start(tokenizer=folder))


def test_a_tokenizer_in_a_folder_travels_with_the_artifact(world, tmp_path, bert):
    import open_clip

    artifact, _ = train(with_bert(world, tmp_path / "o", bert))
    assert "tokenizer.json" in artifact.files
    tokens = open_clip.get_tokenizer(f"local-dir:{tmp_path / 'o'}")(["Red circle"])
    assert tokens.shape == (1, 64) and tokens[0, :5].tolist() == [2, 7, 9, 0, 0]  # [CLS] red circle, [SEP] stripped
    open_clip.create_model(f"local-dir:{tmp_path / 'o'}", require_pretrained=True)


def test_the_tokenizer_is_part_of_what_a_run_is(world, tmp_path, bert):
    other = shutil.copytree(bert, tmp_path / "other")
    (other / "vocab.txt").write_text((other / "vocab.txt").read_text() + "\ngreen")
    runs = [with_bert(world, tmp_path / "o", folder) for folder in (bert, other)]
    assert identity_of(runs[0], "data") != identity_of(runs[1], "data")


def test_wrong_tokenizers_are_told(world, tmp_path, bert):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no tokenizer"):
        train(with_bert(world, tmp_path / "o", tmp_path / "empty"))
    with pytest.raises(UserError, match="has 39 tokens, the recipe 20"):
        train(with_bert(world, tmp_path / "o", bert, vocab_size=20))
    with pytest.raises(DataError, match="no-such-tokenizer"):
        train(with_bert(world, tmp_path / "p", None, hf_tokenizer_name="no-such-tokenizer"))


def test_bilinear_crops_are_those_of_the_recipe(tmp_path):
    import io

    import numpy as np
    from PIL import Image

    from recap_eval.hashrand import Draws
    from recap_train.crops import Crop, load_crop
    from recap_train.recipes import load_recipe
    from recap_train.training_data import crop_of

    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 48, 3), dtype=np.uint8)).save(buffer, "PNG")
    cubic, linear = (load_crop(buffer.getvalue(), "x", Crop(16, 0.4, how), Draws(1)) for how in ("bicubic", "bilinear"))
    assert (load_crop(buffer.getvalue(), "x", Crop(16, 0.4), Draws(1)) == cubic).all() and (cubic != linear).any()
    assert crop_of(make_run(tmp_path, tmp_path, recipe=load_recipe("scenes-tiny"))).interpolation == "bicubic"
    assert crop_of(make_stages(tmp_path, tmp_path)[0]).interpolation == "bilinear"


@pytest.mark.parametrize(
    ("words", "fragments"),
    [
        (["--recipe", "recap-clip-b61"], ["Unknown recipe", "'recap-clip-b16'"]),
        (["--recipe", "recap-clip-scenes", "--stage", "3"], ["Unknown stage", "1, 2, all"]),
        (["--recipe", "scenes-tiny"], ["does not say how many samples", "--samples-seen N"]),
        (["--recipe", "recap-clip-scenes", "--keep-evals"], ["how often", "--eval-every"]),
        (
            ["--recipe", "recap-clip-scenes", "--stage", "2", "--samples-seen", "640", "--warmup-samples", "640"],
            ["rise for all"],
        ),
    ],
)
def test_wrong_words(words, fragments, world, tmp_path, capsys):
    given = ["clip", "--data", str(world), "--p-original", "0.5", "--out", str(tmp_path / "o"), *words]
    code = main(given)
    assert_two_line_error(SimpleNamespace(returncode=code, stderr=capsys.readouterr().err), 2, *fragments)
    assert not (tmp_path / "o").exists()


@pytest.mark.slow
def test_the_command_trains_both_stages_and_measures_the_last(world, tmp_path):
    words = [
        "--data",
        world,
        "--recipe",
        "recap-clip-scenes",
        "--p-original",
        "0.5",
        "--samples-seen",
        "640",
        "--batch-size",
        64,
    ]
    words += ["--out", tmp_path / "o", "--leaderboards", tmp_path / "lb", "--reports", tmp_path / "rep"]
    done = recap("recap-train", "clip", *words)
    assert done.returncode == 0, done.stderr
    assert "batch_size is 64 (changed; the recipe has 128)" in done.stderr
    assert {path.parent.name.rsplit("-", 1)[0] for path in (tmp_path / "lb").rglob("*.json")} == {"recap-clip-scenes-p0.5-s0"}
    assert find_artifact(tmp_path / "o" / "stage1").name == "recap-clip-scenes-stage1-p0.5-s0"


def test_plain_runs_are_identified_as_before(world, tmp_path):
    """Nothing of stages, tokenizers or measuring on the way is in the identity of a run that has none of them."""
    from recap_eval.files import digest_json

    run = make_run(world, tmp_path / "o")
    parts = [run.recipe.digest, 0.5, 512, 0, run.roles, "fp32", "data"]
    assert identity_of(run, "data") == digest_json(parts)
