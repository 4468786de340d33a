"""Models at half the size: what is rounded, what stays, what is refused, what loads."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from support import recap

from recap_eval.artifact import find_artifact, verify, write_artifact
from recap_eval.errors import DataError, UserError
from recap_train.halving import halve


def model(folder, weights=None):
    folder.mkdir(parents=True)
    (folder / "part").mkdir()
    weights = weights or {
        "a": torch.tensor([1.0, 1 / 3]),
        "n": torch.tensor([3]),
        "h": torch.tensor([0.5], dtype=torch.bfloat16),
    }
    save_file(weights, folder / "part" / "w.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text("{}")
    (folder / "log.jsonl").write_text("not of the artifact")
    return write_artifact(folder, "clip", "m", ["part/w.safetensors", "config.json"], {"seed": 1}, {"command": "c"})


def test_fp32_is_rounded_and_all_else_stays(tmp_path):
    whole = model(tmp_path / "a")
    small, known = halve(tmp_path / "a", tmp_path / "b")
    found = load_file(tmp_path / "b" / "part" / "w.safetensors")
    assert found["a"].dtype == torch.float16 and torch.equal(found["a"], torch.tensor([1.0, 1 / 3]).half())
    assert found["n"].dtype == torch.int64 and found["h"].dtype == torch.bfloat16
    with safe_open(tmp_path / "b" / "part" / "w.safetensors", "pt") as opened:
        assert opened.metadata() == {"format": "pt"}
    assert not known and small.made == {"seed": 1, "halved_from": whole.revision} and small.name == "m"
    assert small.revision != whole.revision and not (tmp_path / "b" / "log.jsonl").exists()
    verify(tmp_path / "b", small)


def test_again_is_known_and_a_stopped_call_goes_on(tmp_path):
    model(tmp_path / "a")
    one, _ = halve(tmp_path / "a", tmp_path / "b")
    assert halve(tmp_path / "a", tmp_path / "b") == (one, True)
    (tmp_path / "b" / "artifact.json").unlink()  # stopped before its last file
    assert halve(tmp_path / "a", tmp_path / "b") == (one, False)
    with pytest.raises(UserError, match="another model"):
        halve(tmp_path / "a", tmp_path / "b", "other")


def test_what_is_no_model_or_would_be_overwritten_or_is_damaged_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"artifact\.json"):
        halve(tmp_path, tmp_path / "b")
    model(tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.tex").write_text("")
    with pytest.raises(UserError, match="thesis"):
        halve(tmp_path / "a", tmp_path / "b")
    (tmp_path / "a" / "config.json").write_text("[]")
    with pytest.raises(DataError, match=r"config\.json"):
        halve(tmp_path / "a", tmp_path / "c")


@pytest.mark.parametrize("value", [1e6, float("nan")])
def test_what_half_precision_cannot_hold_is_an_error_that_names_it(tmp_path, value):
    model(tmp_path / "a", {"block.weight": torch.tensor([value])})
    with pytest.raises(DataError, match=r"block\.weight"):
        halve(tmp_path / "a", tmp_path / "b")
    assert find_artifact(tmp_path / "b") is None


def test_a_halved_clip_computes_nearly_the_same(models, tmp_path):
    import open_clip

    done = recap("recap-train", "halve", models[0.0, 0], "--out", tmp_path / "b", "--name", "small", "--json")
    told = json.loads(done.stdout)
    assert done.returncode == 0 and told["name"] == "small" and not told["made_before"]
    whole, half = (open_clip.create_model(f"local-dir:{folder}") for folder in (models[0.0, 0], tmp_path / "b"))
    texts = torch.randint(1, 40, (4, whole.context_length))
    one, other = (model.eval().encode_text(texts).detach() for model in (whole, half))
    assert other.dtype == torch.float32 and torch.allclose(one, other, rtol=0.02, atol=0.02) and not torch.equal(one, other)
