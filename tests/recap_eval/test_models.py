"""Each adapter against its own library's plain way of doing the same."""

import io
import json
import pickle
import sys
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from support import ROOT
from tiny_clips import make_clip, make_siglip

from recap_eval.data.scenes.preview import drawn
from recap_eval.errors import DataError, UserError
from recap_eval.models import activation
from recap_eval.models.base import Loading
from recap_eval.models.loading import load, resolve_precision
from recap_eval.models.pixels import _planes_of, as_rgb, decode_image, from_torchvision

TEXTS = ["A RED circle!", "a blue square beside a small green star", "", "a ring " * 120]


@pytest.fixture(scope="module")
def pictures():
    """JPEGs of odd shapes, and a PNG with a palette."""
    rng, out = np.random.default_rng(0), []
    for size in ((37, 50), (64, 33), (41, 41)):
        low = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
        buffer = io.BytesIO()
        low.save(buffer, "JPEG", quality=90)
        out.append(buffer.getvalue())
    buffer = io.BytesIO()
    Image.open(io.BytesIO(out[0])).convert("P").save(buffer, "PNG")
    return [*out, buffer.getvalue()]


def ours(model, pictures):
    batch = [model.pixels.load(picture, "here") for picture in pictures]
    return model.encode_images(model.pixels.batch(batch, "cpu"))


def rgb(pictures):
    return [Image.open(io.BytesIO(picture)).convert("RGB") for picture in pictures]


# open_clip


@pytest.mark.parametrize("mode", ["shortest", "squash", "longest"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_pixels_are_bit_for_bit_open_clips(pictures, mode, interpolation):
    transform = open_clip.image_transform(32, is_train=False, resize_mode=mode, interpolation=interpolation)
    expected = torch.stack([transform(image) for image in rgb(pictures)])
    pixels = from_torchvision(transform)
    assert torch.equal(pixels.batch([pixels.load(picture, "here") for picture in pictures], "cpu"), expected)


@pytest.mark.parametrize("mode", ["shortest", "squash"])
def test_fast_pixels_are_at_most_two_grey_levels_off(mode):
    rng = np.random.default_rng(1)
    noise = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(240, 320, 3)), axes=(0, 1)) * _pink(240, 320)[..., None], axes=(0, 1))
    photo = (128 + 45 * noise / noise.std()).clip(0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, "JPEG", quality=90)
    transform = open_clip.image_transform(112, is_train=False, resize_mode=mode)
    fast, exact = from_torchvision(transform, fast=True), from_torchvision(transform)
    apart = (fast.load(buffer.getvalue(), "x").int() - exact.load(buffer.getvalue(), "x").int()).abs()
    assert 0 < apart.max() <= 2


def _pink(height, width):
    f = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    f[0, 0] = 1
    return 1 / f


@pytest.mark.parametrize("size", [(641, 479), (33, 17), (8, 8)])
@pytest.mark.parametrize(
    "mode, options", [("RGB", {}), ("RGB", {"subsampling": 0}), ("RGB", {"progressive": True}), ("L", {}), ("CMYK", {})]
)
def test_jpegs_are_decoded_to_the_values_of_pil(mode, options, size):
    """libjpeg-turbo by itself and through PIL, both ways: resizing alone tells fast from exact."""
    noise = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(buffer, "JPEG", quality=85, **options)
    fast, exact = _planes_of(buffer.getvalue(), "x", None), decode_image(buffer.getvalue(), "x")
    theirs = as_rgb(Image.open(buffer))
    assert exact.mode == "RGB" and np.array_equal(np.asarray(exact), np.asarray(theirs))
    assert np.array_equal(np.asarray(exact.resize((20, 30))), np.asarray(theirs.resize((20, 30))))
    assert np.array_equal(fast[:3].permute(1, 2, 0).numpy(), np.asarray(theirs))


def test_a_jpeg_too_large_to_be_meant_is_refused(pictures, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(DataError, match=r"bomb\.jpg is not a readable image"):
        decode_image(pictures[0], "bomb.jpg")


@pytest.mark.parametrize("how", [True, False])
def test_a_jpeg_that_is_cut_short_is_refused(pictures, how):
    fast = from_torchvision(open_clip.image_transform(32, is_train=False), fast=how)
    for cut in (len(pictures[1]) // 2, 20):
        with pytest.raises(DataError, match="not a readable image"):
            fast.load(pictures[1][:cut], "cut.jpg")
    assert fast.load(pictures[3], "palette.png").shape == (3, 32, 32)


def test_a_box_is_cut_out_after_decoding(pictures):
    image = decode_image(pictures[0], "x", (5, 10, 20, 40))
    assert image.size == (15, 30)
    assert np.array_equal(np.asarray(image), np.asarray(decode_image(pictures[0], "x"))[10:40, 5:20])


def test_another_transform_is_left_as_it_is(pictures):
    pixels = from_torchvision(lambda image: torch.tensor([[[float(image.width)]]]))
    assert pixels.batch([pixels.load(picture, "x") for picture in pictures], "cpu").flatten().tolist() == [37, 64, 41, 37]


TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2},
}


