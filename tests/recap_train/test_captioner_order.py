import numpy as np
import pytest

from recap_train.captioner.order import WINDOW, order_of


@pytest.mark.parametrize("n", [1, 2, 7, 64, 1000])
@pytest.mark.parametrize("grouped", [False, True])
def test_every_row_once_an_epoch(n, grouped):
    rng = np.random.default_rng(n)
    like = (rng.integers(1, 50, n), rng.random(n) < 0.6) if grouped else None
    order = order_of(n, 3 * n, 8, 0, like)
    for epoch in np.split(order, 3):
        assert sorted(epoch) == list(range(n))
    assert n < 64 or (order[:n] != order[n : 2 * n]).any()
    assert (order_of(n, 3 * n, 8, 0, like) == order).all()
    assert n < 64 or (order_of(n, 3 * n, 8, 1, like) != order).any()


def test_shorter_runs_see_the_beginning_of_longer_ones():
    assert (order_of(100, 30, 8, 0) == order_of(100, 250, 8, 0)[:30]).all()
    assert len(order_of(10, 0, 8, 0)) == 0


def test_batches_are_of_one_kind_and_of_like_length():
    rng = np.random.default_rng(0)
    lengths, shown = rng.integers(1, 1000, 4000), rng.random(4000) < 0.7
    order = order_of(4000, 4000, 16, 3, (lengths, shown))
    batches = order.reshape(-1, 16)
    mixed = sum(0 < shown[batch].sum() < 16 for batch in batches)
    assert mixed <= 1  # what fills no batch comes last
    assert not (np.diff([shown[batch[0]] for batch in batches[:-4]]) == 0).all()  # both kinds through the whole epoch
    spread = np.mean([np.ptp(lengths[batch]) for batch in batches])
    plain = np.mean([np.ptp(lengths[batch]) for batch in order_of(4000, 4000, 16, 3).reshape(-1, 16)])
    assert spread < plain * 2 / WINDOW * 3


def test_one_kind_only():
    order = order_of(20, 20, 8, 0, ([3] * 20, [False] * 20))
    assert sorted(order) == list(range(20))
