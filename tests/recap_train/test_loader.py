import io
import time
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from recap_eval.data.shard_set import open_shards
from recap_eval.data.shards import list_shards
from recap_eval.errors import DataError, UserError
from recap_eval.hashrand import Draws, text_key
from recap_train.captions import Roles
from recap_train.crops import Crop, crop_region, cut_out, jpeg_scale, load_crop
from recap_train.loader import CaptionReader, Feed, Memo
from recap_train.mixing import Mix
from recap_train.plan import Plan
from recap_train.workers import Part, batches

SCENES = Roles({"original": "json:org_caption", "recaption": "json:re_caption"})


def tokenize(texts):
    return torch.tensor([[len(text), text_key(text) % 1000] for text in texts])


def feed(world, crop=1.0, skip_bad=False, p=0.5, window=1 << 20, roles=SCENES):
    shards = open_shards(list_shards(world / "train"))
    plan = Plan(shards.keys, Mix(p), 0, shards.sizes, window)
    return Feed(CaptionReader(shards, roles), plan, tokenize, Crop(32, crop), skip_bad)


def same(one, two):
    arrays = zip((one.keys, one.epochs), (two.keys, two.epochs), strict=True)
    return (
        torch.equal(one.pixels, two.pixels)
        and torch.equal(one.tokens, two.tokens)
        and all((a == b).all() for a, b in arrays)
        and one.ledger == two.ledger
    )


def spoil(sample):
    with sample.tar.open("r+b") as stream:
        stream.seek(sample.image.offset)
        stream.write(b"\0" * sample.image.size)


def jpeg(width, height, seed=0):
    buffer = io.BytesIO()
    noise = np.random.default_rng(seed).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((width, height)).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def test_a_batch_says_what_it_is_of(world):
    whole = feed(world)
    batch, visit = whole.batch(90, 106), whole.plan.visit(90, 106)
    assert (batch.keys == visit.keys).all() and batch.keys.dtype == np.uint64
    assert batch.epochs.tolist() == [0] * 6 + [1] * 10 and batch.epochs.dtype == np.int64
    sample = whole.captions.samples.sample(int(visit.index[0]))
    assert text_key(sample.key) == batch.keys[0]
    assert batch.pixels.shape == (16, 3, 32, 32) and batch.pixels.dtype == torch.uint8
    mix = batch.ledger.mix
    assert mix.original + mix.recaption + mix.empty == batch.ledger.seen == 16


def test_pixels_without_crops_are_the_images(world):
    """PNGs and JPEGs of the output's size come out bit for bit as PIL decodes them."""
    whole = feed(world)
    batch = whole.batch(0, 16)
    for row, index in enumerate(whole.plan.visit(0, 16).index):
        image = Image.open(io.BytesIO(whole.captions.samples.sample(int(index)).read_image())).convert("RGB")
        assert (batch.pixels[row].permute(1, 2, 0).numpy() == np.asarray(image)).all()


def test_a_second_epoch_from_memory_is_the_same(world):
    whole = feed(world)
    assert same(whole.batch(0, 96), whole.batch(0, 96))
    assert same(whole.batch(0, 96), replace(whole, memory=0).batch(0, 96))


def test_memory_is_bounded():
    memo = Memo(100)
    memo.put("a", np.zeros(10))
    memo.put("b", np.zeros(10))
    assert memo.get("a") is not None and memo.get("b") is None


def test_a_bad_image_is_left_out_and_counted(fresh_world):
    whole = feed(fresh_world, skip_bad=True)
    bad = whole.captions.samples.sample(int(whole.plan.visit(0, 16).index[3]))
    spoil(bad)
    batch = whole.batch(0, 16)
    assert len(batch.pixels) == len(batch.tokens) == len(batch.keys) == len(batch.epochs) == 15
    assert list(batch.ledger.bad) == [bad.where] and batch.ledger.failed == 1 and batch.ledger.seen == 15
    assert text_key(bad.key) not in batch.keys.tolist()


def test_a_missing_caption_is_an_error_or_counted(world):
    roles = Roles({"original": "json:org_caption", "recaption": "json:nothing"})
    with pytest.raises(DataError, match=r"\.jpg has no json:nothing"):
        feed(world, roles=roles).batch(0, 4)
    with pytest.raises(DataError, match="No image of samples 0-4"):
        Part().batch(feed(world, roles=roles, skip_bad=True), 0, 4)
    assert len(Part(0, 2).batch(feed(world, roles=roles, skip_bad=True), 0, 4).tokens) == 0  # others may have theirs


@pytest.mark.serial
@pytest.mark.parametrize("window", [1 << 20, 20])
def test_any_number_of_workers_and_ranks_gives_the_same_stream(world, window):
    whole = feed(world, crop=0.5, window=window)
    starts = range(0, 240, 24)
    stream = [whole.batch(start, start + 24) for start in starts]
    seen = np.concatenate([batch.keys for batch in stream])
    for epoch in (0, 1):
        assert sorted(seen[epoch * 96 :][:96]) == sorted(whole.plan.keys[np.arange(96)])
    for workers in (0, 1, 2, 3):
        assert all(same(*pair) for pair in zip(stream, batches(whole, starts, workers=workers), strict=True))
    resumed = list(batches(whole, starts[4:], workers=2))
    assert len(resumed) == 6 and all(same(*pair) for pair in zip(stream[4:], resumed, strict=True))
    for world_size, workers in ((1, 0), (2, 2), (3, 0)):
        parts = [list(batches(whole, starts, Part(rank, world_size), workers)) for rank in range(world_size)]
        for step, batch in enumerate(stream):
            assert torch.equal(torch.cat([part[step].pixels for part in parts]), batch.pixels)
            assert (np.concatenate([part[step].keys for part in parts]) == batch.keys).all()