@pytest.fixture
def tiny(tmp_path):
    """A small open_clip architecture by name, for checkpoint files."""
    (tmp_path / "configs").mkdir()
    for name, quick in (("tiny-clip", False), ("tiny-clip-quickgelu", True)):
        (tmp_path / "configs" / f"{name}.json").write_text(json.dumps(TINY | {"quick_gelu": quick}))
    open_clip.add_model_config(tmp_path / "configs")
    torch.manual_seed(0)
    return open_clip.create_model("tiny-clip")


def test_a_checkpoint_file_by_architecture(tiny, tmp_path, pictures):
    """As open_clip's training writes it: a dict with a state_dict of a DDP module."""
    path = tmp_path / "epoch_10.pt"
    torch.save({"epoch": 10, "state_dict": {f"module.{k}": v for k, v in tiny.state_dict().items()}}, path)
    model = load(f"tiny-clip/{path}")
    transform = open_clip.image_transform(32, is_train=False)
    with torch.no_grad():
        expected = tiny.eval().encode_image(torch.stack([transform(image) for image in rgb(pictures)]))
        text = tiny.encode_text(open_clip.get_tokenizer("tiny-clip")(TEXTS))
    assert torch.allclose(ours(model, pictures), expected, atol=1e-6)
    assert model.trims and torch.allclose(model.encode_texts(TEXTS), text, atol=1e-5)
    assert model.id.protocol["activation"] == "gelu (assumed)"
    assert [length > model.context_length for length in model.lengths(TEXTS)] == [False, False, False, True]


def test_two_checkpoints_of_one_name_have_two_revisions(tiny, tmp_path):
    ids = []
    for folder in ("original", "recap"):
        torch.manual_seed(len(ids))
        path = tmp_path / folder / "checkpoints" / "epoch_10.pt"
        path.parent.mkdir(parents=True)
        torch.save(open_clip.create_model("tiny-clip").state_dict(), path)
        ids.append(load(f"tiny-clip/{path}").id)
    assert ids[0].revision != ids[1].revision


def test_a_pickle_with_code_is_refused(tiny, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (Path(tmp_path / "exploded").touch, ())

    for spec, path in (("tiny-clip/", tmp_path / "bomb.pt"), ("", tmp_path / "bomb2.pt")):
        path.write_bytes(pickle.dumps({"state_dict": Bomb()}))
        with pytest.raises(DataError):
            load(f"{spec}{path}")
    assert not (tmp_path / "exploded").exists()


def test_params_beside_a_checkpoint_settle_its_activation(tiny, tmp_path):
    path = tmp_path / "run" / "checkpoints" / "epoch_1.pt"
    path.parent.mkdir(parents=True)
    torch.save(tiny.state_dict(), path)
    params = tmp_path / "run" / "params.txt"
    params.write_text("force_quick_gelu: True\nmodel: tiny-clip\n")
    with pytest.raises(UserError, match="QuickGELU") as caught:
        load(f"tiny-clip/{path}")
    assert f"tiny-clip-quickgelu/{path}" in caught.value.hint
    assert load(f"tiny-clip-quickgelu/{path}").id.protocol["activation"] == "quickgelu"
    params.write_text("force_quick_gelu: False\nmodel: ViT-B-32\n")
    with pytest.raises(UserError, match="trained as ViT-B-32"):
        load(f"tiny-clip/{path}")


def test_doubt_needs_a_clear_gain_and_puts_the_activation_back(tiny, monkeypatch, tmp_path):
    path = tmp_path / "a.pt"
    torch.save(tiny.state_dict(), path)
    model = load(f"tiny-clip/{path}")
    losses = iter([torch.full((128,), 3.0), torch.linspace(0.9, 1.1, 128)])
    seen = []
    monkeypatch.setattr(activation, "_losses", lambda found: (seen.append(_kinds(found.model)), next(losses))[1].double())
    assert "the other activation" in activation.doubt(model)
    assert seen == [{"GELU"}, {"QuickGELU"}] and _kinds(model.model) == {"GELU"}
    for ours_, theirs in ((1.0, 1.0), (1.0, 3.0), (5.0, 4.1)):  # no gain; a loss; a gain of a model that knows nothing
        losses = iter([torch.full((128,), ours_) + torch.linspace(0, 0.01, 128), torch.full((128,), theirs)])
        assert activation.doubt(model) is None


def _kinds(net):
    return {type(module).__name__ for module in net.modules()} & {"GELU", "QuickGELU"}


def test_doubt_on_random_weights_says_nothing(tiny, tmp_path):
    torch.save(tiny.state_dict(), tmp_path / "a.pt")
    assert activation.doubt(load(f"tiny-clip/{tmp_path / 'a.pt'}")) is None


def test_every_siglip_of_open_clip_lower_cases_and_pads_to_64():
    """Read from the configs of the release that is installed: an upgrade that changes it fails here."""
    names = [name for name in open_clip.list_models() if name.startswith("ViT") and "SigLIP" in name]
    assert len(names) > 10
    for name in names:
        text = open_clip.get_model_config(name)["text_cfg"]
        assert text["tokenizer_kwargs"]["clean"] in ("canonicalize", "lower"), name
        assert text["context_length"] == (16 if name == "ViT-SO400M-14-SigLIP" else 64), name


# LongCLIP


def reference_longclip(state, tokens):
    """Its text tower as the paper's code computes it: two tables of positions under two masks."""
    model = open_clip.model.build_model_from_openai_state_dict(
        {k: v.clone() for k, v in state.items() if k != "positional_embedding_res"}
    ).float()
    model.load_state_dict({k: v for k, v in state.items() if k != "positional_embedding_res"})
    first, second = state["positional_embedding"], state["positional_embedding_res"]
    mask = torch.zeros(len(first), 1)
    mask[:20] = 1
    x = model.token_embedding(tokens) + first * mask + second * (1 - mask)
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask))
    return x[torch.arange(len(x)), tokens.argmax(dim=-1)] @ model.text_projection


