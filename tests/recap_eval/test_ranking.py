import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recap_eval.metrics import ranking
from recap_eval.metrics.choice import prefers_true
from recap_eval.metrics.macro import macro_values
from recap_eval.metrics.ranking import Ranks, Right, rank_both_ways, rank_right_items


def own(n):
    return Right(torch.arange(n), torch.arange(n))


def unit(rng, n, d=16):
    return torch.nn.functional.normalize(torch.tensor(rng.normal(size=(n, d)), dtype=torch.float32), dim=-1)


def test_recalls_equal_clip_benchmark():
    """Parity with CLIP_benchmark's recall_at_k on random embeddings, five captions an image, both ways."""
    from clip_benchmark.metrics.zeroshot_retrieval import batchify, recall_at_k

    rng = np.random.default_rng(0)
    images, owner = unit(rng, 300), torch.arange(300).repeat_interleave(5)
    texts = torch.nn.functional.normalize(images[owner] + 0.6 * unit(rng, 1500), dim=-1)
    scores = texts @ images.T
    positive = torch.zeros_like(scores, dtype=torch.bool)
    positive[torch.arange(1500), owner] = True
    to_image = rank_right_items(texts, images, Right(torch.arange(1500), owner))
    to_text = rank_right_items(images, texts, Right(owner, torch.arange(1500)))
    assert [ranks.hit_at(1).mean() for ranks in rank_both_ways(images, texts, owner, torch.arange(1500))] == [
        to_text.hit_at(1).mean(), to_image.hit_at(1).mean(),
    ]  # fmt: skip
    for k in (1, 5, 10):
        t2i = (batchify(recall_at_k, scores, positive, 64, "cpu", k=k) > 0).double().mean().item()
        i2t = (batchify(recall_at_k, scores.T, positive.T, 64, "cpu", k=k) > 0).double().mean().item()
        assert to_image.hit_at(k).mean() == t2i
        assert to_text.hit_at(k).mean() == i2t


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 3), st.integers(0, 4), st.integers(1, 3), st.integers(1, 8))
def test_hit_under_ties_is_the_mean_over_all_orders(above, tied, right, k):
    ranks = Ranks(np.array([above]), np.array([tied]), np.array([right]), np.zeros(1))
    orders = list(itertools.permutations([False] * tied + [True] * right))
    hits = sum(any(order[: max(0, k - above)]) for order in orders)
    assert ranks.hit_at(k)[0] == pytest.approx(hits / len(orders), abs=1e-9)
    assert math.factorial(tied + right) == len(orders)
    low, high = ranks.bounds_at(k)
    assert low - 1e-9 <= ranks.hit_at(k)[0] <= high + 1e-9


def test_a_constant_model_scores_chance_not_100():
    same = torch.ones(50, 4) / 2
    ranks = rank_right_items(same, same, own(50))
    assert ranks.hit_at(1).mean() == pytest.approx(1 / 50)
    assert ranks.hit_at(10).mean() == pytest.approx(10 / 50)
    assert ranks.tie_share == 1 and ranks.bounds_at(1) == (0.0, 1.0)


def test_repeated_captions_tie_exactly():
    rng = np.random.default_rng(4)
    images, texts = unit(rng, 40, 96), unit(rng, 7, 96)
    row = torch.tensor(rng.permutation([*range(7), *rng.integers(0, 7, 33)]))
    ranks = rank_right_items(images, texts, own(40), item_row=row)
    counts = np.bincount(row, minlength=7)
    assert (ranks.tied == counts[row] - 1).all()


def test_query_without_a_right_item_is_an_error():
    rng = np.random.default_rng(5)
    with pytest.raises(ValueError, match="no right item"):
        rank_right_items(unit(rng, 3), unit(rng, 3), Right.of([[0], [1, 2], []]))


def test_choice():
    assert prefers_true(np.array([2.0, 1.0, 1.0]), np.array([1.0, 2.0, 1.0])).tolist() == [1.0, 0.0, 0.5]
    with pytest.raises(ValueError, match="finite"):
        prefers_true(np.array([np.nan]), np.array([1.0]))


def clip_like(n, seed=0):
    """Images and five captions each, with cosines as CLIP's: all within a narrow band."""
    rng = np.random.default_rng(seed)
    common = unit(rng, 1, 64)
    images = torch.nn.functional.normalize(2 * common + unit(rng, n, 64), dim=-1)
    owner = torch.arange(n).repeat_interleave(5)
    texts = torch.nn.functional.normalize(images[owner] + 0.9 * unit(rng, 5 * n, 64), dim=-1)
    return images, texts, owner


