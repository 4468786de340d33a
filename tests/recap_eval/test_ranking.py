import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recap_eval.metrics.choice import prefers_true
from recap_eval.metrics.ranking import Ranks, Right, rank_right_items


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