def test_longclip(tmp_path, pictures):
    torch.manual_seed(0)
    config = {**TINY, "text_cfg": {**TINY["text_cfg"], "context_length": 248}, "quick_gelu": True}
    source = open_clip.CLIP(**config)
    state = {key: value.clone() for key, value in source.state_dict().items() if key != "attn_mask"}
    state["positional_embedding_res"] = torch.randn(248, 64)
    torch.save(state, tmp_path / "longclip-B.pt")
    model = load(str(tmp_path / "longclip-B.pt"))
    assert model.context_length == 248 and model.id.name == "longclip-B" and model.trims
    assert model.id.protocol["activation"] == "quickgelu"
    texts = [*TEXTS[:3], "a ring and " * 60, "a ring and " * 200]
    tokens = open_clip.SimpleTokenizer(context_length=248)(texts)
    with torch.no_grad():
        expected = reference_longclip(state, tokens)
    assert torch.allclose(model.encode_texts(texts), expected, atol=1e-5)
    assert [length > 248 for length in model.lengths(texts)] == [False, False, False, False, True]
    assert ours(model, pictures).shape == (4, 16)


def test_longclip_of_the_hub_is_its_file(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(
        "huggingface_hub.hf_hub_download", lambda *given: asked.append(given) or str(tmp_path / "longclip-L.pt")
    )
    with pytest.raises(DataError, match=r"longclip-L\.pt cannot be read safely"):
        load("longclip:ORG/LongCLIP-L")
    assert asked == [("ORG/LongCLIP-L", "longclip-L.pt")]
    monkeypatch.undo()
    with pytest.raises(DataError, match=r"Cannot get longclip-B\.pt of ORG/LongCLIP-B from the hub"):
        load("longclip:ORG/LongCLIP-B")


def test_a_file_that_is_no_longclip_names_the_way(tiny, tmp_path):
    torch.save(tiny.state_dict(), tmp_path / "some.pt")
    with pytest.raises(DataError, match="does not say which model") as caught:
        load(str(tmp_path / "some.pt"))
    assert "NAME/" in caught.value.hint


# transformers


def reference_hf(folder, pictures, texts, length):
    """transformers' own pipeline with its PIL image processor."""
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(folder).eval()
    images = AutoImageProcessor.from_pretrained(folder, backend="pil")(images=rgb(pictures), return_tensors="pt")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt").input_ids
    with torch.no_grad():
        found = model.get_image_features(**images), model.get_text_features(input_ids=ids)
    return [getattr(part, "pooler_output", part) for part in found]


def test_transformers_clip(tmp_path, pictures):
    torch.manual_seed(0)
    make_clip(tmp_path)
    texts = [text.lower() for text in TEXTS]
    image, text = reference_hf(tmp_path, pictures, texts, 24)
    model = load(str(tmp_path))
    assert model.trims and torch.allclose(ours(model, pictures), image, atol=1e-5)
    assert torch.allclose(model.encode_texts(texts), text, atol=1e-5)
    assert model.lengths(texts)[3] == 242 > model.context_length


def test_transformers_siglip_is_lower_cased_and_padded(tmp_path, pictures):
    torch.manual_seed(0)
    make_siglip(tmp_path)
    image, text = reference_hf(tmp_path, pictures, [text.lower() for text in TEXTS], 64)
    model = load(f"transformers:{tmp_path}")
    assert not model.trims and torch.allclose(ours(model, pictures), image, atol=1e-5)
    assert torch.allclose(model.encode_texts(TEXTS), text, atol=1e-5)
    shouted = model.encode_texts(["RED CIRCLE"])
    assert torch.allclose(shouted, model.encode_texts(["red circle"])) and model.context_length == 64


def test_transformers_errors(tmp_path):
    make_clip(tmp_path)
    weights = tmp_path / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="Cannot load"):
        load(str(tmp_path))
    weights.rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(DataError, match=r"no \*\.safetensors"):
        load(str(tmp_path))
    with pytest.raises(DataError, match="Cannot reach"):
        load("transformers:nobody/nothing")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    weights.write_bytes(whole)
    with pytest.raises(UserError, match="'bert' model"):
        load(str(tmp_path))