@pytest.mark.serial
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_an_error_in_a_worker_is_the_same_error(fresh_world, workers):
    whole = feed(fresh_world)
    for index in range(96):
        spoil(whole.captions.samples.sample(index))
    with pytest.raises(DataError, match=r"00000\.tar:.*\.jpg is not a readable image") as caught:
        list(batches(whole, range(0, 32, 16), workers=workers))
    assert "--skip-bad" in caught.value.hint


@pytest.mark.serial
@pytest.mark.parametrize("workers", [0, 2])
def test_stopping_early_does_not_hang(world, workers):
    made = batches(feed(world), range(0, 96 * 50, 16), workers=workers)
    next(made)
    start = time.perf_counter()
    made.close()
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("size", [1, 7, 24, 1000])
@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_parts_make_up_the_batch(size, world_size):
    parts = [Part(rank, world_size).of(100, size) for rank in range(world_size)]
    assert parts[0][0] == 100 and parts[-1][1] == 100 + size
    assert all(one[1] == two[0] for one, two in pairwise(parts))


def test_crops_have_the_distribution_of_random_resized_crop():
    """Area share and aspect of the boxes against torchvision's, by the two-sample Kolmogorov-Smirnov test."""
    from scipy import stats
    from torchvision.transforms import RandomResizedCrop

    image = Image.new("RGB", (120, 90))
    torch.manual_seed(0)
    theirs = [RandomResizedCrop.get_params(image, (0.4, 1.0), (3 / 4, 4 / 3)) for _ in range(1500)]
    boxes = [crop_region(120, 90, 0.4, Draws(n)) for n in range(1500)]
    boxes = [box for box in boxes if box != (15, 0, 105, 90)]
    ours = [(box[3] - box[1], box[2] - box[0]) for box in boxes]
    assert stats.ks_2samp([h * w for _, _, h, w in theirs], [h * w for h, w in ours]).pvalue > 1e-3
    assert stats.ks_2samp([w / h for _, _, h, w in theirs], [w / h for h, w in ours]).pvalue > 1e-3
    assert all(0 <= box[0] < box[2] <= 120 and 0 <= box[1] < box[3] <= 90 for box in boxes)


def test_without_crop_the_central_square_is_taken():
    pixels = np.zeros((30, 50, 3), dtype=np.uint8)
    pixels[:, 10:40] = 200
    assert np.asarray(cut_out(Image.fromarray(pixels), Crop(32, 1.0), crop_region(50, 30, 1.0, Draws(0)))).min() > 190


@pytest.mark.parametrize(("width", "height"), [(256, 256), (257, 131), (640, 480), (1999, 1333), (70, 300)])
def test_a_scaled_decode_never_enlarges(width, height, monkeypatch):
    """Of the decoded image, the crop still has the output's pixels wherever the whole image had them."""
    from recap_train import crops

    seen, real = [], crops.cut_out
    monkeypatch.setattr(crops, "cut_out", lambda image, crop, box: seen.append((image.size, box)) or real(image, crop, box))
    payload = jpeg(width, height)
    for n in range(12):
        box = crop_region(width, height, 0.1, Draws(n))
        load_crop(payload, "x", Crop(64, 0.1), Draws(n))
        size, scaled = seen[-1]
        least = min(scaled[2] - scaled[0], scaled[3] - scaled[1])
        assert least >= min(64, box[2] - box[0], box[3] - box[1]) - 1e-9
        assert scaled[2] <= size[0] + 1e-9 and scaled[3] <= size[1] + 1e-9
    if min(width, height) > 400:
        assert any(size != (width, height) for size, _ in seen)


def test_a_scaled_decode_looks_like_a_full_one():
    payload = jpeg(512, 512)
    full = Image.open(io.BytesIO(payload)).convert("RGB")
    differences = []
    for n in range(8):
        cheap = load_crop(payload, "x", Crop(64, 0.4), Draws(n)).astype(float)
        dear = np.asarray(cut_out(full, Crop(64, 0.4), crop_region(*full.size, 0.4, Draws(n)))).astype(float)
        differences.append(np.abs(cheap - dear).mean())
    assert np.mean(differences) < 3  # grey levels; a crop one output pixel off differs by more than 10


@pytest.mark.parametrize(("least", "scale"), [(63, 1), (64, 1), (127, 1), (128, 2), (255, 2), (256, 4), (512, 8), (4000, 8)])
def test_scales(least, scale):
    assert jpeg_scale((10, 10, 10 + least, 10 + least + 5), 64) == scale


def test_interpolation_is_the_recipes():
    payload = jpeg(256, 256)
    one, two = (load_crop(payload, "x", Crop(64, 0.4, how), Draws(0)) for how in ("bicubic", "bilinear"))
    assert (one != two).any() and np.abs(one.astype(int) - two).mean() < 20
    with pytest.raises(UserError, match="nearest"):
        Crop(64, 0.4, "nearest")


def test_threads_change_nothing(fresh_world):
    """Whatever number torch computes with: pixels, captions, and what was left out."""
    whole = feed(fresh_world, crop=0.5, skip_bad=True)
    spoil(whole.captions.samples.sample(int(whole.plan.visit(0, 64).index[3])))
    before = torch.get_num_threads()
    made = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            made.append(feed(fresh_world, crop=0.5, skip_bad=True).batch(0, 64))
    finally:
        torch.set_num_threads(before)
    assert same(*made) and made[0].ledger.failed == 1
    with pytest.raises(DataError, match="not a readable image"):
        feed(fresh_world, crop=0.5).batch(0, 64)