def test_scores_in_bf16_tie_many_captions_and_ours_do_not():
    """CLIP_benchmark's scores under CPU autocast are bf16 and tie; here even embeddings in bf16 are scored in fp32."""
    images, texts, owner = clip_like(1000)
    half = [vectors.bfloat16() for vectors in (texts, images)]
    coarse = half[0] @ half[1].T
    own = coarse[torch.arange(5000), owner]
    coarse[torch.arange(5000), owner] = -1
    assert ((coarse == own[:, None]).any(dim=1)).double().mean() > 0.15
    ranks = rank_right_items(half[0], half[1], Right(torch.arange(5000), owner))
    assert ranks.tie_share < 0.002


@pytest.mark.parametrize(("block", "chunk"), [(7, 11), (64, 1000), (1, 3)])
def test_chunks_change_nothing(monkeypatch, block, chunk):
    """Right items anywhere among the chunks, repeated items, several right ones: the same counts as from one sorted row."""
    rng = np.random.default_rng(8)
    images, texts = unit(rng, 30, 8), unit(rng, 50, 8)
    row = torch.tensor(rng.permutation([*range(50), *rng.integers(0, 50, 40)]))
    right = [rng.choice(90, rng.integers(1, 5), replace=False).tolist() for _ in range(30)]
    monkeypatch.setattr(ranking, "BLOCK", block)
    monkeypatch.setattr(ranking, "CHUNK", chunk)
    found = rank_right_items(images, texts, Right.of(right), item_row=row)
    scores = (images.double() @ texts.double().T)[:, row].numpy()
    for query, own in enumerate(right):
        best = scores[query, own].max()
        wrong = np.setdiff1d(np.arange(90), own)
        assert found.above[query] == (scores[query, wrong] > best + 1e-9).sum()
        assert found.tied[query] == (abs(scores[query, wrong] - best) < 1e-9).sum()
        assert found.right[query] == (abs(scores[query, own] - best) < 1e-9).sum()
        assert found.first[query] == row[scores[query].argmax()]


def test_nothing_grows_with_queries_times_items(monkeypatch):
    """The largest tensor that is made has BLOCK x CHUNK elements."""
    sizes = []
    monkeypatch.setattr(ranking, "BLOCK", 8)
    monkeypatch.setattr(ranking, "CHUNK", 32)
    plain = torch.Tensor.__matmul__
    monkeypatch.setattr(torch.Tensor, "__matmul__", lambda a, b: (sizes.append((len(a), b.shape[1])), plain(a, b))[1])
    rng = np.random.default_rng(9)
    rank_right_items(unit(rng, 100), unit(rng, 100), own(100))
    assert max(rows for rows, _ in sizes) == 8 and max(columns for _, columns in sizes) == 32


def test_macro_values_are_the_average_with_its_error():
    """Against a plain loop, and the error against the spread of resampled sets of the same group sizes."""
    rng = np.random.default_rng(3)
    sizes, rates = [40, 200, 10, 90], [0.9, 0.5, 0.3, 0.7]
    groups = np.repeat(list("abcd"), sizes)
    truth = np.repeat(rates, sizes)
    values = (rng.random(340) < truth).astype(float)
    found = macro_values(values, groups)
    assert found.mean() == pytest.approx(np.mean([values[groups == g].mean() for g in "abcd"]), abs=1e-12)
    draws = (rng.random((4000, 340)) < truth).astype(float)
    spread = np.std([np.mean([row[groups == g].mean() for g in "abcd"]) for row in draws])
    parts = [macro_values(row, groups) for row in draws[:200]]
    error = np.sqrt(np.mean([np.square(part - part.mean()).sum() for part in parts])) / 340
    assert error == pytest.approx(spread, rel=0.12)


def test_both_ways_from_one_product_as_from_two(monkeypatch):
    """Repeated captions, images with one to four, ties."""
    rng = np.random.default_rng(11)
    images, texts = unit(rng, 30, 6), unit(rng, 40, 6)
    images[7], texts[3] = images[2], texts[9]
    owner = torch.tensor(np.repeat(np.arange(30), rng.integers(1, 5, 30)))
    row = torch.tensor(rng.permutation(np.resize(np.arange(40), len(owner))))
    monkeypatch.setattr(ranking, "BLOCK", 7)
    whole = rank_both_ways(images, texts, owner, row)
    monkeypatch.setattr(ranking, "WHOLE", 0)
    for one, two in zip(whole, rank_both_ways(images, texts, owner, row), strict=True):
        assert (one.above == two.above).all() and (one.tied == two.tied).all() and (one.right == two.right).all()
        assert (one.first == two.first).all()
    assert whole[0].tied.sum() > 0 and whole[1].tied.sum() > 0
    monkeypatch.setattr(ranking, "WHOLE", 1 << 20)
    with pytest.raises(ValueError, match="no right item"):
        rank_both_ways(images, texts, owner[owner != 5], row[owner != 5])
