"""The dry run: its numbers by hand, the real order and coins, and nothing written."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from support import assert_two_line_error

from recap_eval.data.shards import read_shards
from recap_eval.hashrand import text_key
from recap_train.cli import main
from recap_train.dry_run_text import plot
from recap_train.estimate import Assumptions, activation_bytes, duration, memory
from recap_train.mixing import Mix
from recap_train.plan import Plan
from recap_train.recipes import load_recipe
from recap_train.stages import Changes, resolve


@pytest.fixture
def dry(tmp_path, monkeypatch, capsys):
    """The command in an empty folder; it must stay empty."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        code = main(["clip", "--dry-run", *map(str, words)])
        said = capsys.readouterr()
        assert list(tmp_path.iterdir()) == []
        return SimpleNamespace(returncode=code, stdout=said.out, stderr=said.err)

    return run


def test_the_papers_recipe_without_any_data(dry):
    done = dry("--recipe", "recap-clip-b16", "--p-original", 0.8, "--gpu-price", 2.5, "--batch-size", 8192)
    assert done.returncode == 0, done.stderr
    for words in (
        "80% original captions, 20% recaptions", "image 8.64 GFLOP", "image 35.13 GFLOP", "text 10.07 GFLOP",
        "vision 86.19 M, text 54.54 M", "312,500 steps", "15,625 steps", "the rate rises for 6,250", "the recipe has 32768",
        "ASSUMED, not measured: 8 x H100 SXM", "12.6 h, 100.9 GPU hours, 252 in money", "needs accumulation",
    ):  # fmt: skip
        assert words in done.stdout, words
    starred = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("* ")]
    assert starred == ["train.batch_size", "train.lr"] * 2


def test_the_first_samples_are_those_of_the_run(world, dry):
    words = ["--recipe", "recap-clip-scenes", "--p-original", 0.5, "--seed", 3, "--data", world, "--out", "o", "--json"]
    done = dry(*words)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    samples = read_shards(world / "train")
    plan = Plan(np.array([text_key(sample.key) for sample in samples], dtype=np.uint64), Mix(0.5), 3)
    first = facts["data"]["first"]
    assert [row["key"] for row in first] == [samples[place].key for place in plan.visit(0, 4).index]
    for epoch in (0, 1):
        visit = plan.visit(epoch * 96, epoch * 96 + 96)
        coins = {samples[place].key: original for place, original in zip(visit.index, visit.original, strict=True)}
        for row in first:
            texts = {sample.key: sample.meta for sample in samples}[row["key"]]
            wanted = "org_caption" if coins[row["key"]] and texts["org_caption"].strip() else "re_caption"
            assert row["epochs"][epoch]["caption"] == texts[wanted]
    missing = sum(not sample.meta["org_caption"].strip() for sample in samples) / 96
    assert facts["data"]["empty"]["original"] == pytest.approx(missing) and facts["data"]["samples"] == 96
    assert [stage["schedule"]["steps"] for stage in facts["stages"]] == [192, 64]
    assert all(row["source"] for stage in facts["stages"] for row in stage["constants"])


def test_time_and_memory_by_hand():
    assumed = Assumptions("a100", 4, 0.5, 2.0)
    found = duration({"image": 60, "text": 40}, 10**15, assumed)
    seconds = 300 * 10**15 / (4 * 312e12 * 0.5)
    assert found["hours"] == pytest.approx(seconds / 3600) and found["cost"] == pytest.approx(seconds / 3600 * 4 * 2)
    sizes = {"vision": 0, "text": 0, "total": 10**9, "not_trained": 0}
    kept = memory(sizes, 10**8, 4096, assumed)
    assert (kept["weights"], kept["gradients"], kept["adamw"]) == (4 * 10**9, 4 * 10**9, 8 * 10**9)
    assert kept["batch_a_gpu"] == 1024 and kept["largest_micro_batch"] == (72 * 10**9 - 16 * 10**9) // 10**8


def test_activations_are_what_autograd_keeps_on_a_real_device():
    """The estimate on the meta device against the tensors that a real forward pass saves."""
    import open_clip
    import torch

    recipe = resolve(load_recipe("recap-clip-scenes"), ["1"], Changes())[0]
    model, kept = open_clip.CLIP(**recipe.model_cfg), {}
    own = {weight.data_ptr() for weight in model.parameters()}

    def note(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        outputs = model.encode_image(torch.zeros(1, 3, 16, 16)), model.encode_text(torch.zeros(1, 64, dtype=torch.long))
    real = sum(storage.nbytes() for place, storage in kept.items() if place not in own)
    assert len(outputs) == 2 and activation_bytes(recipe, "fp32") == real


def test_the_curve_is_plotted_from_the_bottom():
    lines = plot([0.0, 0.5, 1.0], 4)
    assert lines[0].endswith("│  █") and lines[1].endswith("│  █") and lines[3].endswith("│ ██") and "1.00e+00" in lines[0]


@pytest.mark.parametrize(
    ("words", "fragments"),
    [
        (["--gpu", "h10"], ["Unknown GPU 'h10'", "'h100'"]),
        (["--assume-mfu", "40"], ["--assume-mfu 40", "(0, 1]"]),
        (["--data", "/nowhere", "--caption-preset", "scenes"], ["/nowhere is not a folder"]),
    ],
)
def test_wrong_words(words, fragments, dry):
    done = dry("--recipe", "recap-clip-scenes", "--p-original", 0.5, *words)
    assert_two_line_error(done, 1 if "--data" in words else 2, *fragments)
