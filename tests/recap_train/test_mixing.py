from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from recap_eval.errors import UserError
from recap_eval.hashrand import text_key
from recap_train.captions import Captions
from recap_train.mixing import Choices, Mix, MixCount
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
    assert count.choose(Captions(" ", ("re",)), True, 0, pure=False) == "re"
    assert count.choose(Captions("org", ("re",)), True, 0, pure=False) == "org"
    assert count.choose(Captions("", ("",)), False, 0, pure=False) == ""
    assert (count.original, count.recaption, count.empty) == (1, 1, 1)
    assert count.missing == {"original": 1, "recaption": 1} and count.realised == 0.5


def test_a_baseline_is_never_shown_the_other_caption():
    count = MixCount()
    assert count.choose(Captions("", ("re",)), True, 0, pure=True) == ""
    assert count.recaption == 0 and count.empty == 1


def test_another_recaption_stands_in_for_an_empty_one_before_the_original_does():
    count = MixCount()
    assert count.choose(Captions("org", ("a", "", "c")), False, 1, pure=True) == "c"
    assert count.choose(Captions("org", ("", "b", " ")), False, 2, pure=False) == "b"
    assert count.choose(Captions("org", ("", "", "")), False, 2, pure=False) == "org"
    assert count.missing == {"original": 0, "recaption": 3}
    assert (count.original, count.recaption, count.numbers) == (1, 2, {2: 1, 1: 1})
    assert count.describe() == {"recaptions_shown": [0, 1, 1]}


def test_what_was_committed_is_drawn_still():
    """Coins, and by them committed results, as they were before there were several recaptions or dropout."""
    coins = Mix(0.5).draw(KEYS, 2, 7)
    assert coins.original[:16].tolist() == [bool(int(bit)) for bit in "1100100000001001"]
    assert int(coins.original.sum()) == 10067 and not coins.which.any() and not coins.dropped.any()


def test_a_draw_is_the_coin_and_does_not_depend_on_the_other_draws():
    plain = Mix(0.3).coins(KEYS, 1, 5)
    rich = Mix(0.3, recaptions=3, weights=(1.0, 2.0, 3.0), dropout=0.2).draw(KEYS, 1, 5)
    assert (rich.original == plain).all()


@pytest.mark.parametrize("weights", [(), (1.0, 1.0, 6.0)])
def test_several_recaptions_come_at_their_rates_and_anew_each_epoch_and_seed(weights):
    mix = Mix(0.5, recaptions=3, weights=weights)
    which = mix.draw(KEYS, 0, 0).which
    shares = np.array(weights or (1, 1, 1)) / sum(weights or (1, 1, 1))
    assert stats.chisquare(np.bincount(which, minlength=3), shares * len(KEYS)).pvalue > 1e-4
    for other in (mix.draw(KEYS, 1, 0).which, mix.draw(KEYS, 0, 1).which, mix.draw(KEYS, 0, 0).original):
        assert stats.chi2_contingency(stats.contingency.crosstab(which, other).count).pvalue > 1e-4
    some = np.arange(100, 300)
    assert (mix.draw(KEYS[some], 0, 0).which == which[some]).all()
    assert (replace(mix, p_original=0.9).draw(KEYS, 0, 0).which == which).all()


def test_recaptions_alternate_from_epoch_to_epoch():
    mix = Mix(0.0, recaptions=3, turns="alternate")
    turns = np.array([mix.draw(KEYS[:500], epoch, 4).which for epoch in range(6)])
    assert ((turns[1:] - turns[:-1]) % 3 == 1).all() and set(turns[0]) == {0, 1, 2}


def test_dropped_captions_are_the_same_at_every_p_and_independent_of_the_coin():
    sets = [Mix(p, dropout=0.1).draw(KEYS, 2, 3) for p in (0.0, 0.5, 1.0)] + [Mix(None, "concat", dropout=0.1).draw(KEYS, 2, 3)]
    assert all((one.dropped == sets[0].dropped).all() for one in sets)
    assert stats.binomtest(int(sets[0].dropped.sum()), len(KEYS), 0.1).pvalue > 1e-4
    table = stats.contingency.crosstab(sets[1].dropped, sets[1].original).count
    assert stats.chi2_contingency(table).pvalue > 1e-4
    more = Mix(0.5, dropout=0.3).draw(KEYS, 2, 3).dropped
    assert not (sets[0].dropped & ~more).any()


def test_texts_shown_are_counted_by_kind():
    mix, count = Mix(0.5, recaptions=2, dropout=0.5), MixCount()
    choices = Choices(np.array([True, False, True, False]), np.array([0, 1, 0, 0]), np.array([False, False, True, False]))
    shown = mix.show([Captions("o", ("a", "b"))] * 4, choices, count)
    assert shown == ["o", "b", "", "a"]
    assert (count.original, count.recaption, count.dropped, count.empty) == (1, 2, 1, 0) and count.numbers == {0: 1, 1: 1}
    count.add(count)
    assert count.describe() == {"dropped_captions": 2, "recaptions_shown": [2, 2]}


def test_concat_is_original_comma_recaption():
    mix, count = Mix(None, "concat", recaptions=2), MixCount()
    captions = [
        Captions("cat", ("a cat", "the cat")),
        Captions("", ("a dog", "")),
        Captions("cow", (" ", "")),
        Captions("", ("", "")),
    ]
    choices = Choices(np.zeros(4, dtype=bool), np.array([1, 1, 0, 0]), np.zeros(4, dtype=bool))
    assert mix.show(captions, choices, count) == ["cat, the cat", "a dog", "cow", ""]
    assert (count.concatenated, count.original, count.recaption, count.empty) == (1, 1, 1, 1)
    assert count.missing == {"original": 2, "recaption": 3}
    assert mix.label == "concat" and mix.describe() == "original caption and recaption, joined"


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"p_original": 0.5, "mode": "concat"}, "no meaning"),
        ({"p_original": None}, "not given"),
        ({"p_original": 0.5, "dropout": 1.5}, "--caption-dropout 1.5"),
        ({"p_original": 0.5, "recaptions": 2, "weights": (1.0,)}, "1 --recaption-weights for 2"),
        ({"p_original": 0.5, "recaptions": 2, "weights": (0.0, 0.0)}, "no weights"),
        ({"p_original": 0.5, "recaptions": 2, "weights": (1.0, -1.0)}, "no weights"),
        ({"p_original": 0.5, "recaptions": 2, "weights": (1.0, 1.0), "turns": "alternate"}, "have no weights"),
    ],
)
def test_wrong_mixes(facts, words):
    with pytest.raises(UserError, match=words):
        Mix(**facts)


def test_only_what_is_not_default_is_part_of_a_runs_identity():
    assert Mix(0.5).settings == Mix(0.5, recaptions=2).settings == ""
    assert Mix(0.5, recaptions=2, weights=(1.0, 3.0), dropout=0.1).settings == "recaption weights 1, 3; caption dropout 0.1"
    assert Mix(0.5, recaptions=2, turns="alternate").settings == "recaptions alternate"


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
