"""The loop from images to features, what is kept of it on disk, and the extractors that are other libraries' models."""

import io
import json

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from torchvision import transforms

from recap_eval.data.items import FileImage
from recap_eval.embed import Embedder
from recap_eval.errors import DataError, UserError
from recap_eval.extractors.base import Extraction
from recap_eval.extractors.clip import ClipExtractor
from recap_eval.extractors.decode import rgb_array
from recap_eval.extractors.dinov2 import Dinov2Extractor
from recap_eval.extractors.drive import LARGEST, FeatureReader
from recap_eval.extractors.frame import Frame
from recap_eval.extractors.kept import FeatureStore
from recap_eval.extractors.loading import load_extractor
from recap_eval.models.base import ModelId
from recap_eval.models.loading import load
from recap_eval.models.pixels import TransformPixels


class Means:
    """Features are the mean of each channel: whose they are can be told."""

    name, dim, device = "means", 3, "cpu"

    def __init__(self, **key):
        self.key, self.batches, self.loaded = {"network": "means"} | key, [], []

    def load(self, payload, where):
        self.loaded.append(where)
        return torch.from_numpy(rgb_array(payload, where).mean((0, 1))).float()

    def features(self, images):
        self.batches.append(len(images))
        return torch.stack(images)


@pytest.fixture
def items(tmp_path):
    """Ten images of one colour each: image i is (i, 2i, 200)."""
    folder = tmp_path / "images"
    folder.mkdir()
    found = []
    for i in range(10):
        path = folder / f"{i:02d}.png"
        Image.new("RGB", (4 + i, 5), (i, 2 * i, 200)).save(path)
        found.append(FileImage(f"id-{i}", path))
    return found


def read(reader, items):
    keys, rows = [], []
    for some, features in reader.read(items):
        assert len(some) == len(features) and features.dtype == torch.float32
        keys += some
        rows.append(features)
    return keys, torch.cat(rows)


def truth(*numbers):
    return torch.tensor([[float(i), 2.0 * i, 200.0] for i in numbers])


@pytest.mark.parametrize("batch_size", [1, 3, 10, 64])
def test_features_come_in_order_with_their_keys(items, batch_size):
    extractor = Means()
    keys, features = read(FeatureReader(extractor, batch_size=batch_size, progress=False), items)
    assert keys == [item.key for item in items] and torch.equal(features, truth(*range(10)))
    assert max(extractor.batches) == min(batch_size, 10)


def test_what_is_kept_is_not_computed_again(items, tmp_path):
    first, again = Means(), Means()
    read(FeatureReader(first, FeatureStore(tmp_path, first), batch_size=4, progress=False), items[2:6])
    reader = FeatureReader(again, FeatureStore(tmp_path, again), batch_size=4, progress=False)
    keys, features = read(reader, items)
    assert keys == [item.key for item in items] and torch.equal(features, truth(*range(10)))
    assert reader.computed == 6 and again.batches == [4, 2]  # full passes, known images between them or not
    last = FeatureReader(Means(), FeatureStore(tmp_path, Means()), progress=False)
    assert (
        torch.equal(read(last, items[::-1])[1], truth(*range(9, -1, -1))) and last.computed == 0 and not last.extractor.loaded
    )


def test_another_key_shares_nothing(items, tmp_path):
    one, other = Means(resize="a"), Means(resize="b")
    read(FeatureReader(one, FeatureStore(tmp_path, one), progress=False), items)
    reader = FeatureReader(other, FeatureStore(tmp_path, other), progress=False)
    read(reader, items)
    assert reader.computed == 10


def test_a_run_that_is_stopped_keeps_what_it_computed(items, tmp_path):
    extractor = Means()
    rows = FeatureReader(extractor, FeatureStore(tmp_path, extractor), batch_size=2, progress=False).read(items)
    next(rows)
    next(rows)
    rows.close()
    again = FeatureReader(Means(), FeatureStore(tmp_path, Means()), progress=False)
    assert torch.equal(read(again, items)[1], truth(*range(10))) and again.computed <= 6


def test_the_same_image_twice_is_twice_there(items, tmp_path):
    extractor = Means()
    twice = [items[0], items[1], items[0]]
    keys, features = read(FeatureReader(extractor, FeatureStore(tmp_path, extractor), progress=False), twice)
    assert keys == ["id-0", "id-1", "id-0"] and torch.equal(features, truth(0, 1, 0))


