import time

import numpy as np
import pytest
import torch
from PIL import Image

from recap_eval.data.shards import read_shards
from recap_eval.errors import DataError
from recap_eval.hashrand import Draws, text_key
from recap_train.captions import Captions
from recap_train.loader import Feed, Memo, batches_ahead, random_crop
from recap_train.mixing import Mix
from recap_train.plan import Plan


def feed(world, crop=1.0, skip_bad=False, p=0.5):
    samples = read_shards(world / "train")
    captions = [Captions(s.meta["org_caption"], (s.meta["re_caption"],)) for s in samples]
    keys = np.array([text_key(s.key) for s in samples], dtype=np.uint64)
    tokenize = lambda texts: torch.tensor([[len(text), text_key(text) % 1000] for text in texts])  # noqa: E731
    return Feed(samples, captions, Plan(keys, Mix(p), 0), tokenize, 32, crop, skip_bad)


def test_batches_ahead_are_the_batches(world):
    one = feed(world, crop=0.5)
    ahead = list(batches_ahead(one, range(0, 64, 16)))
    assert len(ahead) == 4
    for number, batch in enumerate(ahead):
        alone = feed(world, crop=0.5).batch(number * 16, number * 16 + 16)
        assert torch.equal(batch.pixels, alone.pixels) and torch.equal(batch.tokens, alone.tokens)
        assert batch.pixels.shape == (16, 3, 32, 32) and batch.pixels.dtype == torch.uint8
        assert batch.ledger.mix.original + batch.ledger.mix.recaption + batch.ledger.mix.empty == 16


def test_a_second_epoch_from_memory_is_the_same(world):
    whole = feed(world)
    first, again = whole.batch(0, 96), whole.batch(0, 96)
    assert torch.equal(first.pixels, again.pixels) and torch.equal(first.tokens, again.tokens)


def test_memory_is_bounded():
    memo = Memo(100)
    memo.put("a", np.zeros(10))
    memo.put("b", np.zeros(10))
    assert memo.get("a") is not None and memo.get("b") is None


def test_an_error_in_the_thread_is_raised_and_the_thread_ends(fresh_world):
    shard = fresh_world / "train" / "00000.tar"
    whole = feed(fresh_world)
    for sample in whole.samples:
        with shard.open("r+b") as stream:
            stream.seek(sample.image.offset)
            stream.write(b"\0" * sample.image.size)
    with pytest.raises(DataError, match=r"00000\.tar:.*\.jpg is not a readable image"):
        list(batches_ahead(whole, range(0, 32, 16)))


def test_a_bad_image_is_left_out_and_counted(fresh_world):
    whole = feed(fresh_world, skip_bad=True)
    bad = whole.samples[int(whole.plan.visit(0, 16).index[3])]
    with bad.tar.open("r+b") as stream:
        stream.seek(bad.image.offset)
        stream.write(b"\0" * bad.image.size)
    batch = whole.batch(0, 16)
    assert len(batch.pixels) == len(batch.tokens) == 15 and list(batch.ledger.bad) == [bad.where]
    assert len(batch.keys) == len(batch.epochs) == 15 and text_key(bad.key) not in batch.keys


def test_stopping_early_does_not_hang(world):
    batches = batches_ahead(feed(world), range(0, 96 * 50, 16))
    next(batches)
    start = time.perf_counter()
    batches.close()
    assert time.perf_counter() - start < 5


def test_crops_have_the_distribution_of_random_resized_crop():
    """Area share and aspect of the boxes against torchvision's, by the two-sample Kolmogorov-Smirnov test."""
    from scipy import stats
    from torchvision.transforms import RandomResizedCrop

    from recap_train.loader import _crop_box

    image = Image.new("RGB", (120, 90))
    torch.manual_seed(0)
    theirs = [RandomResizedCrop.get_params(image, (0.4, 1.0), (3 / 4, 4 / 3)) for _ in range(1500)]
    boxes = [_crop_box(120, 90, 0.4, Draws(n)) for n in range(1500)]
    ours = [(box[3] - box[1], box[2] - box[0]) for box in boxes if box]
    assert stats.ks_2samp([h * w for _, _, h, w in theirs], [h * w for h, w in ours]).pvalue > 1e-3
    assert stats.ks_2samp([w / h for _, _, h, w in theirs], [w / h for h, w in ours]).pvalue > 1e-3
    assert all(0 <= box[0] < box[2] <= 120 and 0 <= box[1] < box[3] <= 90 for box in boxes if box)


def test_without_crop_the_central_square_is_taken():
    pixels = np.zeros((30, 50, 3), dtype=np.uint8)
    pixels[:, 10:40] = 200
    assert np.asarray(random_crop(Image.fromarray(pixels), 32, 1.0, Draws(0))).min() > 190
