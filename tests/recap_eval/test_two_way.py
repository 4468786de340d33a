"""Shares and wins of two captions against plain loops over exp and comparison."""

import math

import numpy as np
import pytest

from recap_eval.metrics.two_way import TIE, softmax_share, wins


def cosines(n=500, seed=0):
    rng = np.random.default_rng(seed)
    ours, theirs = rng.uniform(-1, 1, n), rng.uniform(-1, 1, n)
    near = rng.random(n) < 0.5
    theirs[near] = ours[near] + rng.normal(0, 0.01, near.sum())
    theirs[:20] = ours[:20]
    return ours, theirs


def test_shares_are_a_softmax_over_the_two():
    ours, theirs = cosines()
    for a, b, share in zip(ours, theirs, softmax_share(ours, theirs), strict=True):
        top = max(a, b)
        one, two = math.exp(100 * (a - top)), math.exp(100 * (b - top))
        assert share == pytest.approx(one / (one + two), abs=1e-12)
    assert softmax_share(ours, theirs) + softmax_share(theirs, ours) == pytest.approx(1.0)
    assert (
        softmax_share(np.array([1.0]), np.array([-1.0])) == 1 and 0 <= softmax_share(np.array([-1.0]), np.array([1.0])) < 1e-80
    )


def test_wins_count_ties_half():
    ours, theirs = cosines(seed=1)
    brute = [0.5 if abs(a - b) <= TIE else float(a > b) for a, b in zip(ours, theirs, strict=True)]
    assert wins(ours, theirs).tolist() == brute and brute[:20] == [0.5] * 20
    assert (wins(ours, theirs) + wins(theirs, ours) == 1).all()
    assert wins(np.array([0.3]), np.array([0.3 + TIE / 2])) == 0.5


def test_nothing_gives_nothing_and_what_is_no_number_stays_none():
    assert len(softmax_share(np.array([]), np.array([]))) == len(wins(np.array([]), np.array([]))) == 0
    assert np.isnan(softmax_share(np.array([np.nan]), np.array([0.2])))[0]
