import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recap_eval.hashrand import permute_array, text_key
from recap_train.mixing import Mix
from recap_train.plan import ORDER, Plan

SIZES = st.lists(st.integers(0, 40), min_size=1, max_size=12).filter(any)


def plan_of(sizes, window, seed=0):
    keys = np.array([text_key(f"{n:09d}") for n in range(sum(sizes))], dtype=np.uint64)
    return Plan(keys, Mix(0.5), seed, np.array(sizes), window)


@settings(max_examples=60, deadline=None)
@given(SIZES, st.integers(1, 500), st.integers(0, 3), st.integers(1, 64))
def test_every_sample_comes_exactly_once_an_epoch(sizes, window, seed, batch):
    plan, n = plan_of(sizes, window, seed), sum(sizes)
    parts = [plan.visit(start, min(3 * n, start + batch)) for start in range(0, 3 * n, batch)]
    index = np.concatenate([part.index for part in parts])
    for epoch in range(3):
        assert sorted(index[epoch * n : (epoch + 1) * n]) == list(range(n))
    assert (np.concatenate([part.keys for part in parts]) == plan.keys[index]).all()
    assert (index == plan.visit(0, 3 * n).index).all()


@settings(max_examples=60, deadline=None)
@given(SIZES, st.integers(1, 100))
def test_reading_stays_within_few_shards(sizes, window):
    """A window's samples lie in its own shards, of which no two windows have one in common."""
    plan, n = plan_of(sizes, window), sum(sizes)
    if not plan.windowed:
        return
    shard = np.searchsorted(np.cumsum(sizes), plan.visit(0, n).index, side="right")
    edges = plan.windows(0).edges
    parts = [set(shard[low:high]) for low, high in itertools.pairwise(edges)]
    assert sum(len(part) for part in parts) == len(set(shard))
    assert all(high - low <= window + max(sizes) for low, high in itertools.pairwise(edges))


def test_up_to_a_window_the_order_is_one_permutation_of_all():
    """The order that committed runs were made with."""
    plan = plan_of([500, 500], 1000, seed=3)
    assert (plan.visit(0, 1000).index == permute_array(np.arange(1000), 1000, 3, ORDER, 0)).all()
    assert (plan.visit(0, 40).index == Plan(plan.keys, Mix(0.5), 3).visit(0, 40).index).all()
    assert plan.visit(0, 5).index.tolist() == [142, 595, 148, 45, 517]


def test_windows_differ_between_epochs_and_seeds_and_mix_their_shards():
    plan = plan_of([50] * 20, 200)
    first, second = plan.visit(0, 1000).index, plan.visit(1000, 2000).index
    assert (first != second).mean() > 0.9 and (first != plan_of([50] * 20, 200, seed=1).visit(0, 1000).index).mean() > 0.9
    assert len(set(first[:50] // 50)) >= 3  # a batch is not of one shard
    assert len(set(first[:200] // 50)) == 4


def test_a_position_is_found_without_those_before():
    """A billion samples in 100,000 shards: any batch at once, within a window's shards."""
    sizes = np.full(100_000, 10_000)

    class Keys:
        def __len__(self):
            return 10**9

        def __getitem__(self, index):
            return index.astype(np.uint64)

    plan = Plan(Keys(), Mix(0.5), 0, sizes)
    visit = plan.visit(7 * 10**9 + 123_456_789, 7 * 10**9 + 123_457_789)
    assert len(set(visit.index)) == 1000 and (visit.epoch == 7).all()
    assert 60 < len(set(visit.index // 10_000)) <= 106