def test_features_are_let_go_of_once_they_are_written(items, tmp_path, monkeypatch):
    monkeypatch.setattr("recap_eval.extractors.kept.ROWS", 4)
    extractor = Means()
    store = FeatureStore(tmp_path, extractor)
    read(FeatureReader(extractor, store, batch_size=1, progress=False), items)
    assert len(list(store.folder.glob("images-*.safetensors"))) == 3
    assert store._rows["images"]._blocks == [] and store._new["images"] == []
    assert torch.equal(read(FeatureReader(Means(), store, progress=False), items)[1], truth(*range(10)))


def test_a_disk_that_cannot_be_written_costs_the_cache_only(items, tmp_path, capsys):
    (tmp_path / "embeddings").write_text("a file where the folder should be")
    extractor = Means()
    assert len(read(FeatureReader(extractor, FeatureStore(tmp_path, extractor), progress=False), items)[0]) == 10
    assert "are not kept" in capsys.readouterr().err


def test_bad_images_stop_it_or_are_counted(items, tmp_path):
    items[3].path.write_bytes(items[3].path.read_bytes()[:40])
    items[5].path.unlink()
    with pytest.raises(DataError, match=r"03\.png is not a readable image"):
        read(FeatureReader(Means(), progress=False), items)
    reader = FeatureReader(Means(), batch_size=2, skip_bad=True, progress=False)
    keys, features = read(reader, items)
    assert keys == [f"id-{i}" for i in (0, 1, 2, 4, 6, 7, 8, 9)] and torch.equal(features, truth(0, 1, 2, 4, 6, 7, 8, 9))
    assert sorted(reader.bad) == [items[3].where, items[5].where]


def test_nothing_to_read_is_an_error(items):
    with pytest.raises(DataError, match="There are no images"):
        read(FeatureReader(Means(), progress=False), [])
    for item in items:
        item.path.write_bytes(b"not an image")
    with pytest.raises(DataError, match="None of 10 images can be read"):
        read(FeatureReader(Means(), skip_bad=True, progress=False), items)


def test_features_that_are_not_finite_are_an_error(items, tmp_path):
    extractor = Means()
    extractor.features = lambda images: torch.stack([torch.full((3,), float("nan")) if i[0] == 7 else i for i in images])
    store = FeatureStore(tmp_path, extractor)
    with pytest.raises(DataError, match=r"not finite, first of .*07\.png"):
        read(FeatureReader(extractor, store, batch_size=4, progress=False), items)
    assert torch.isfinite(store.rows("images", sorted(store.known("images", FeatureReader(Means())._digests.of(items))))).all()


def test_many_known_images_are_handed_over_in_parts(items, tmp_path):
    extractor = Means()
    many = [FileImage(f"{i}", items[i % 10].path) for i in range(LARGEST + 100)]
    read(FeatureReader(extractor, FeatureStore(tmp_path, extractor), progress=False), items)
    sizes = [len(keys) for keys, _ in FeatureReader(Means(), FeatureStore(tmp_path, Means()), progress=False).read(many)]
    assert sizes == [LARGEST, 100]


# ---- dinov2 and clip


