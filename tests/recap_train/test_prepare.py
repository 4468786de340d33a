import io
import json
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from support import ROOT, assert_two_line_error, make_run, recap, write_tar

from recap_eval.artifact import find_artifact
from recap_eval.data.shard_set import open_shards
from recap_eval.data.shards import list_shards, read_shards
from recap_eval.errors import DataError, UserError
from recap_eval.hashrand import Draws, text_key
from recap_train import prepare as module
from recap_train.batch_crops import central_boxes, crop, crop_boxes
from recap_train.captions import Captions, Roles, SampleTexts
from recap_train.clip import train
from recap_train.crops import Crop, _crop_box, crop_region, cut_out
from recap_train.loader import CROP, CaptionReader, Feed
from recap_train.mixing import Mix
from recap_train.plan import Plan
from recap_train.prepare import Preparation, prepare
from recap_train.prepared import PreparedFeed, TokenTable, is_prepared, open_prepared
from recap_train.training_data import declared_roles, read_training_data

KEYS = np.array([text_key(f"{number}") for number in range(200)], dtype=np.uint64)


def photograph(number, width, height):
    """A smooth picture: what a photograph is to a resampling filter."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [128 + 90 * np.sin(x / (9 + number) + c) * np.cos(y / (7 + c)) for c in range(3)]
    return Image.fromarray(np.stack(waves, axis=2).astype(np.uint8))


def write_photographs(folder, shards=2, each=3, width=300, height=200):
    folder.mkdir(parents=True)
    for shard in range(shards):
        members = {}
        for number in range(each):
            payload = io.BytesIO()
            photograph(shard * each + number, width, height).save(payload, "JPEG", quality=95)
            key = f"{shard:05d}{number:04d}"
            members[f"{key}.jpg"] = payload.getvalue()
            members[f"{key}.txt"] = f"recaption of {key}".encode()
            members[f"{key}.json"] = json.dumps({"org_caption": f"alt {key}", "url": None, "exif": "{}", "n": 3}).encode()
        write_tar(folder / f"{shard:05d}.tar", members)
    return folder


def what(data, out, size=48, **facts):
    return Preparation(data, size, out, **({"workers": 2, "skip_bad": False} | facts))


def test_images_are_small_and_texts_are_kept(tmp_path):
    data = write_photographs(tmp_path / "s")
    manifest, known = prepare(what(data, tmp_path / "p"))
    assert not known and manifest["n"] == 6 and is_prepared(tmp_path / "p") and not is_prepared(data)
    assert sorted(path.name for path in (tmp_path / "p").iterdir()) == ["images.npy", "manifest.json", "texts.parquet"]
    made, samples = open_prepared(tmp_path / "p"), SampleTexts(read_shards(data))
    assert made.images.shape == (6, 48, 48, 3) and made.images.dtype == np.uint8 and isinstance(made.images, np.memmap)
    assert (made.sizes == (300, 200)).all() and made.keys == samples.column("key")
    for role in ("txt", "json:org_caption", "json:url", "json:absent", "json:n"):
        assert list(made.column(role)) == list(samples.column(role))
    assert "json:exif" not in manifest["columns"] and len(set(made.digests)) == 6
    for number in range(6):
        whole = photograph(number, 300, 200).resize((48, 48), Image.Resampling.BICUBIC)
        assert np.abs(made.images[number].astype(int) - np.asarray(whole)).mean() < 2
    assert prepare(what(data, tmp_path / "p")) == (manifest, True)


def test_another_set_other_files_and_changed_shards_are_refused(tmp_path):
    data = write_photographs(tmp_path / "s")
    prepare(what(data, tmp_path / "p"))
    with pytest.raises(UserError, match="other shards or otherwise"):
        prepare(what(data, tmp_path / "p", size=32))
    (tmp_path / "q").mkdir()
    (tmp_path / "q" / "notes.txt").write_text("x")
    with pytest.raises(UserError, match="not empty"):
        prepare(what(data, tmp_path / "q"))
    (data / "00001.tar").write_bytes((data / "00001.tar").read_bytes()[:20_000])
    with pytest.raises(DataError, match=r"00001\.tar"):
        prepare(what(data, tmp_path / "r"))
    write_photographs(tmp_path / "t", shards=3)
    with pytest.raises(UserError, match="beginning of another set"):
        prepare(what(tmp_path / "t", tmp_path / "r"))


def test_a_bad_image_stops_or_is_counted_and_left_out(tmp_path):
    data = write_photographs(tmp_path / "s")
    bad = read_shards(data)[4]
    with bad.tar.open("r+b") as stream:
        stream.seek(bad.image.offset)
        stream.write(b"\0" * bad.image.size)
    with pytest.raises(DataError, match=r"00001\.tar:000010001\.jpg is not a readable image"):
        prepare(what(data, tmp_path / "p"))
    manifest, _ = prepare(what(data, tmp_path / "q", skip_bad=True))
    assert manifest["n"] == 5 and manifest["bad"] == 1 and "000010001.jpg" in manifest["first_bad"][0]
    made = open_prepared(tmp_path / "q")
    assert bad.key not in made.keys and len(made.images) == 5
    whole = photograph(5, 300, 200).resize((48, 48), Image.Resampling.BICUBIC)
    assert np.abs(made.images[4].astype(int) - np.asarray(whole)).mean() < 2


def test_a_key_in_two_shards_is_refused(tmp_path):
    data = write_photographs(tmp_path / "s", shards=1)
    (data / "00001.tar").write_bytes((data / "00000.tar").read_bytes())
    with pytest.raises(DataError, match="Key 000000000 occurs twice"):
        prepare(what(data, tmp_path / "p"))


CHILD = """
import sys, time
from pathlib import Path
from recap_train import prepare as module
real = module._make_part
module._make_part = lambda *args: (time.sleep(0.3), real(*args))[1]
module.prepare(module.Preparation(Path(sys.argv[1]), 48, Path(sys.argv[2]), 1, False))
"""


@pytest.mark.serial
def test_killed_it_goes_on_with_the_shards_that_are_not_done(tmp_path, monkeypatch):
    data, out = write_photographs(tmp_path / "s", shards=6), tmp_path / "p"
    whole, _ = prepare(what(data, tmp_path / "whole"))
    child = subprocess.Popen([sys.executable, "-c", CHILD, data, out], cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.time() + 60
    while time.time() < deadline and child.poll() is None and len(list((out / "parts").glob("[0-9]*.parquet"))) < 2:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    assert child.wait(timeout=30) == -signal.SIGKILL and not (out / "manifest.json").exists()
    done = {path.stem for path in (out / "parts").glob("[0-9]*.parquet")}
    made, real = [], module._make_part
    monkeypatch.setattr(module, "_make_part", lambda shard, *rest: (made.append(shard.stem), real(shard, *rest))[1])
    manifest, _ = prepare(what(data, out))
    assert 2 <= len(done) < 6 and sorted(made) == sorted({path.stem for path in data.glob("*.tar")} - done)
    assert manifest["files"] == whole["files"] and not (out / "parts").exists()


@pytest.mark.parametrize("name", ["images.npy", "texts.parquet"])
def test_a_damaged_file_is_named(tmp_path, name):
    prepare(what(write_photographs(tmp_path / "s"), tmp_path / "p"))
    path = tmp_path / "p" / name
    payload = bytearray(path.read_bytes())
    payload[len(payload) // 2] ^= 1
    path.write_bytes(payload)
    with pytest.raises(DataError, match=rf"{name} is damaged"):
        open_prepared(tmp_path / "p")
    path.write_bytes(payload[:-7])
    with pytest.raises(DataError, match=rf"{name} is missing or cut short"):
        open_prepared(tmp_path / "p")


def test_boxes_are_those_of_the_shard_feed():
    sizes = np.random.default_rng(0).integers(8, 2000, (len(KEYS), 2))
    sizes[:40, 0] *= 40  # so long that often no try fits
    epochs = np.arange(len(KEYS)) % 5
    boxes = crop_boxes(sizes, 0.4, KEYS, epochs, 7)
    central = 0
    for number, (width, height) in enumerate(sizes.tolist()):
        box = _crop_box(width, height, 0.4, Draws(7, CROP, int(KEYS[number]), int(epochs[number])))
        central += box is None
        expected = central_boxes(sizes[number : number + 1])[0] if box is None else np.array(box) / ([width, height] * 2)
        assert np.allclose(boxes[number], expected)
    assert central > 0 and (boxes >= 0).all() and (boxes <= 1).all()
    assert not np.array_equal(boxes, crop_boxes(sizes, 0.4, KEYS, epochs + 1, 7))
    assert np.array_equal(boxes[30:50], crop_boxes(sizes[30:50], 0.4, KEYS[30:50], epochs[30:50], 7))


@pytest.mark.parametrize("size", [24, 64, 100])
def test_crops_are_as_pil_makes_them(size):
    images = np.stack([np.asarray(photograph(number, 72, 72)) for number in range(20)])
    sizes = np.full((20, 2), 72)
    ours = crop(images, crop_boxes(sizes, 0.4, KEYS[:20], np.zeros(20, dtype=np.int64), 3), size)
    draws = [Draws(3, CROP, int(key), 0) for key in KEYS[:20]]
    boxes = [crop_region(72, 72, 0.4, draw) for draw in draws]
    theirs = [np.asarray(cut_out(Image.fromarray(one), Crop(size, 0.4), box)) for one, box in zip(images, boxes, strict=True)]
    apart = np.abs(ours.permute(0, 2, 3, 1).numpy().astype(int) - np.stack(theirs))
    assert ours.dtype == torch.uint8 and ours.shape == (20, 3, size, size) and apart.max() == 0


def test_a_whole_image_of_the_right_size_is_left_as_it_is():
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype(np.uint8)
    boxes = central_boxes(np.full((4, 2), 77))
    assert (crop(images, boxes, 32).permute(0, 2, 3, 1).numpy() == images).all()
    assert np.allclose(central_boxes(np.array([[300, 200]])), [[1 / 6, 0, 5 / 6, 1]])


def feeds(tmp_path, min_area, size=64):
    data = write_photographs(tmp_path / "s", shards=2, each=8)
    prepare(what(data, tmp_path / "p", size=144))
    found, prepared = open_shards(list_shards(data)), open_prepared(tmp_path / "p")
    captions = [Captions(sample.meta["org_caption"], (sample.text,)) for sample in found]
    roles = Roles({"original": "json:org_caption", "recaption": "txt"})
    plan = Plan(found.keys, Mix(0.5), 0, found.sizes)
    tokenize = lambda texts: torch.tensor([[len(text), text_key(text) % 1000] for text in texts])  # noqa: E731
    return (
        Feed(CaptionReader(found, roles), plan, tokenize, Crop(size, min_area), False),
        PreparedFeed(prepared, captions, plan, TokenTable(tokenize), Crop(size, min_area)),
    )


@pytest.mark.parametrize("min_area", [0.4, 1.0])
def test_batches_are_those_of_the_shards(tmp_path, min_area):
    """Samples, epochs, captions and crops; pixels as near as images made small first can be."""
    shards, prepared = feeds(tmp_path, min_area)
    for start, stop in ((0, 8), (8, 24)):
        theirs, ours = shards.batch(start, stop), prepared.batch(start, stop)
        assert torch.equal(ours.tokens, theirs.tokens) and ours.ledger == theirs.ledger and ours.pixels.dtype == torch.uint8
        assert (ours.keys == theirs.keys).all() and (ours.epochs == theirs.epochs).all()
        assert (ours.pixels.float() - theirs.pixels.float()).abs().mean() < 3
    assert torch.equal(prepared.batch(8, 24).pixels, prepared.batch(8, 24).pixels)


def test_a_set_too_small_for_the_model_is_refused(tmp_path):
    with pytest.raises(UserError, match="144 px, and the model takes 160") as error:
        feeds(tmp_path, 1.0, 160)
    assert "--size 180" in error.value.hint


def test_tokens_are_made_once_and_the_table_is_bounded():
    calls = []

    def tokenize(texts):
        calls.extend(texts)
        return torch.tensor([[len(text), 1] for text in texts])

    table = TokenTable(tokenize, limit=3 * 8)
    assert table.ids(["a", "bb", "a"]).tolist() == [[1, 1], [2, 1], [1, 1]] and calls == ["a", "bb"]
    assert table.ids(["bb"]).dtype == torch.int64 and calls == ["a", "bb"]
    assert table.ids(["ccc", "dddd", "a"]).tolist() == [[3, 1], [4, 1], [1, 1]]
    assert table.ids(["ccc"]).tolist() == [[3, 1]] and table.ids(["a"]).tolist() == [[1, 1]]


def test_training_from_a_prepared_set_of_scenes_is_training_from_scenes(world, tmp_path):
    """Scenes of the model's own size lose nothing, so the weights are the same; the identity is another, and both are told."""
    from safetensors.torch import load_file

    done = recap("recap-train", "prepare", "--data", world, "--size", 32, "--out", tmp_path / "p")
    assert done.returncode == 0 and "96 images of 32 px" in done.stdout, done.stderr
    assert declared_roles(tmp_path / "p") == declared_roles(world)
    train(make_run(world, tmp_path / "shards", samples=256))
    run = replace(make_run(tmp_path / "p", tmp_path / "prepared", samples=256), roles=declared_roles(tmp_path / "p"))
    train(run)
    one, two = (load_file(tmp_path / name / "open_clip_model.safetensors") for name in ("shards", "prepared"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    theirs, ours = (find_artifact(tmp_path / name).made for name in ("shards", "prepared"))
    assert ours["source_data"] == theirs["train_data"] != ours["train_data"] and ours["identity"] != theirs["identity"]
    assert train(run)[1] and read_training_data(run).source == theirs["train_data"]


def test_wrong_words(tmp_path):
    words = ["--size", 32, "--out", tmp_path / "p"]
    assert_two_line_error(recap("recap-train", "prepare", "--data", tmp_path / "x", *words), 1, "not a folder")