# one's own


OWN = """
import numpy as np

class Mine:
    def encode_images(self, images):
        return np.stack([np.asarray(image.resize((2, 2)), dtype="f").ravel() for image in images])

    def encode_texts(self, texts):
        return np.stack([np.full(12, len(text), dtype="f") for text in texts])

class Other(Mine):
    revision, name, context_length = "v2", "other", 4
    def lengths(self, texts):
        return [len(text.split()) for text in texts]

class Half:
    def encode_images(self, images): ...

class Flat(Mine):
    revision = "x"
    def encode_texts(self, texts):
        return np.zeros(3)

thing = Other()
def factory(): return Other()
"""


def test_ones_own_model(tmp_path, pictures, monkeypatch):
    (tmp_path / "my_models.py").write_text(OWN)
    model = load(f"{tmp_path / 'my_models.py'}:Mine")
    assert ours(model, pictures).shape == (4, 12) and model.encode_texts(["abc"])[0, 0] == 3
    assert model.id.name == "Mine" and model.id.revision.startswith("probe:")
    monkeypatch.chdir(tmp_path)
    try:
        for attribute in ("Other", "thing", "factory"):
            found = load(f"my_models:{attribute}")
            assert found.id.name == "other" and found.id.revision == "own:v2" and found.lengths(["a b"]) == [2]
    finally:
        sys.modules.pop("my_models", None)


def test_ones_own_model_changes_revision_with_its_behaviour(tmp_path):
    revisions = set()
    for number, scale in enumerate((1, 1, 2)):
        path = tmp_path / f"m{number}.py"
        path.write_text(OWN.replace('dtype="f").ravel()', f'dtype="f").ravel() * {scale}'))
        revisions.add(load(f"{path}:Mine").id.revision)
    assert len(revisions) == 2


@pytest.mark.parametrize(
    ("attribute", "words"), [("Absent", "has no 'Absent'"), ("Half", "no method encode_texts"), ("Flat", "shape")]
)
def test_ones_own_model_errors(tmp_path, attribute, words):
    (tmp_path / "m.py").write_text(OWN)
    with pytest.raises(UserError, match=words):
        load(f"{tmp_path / 'm.py'}:{attribute}").encode_texts(["a"])


def test_names_that_lead_nowhere():
    for spec, words in (
        ("no_such_module:Thing", "no module"),
        ("ViT-B-33/openai", "Unknown model"),
        ("./gone", "exist"),
    ):
        with pytest.raises(UserError, match=words) as caught:
            load(spec)
        assert caught.value.hint
    with pytest.raises(UserError, match="precision"):
        resolve_precision("fp8", "cpu")
    assert resolve_precision("auto", "cpu") == "fp32"


def test_bf16_changes_no_cosine_much(tmp_path, pictures):
    make_clip(tmp_path)
    full, half = (ours(load(str(tmp_path), Loading(precision)), pictures) for precision in ("fp32", "bf16"))
    assert torch.nn.functional.cosine_similarity(full, half).min() > 0.999 and not torch.equal(full, half)


def test_drawn_scenes_are_the_same_every_time():
    first, second = drawn(3), drawn(3)
    assert first == second and len({*first[1]}) == 3


def test_the_example_in_the_docs_runs(tmp_path, pictures):
    text = (ROOT / "docs" / "models.md").read_text().split("```python\n")[1].split("```")[0]
    (tmp_path / "my_models.py").write_text(text)
    model = load(f"{tmp_path / 'my_models.py'}:Mine")
    assert ours(model, pictures).shape == (4, 192) and model.encode_texts(["a", "b"]).shape == (2, 192)
    assert model.id.revision == "own:epoch 3" and model.lengths(["a b c"]) == [5]