def png(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def dinov2(tmp_path_factory):
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    config = Dinov2Config(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=224, patch_size=14)
    folder = tmp_path_factory.mktemp("dinov2")
    model = Dinov2Model(config).eval()
    model.save_pretrained(folder)
    return folder, model


def test_dinov2_is_given_images_as_dgm_eval_gives_them(dinov2):
    folder, model = dinov2
    images = [
        np.random.default_rng(i).integers(0, 256, size, dtype=np.uint8) for i, size in enumerate([(90, 300, 3), (64, 64, 3)])
    ]
    extractor = load_extractor(f"dinov2:{folder}")
    ours = extractor.features([extractor.load(png(image), "x") for image in images])
    steps = transforms.Compose(
        [
            transforms.Resize((224, 224), transforms.InterpolationMode.BICUBIC),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    batch = torch.stack([steps(Image.fromarray(image)) for image in images])
    with torch.inference_mode():
        theirs = model(pixel_values=batch).last_hidden_state[:, 0]
    assert ours.shape == (2, extractor.dim) == (2, 32) and torch.allclose(ours, theirs, atol=1e-5)
    framed = Dinov2Extractor(str(folder), Extraction(frame=Frame("crop", 64)))
    assert framed.key != extractor.key and len(extractor.key["weights"]) == 64
    assert not torch.allclose(framed.features([framed.load(png(images[0]), "x")]), ours[:1], atol=1e-3)


def test_positions_of_dinov2_are_resampled_as_the_original_does(tmp_path):
    """A line stays one, but for the ripple of torch's bicubic: position i is read at (i + 0.5) * 37 / 16.1 - 0.5."""
    from transformers import Dinov2Config, Dinov2Model

    model = Dinov2Model(Dinov2Config(hidden_size=4, num_hidden_layers=1, num_attention_heads=1, image_size=518, patch_size=14))
    rows, columns = torch.meshgrid(torch.arange(37.0), torch.arange(37.0), indexing="ij")
    table = model.embeddings.position_embeddings.data
    table[0, 1:] = torch.stack([rows, columns, rows + columns, rows * 0], -1).reshape(-1, 4)
    model.save_pretrained(tmp_path)
    ours = Dinov2Extractor(str(tmp_path), Extraction())._model.embeddings.position_embeddings[0]
    grid, line = ours[1:].reshape(16, 16, 4), (torch.arange(16) + 0.5) * 37 / 16.1 - 0.5
    assert torch.allclose(grid[1:-1, 1:-1, 0], line[1:-1, None].expand(14, 14), atol=0.08)
    assert torch.allclose(grid[1:-1, 1:-1, 1], line[None, 1:-1].expand(14, 14), atol=0.08)
    assert abs(float(grid[14, 14, 0]) - (14.5 * 37 / 16 - 0.5)) > 0.12  # where transformers' own would be
    assert torch.equal(ours[0], table[0, 0])


def test_other_models_and_folders_are_no_dinov2(tmp_path, dinov2):
    from transformers import ViTConfig

    ViTConfig().save_pretrained(tmp_path / "vit")
    (tmp_path / "vit/model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="is a 'vit' model, not DINOv2"):
        load_extractor(f"dinov2:{tmp_path / 'vit'}")
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare/config.json").write_bytes((dinov2[0] / "config.json").read_bytes())
    with pytest.raises(DataError, match=r"holds no \*\.safetensors"):
        load_extractor(f"dinov2:{tmp_path / 'bare'}")
    with pytest.raises(UserError, match="neither a folder nor a model of the hub"):
        load_extractor("dinov2:huge")
    with pytest.raises(DataError, match="Cannot reach facebook/dinov2-large"):
        load_extractor("dinov2")


class Tower:
    """Embeds an image as 3 times its mean channels of 0..1."""

    device, id = "cpu", ModelId("tower", "rev-1", {}, {"context_length": 8})

    def __init__(self):
        self.pixels = TransformPixels(lambda image: image.resize((2, 2)), (0, 0, 0), (1, 1, 1))

    def encode_images(self, batch):
        return 3 * batch.mean((2, 3))


def test_clip_embeddings_are_of_unit_length_or_as_they_are():
    unit, raw = (ClipExtractor("tower", Extraction(), unit, Tower()) for unit in (True, False))
    payload = png(np.full((5, 9, 3), (0, 51, 204), np.uint8))
    assert torch.allclose(raw.features([raw.load(payload, "x")]), torch.tensor([[0, 0.6, 2.4]]), atol=1e-6)
    assert torch.allclose(unit.features([unit.load(payload, "x")]).norm(dim=1), torch.ones(1))
    assert unit.dim == 3 and unit.key != raw.key and unit.key["weights"] == "rev-1"
    framed = ClipExtractor("tower", Extraction(frame=Frame("crop", 4)), True, Tower())
    assert framed.key != unit.key and framed.load(payload, "x").shape == (3, 2, 2)


def test_clip_embeddings_are_those_of_recap_eval_clip(tmp_path, items):
    towers = {"vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}}
    towers |= {"embed_dim": 16, "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}}
    (tmp_path / "tiny-towers.json").write_text(json.dumps(towers))
    open_clip.add_model_config(tmp_path / "tiny-towers.json")
    torch.manual_seed(0)
    torch.save(open_clip.create_model("tiny-towers").state_dict(), tmp_path / "weights.pt")
    word = f"tiny-towers/{tmp_path / 'weights.pt'}"
    extractor = load_extractor(f"clip:{word}")
    keys, features = read(FeatureReader(extractor, batch_size=4, progress=False), items)
    assert extractor.dim == 16 and len(keys) == 10
    assert torch.allclose(features, Embedder(load(word), progress=False).images(items).vectors, atol=1e-6)


@pytest.mark.parametrize("word", ["incepton", "inception:x", "clip", "clip:", "vgg"])
def test_unknown_extractors_are_told_with_examples(word):
    with pytest.raises(UserError, match="Unknown extractor") as caught:
        load_extractor(word)
    assert "inception" in caught.value.hint
