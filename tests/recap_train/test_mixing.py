import numpy as np
import pytest
from scipy import stats

from recap_eval.errors import UserError
from recap_eval.hashrand import text_key
from recap_train.mixing import Mix, MixCount
from recap_train.plan import Plan

KEYS = np.array([text_key(f"{n:09d}") for n in range(20_000)], dtype=np.uint64)


def test_coins_are_nested():
    """Samples that show the original at p = 0.5 are a subset of those at p = 0.8."""
    half, more = Mix(0.5).coins(KEYS, 3, 1), Mix(0.8).coins(KEYS, 3, 1)
    assert half.sum() < more.sum() and not (half & ~more).any()


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.8, 1.0])
def test_coins_have_their_frequency(p):
    counts = [int(Mix(p).coins(KEYS, epoch, seed).sum()) for epoch in range(5) for seed in range(5)]
    assert stats.binomtest(sum(counts), len(KEYS) * 25, p).pvalue > 1e-4
    assert min(stats.binomtest(count, len(KEYS), p).pvalue for count in counts) > 1e-4


def test_coins_are_independent_across_epochs_and_seeds():
    base = Mix(0.5).coins(KEYS, 0, 0)
    for other in (Mix(0.5).coins(KEYS, 1, 0), Mix(0.5).coins(KEYS, 0, 1)):
        table = np.array([[(base & other).sum(), (base & ~other).sum()], [(~base & other).sum(), (~base & ~other).sum()]])
        assert stats.chi2_contingency(table).pvalue > 1e-4


def test_a_coin_depends_on_the_key_and_not_on_the_position():
    some = np.random.default_rng(0).permutation(len(KEYS))[:500]
    assert (Mix(0.4).coins(KEYS, 2, 7)[some] == Mix(0.4).coins(KEYS[some], 2, 7)).all()


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_p_outside_0_1_is_refused(p):
    with pytest.raises(UserError, match="not a probability"):
        Mix(p)


def test_both_shares_are_named():
    assert Mix(0.8).describe() == "80% original captions, 20% recaptions"


def test_an_empty_caption_is_replaced_and_counted():
    count = MixCount()
    assert count.choose((" ", "re"), True, pure=False) == "re"
    assert count.choose(("org", "re"), True, pure=False) == "org"
    assert count.choose(("", ""), False, pure=False) == ""
    assert (count.original, count.recaption, count.empty) == (1, 1, 1)
    assert count.missing == {"original": 1, "recaption": 1} and count.realised == 0.5


def test_a_baseline_is_never_shown_the_other_caption():
    count = MixCount()
    assert count.choose(("", "re"), True, pure=True) == ""
    assert count.recaption == 0 and count.empty == 1


def test_every_sample_comes_exactly_once_an_epoch_in_an_order_of_its_own():
    plan = Plan(KEYS[:1000], Mix(0.5), 0)
    whole = plan.visit(0, 2000)
    first, second = whole.index[:1000], whole.index[1000:]
    assert sorted(first) == sorted(second) == list(range(1000))
    assert (first != second).mean() > 0.9 and (whole.epoch == np.repeat([0, 1], 1000)).all()


def test_the_order_does_not_depend_on_the_mix_and_a_batch_may_straddle_epochs():
    one, two = Plan(KEYS[:1000], Mix(0.2), 5), Plan(KEYS[:1000], Mix(0.9), 5)
    assert (one.visit(900, 1100).index == two.visit(900, 1100).index).all()
    parts = [one.visit(a, b) for a, b in ((900, 1001), (1001, 1100))]
    assert (np.concatenate([part.index for part in parts]) == one.visit(900, 1100).index).all()
    assert (np.concatenate([part.original for part in parts]) == one.visit(900, 1100).original).all()
