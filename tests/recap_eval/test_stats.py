import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as reference

from recap_eval.stats import (
    best_place,
    clustered_se,
    estimate,
    holm,
    mean_over_seeds,
    paired_items,
    pooled_differences,
    wilson,
)


def test_unclustered_interval_is_the_t_interval():
    values = np.random.default_rng(0).normal(size=200)
    ours = estimate(values, np.arange(200))
    low, high = reference.t.interval(0.95, 199, loc=values.mean(), scale=reference.sem(values))
    assert (ours.se, ours.low, ours.high) == pytest.approx((reference.sem(values), low, high), rel=1e-12)


def test_clustered_se_is_the_cr1_formula():
    rng = np.random.default_rng(1)
    clusters = rng.integers(0, 40, 300)
    values = rng.normal(size=300) + clusters * 0.05
    names = sorted(set(clusters))
    sums = [sum(values[clusters == c] - values.mean()) for c in names]
    expected = np.sqrt(len(names) / (len(names) - 1) * sum(s * s for s in sums)) / 300
    codes = np.unique(clusters, return_inverse=True)[1]
    assert clustered_se(values, codes) == pytest.approx(expected, rel=1e-12)


def test_five_equal_captions_are_worth_one():
    image = np.random.default_rng(2).integers(0, 2, 100).astype(float)
    five, owner = np.repeat(image, 5), np.repeat(np.arange(100), 5)
    assert estimate(five, owner).se == pytest.approx(estimate(image, np.arange(100)).se, rel=1e-9)
    assert estimate(five, owner).n == 500 and estimate(five, owner).n_clusters == 100


@pytest.mark.parametrize(("hits", "n"), [(0, 20), (20, 20), (7, 20), (1, 1)])
def test_wilson(hits, n):
    expected = reference.binomtest(hits, n).proportion_ci(method="wilson")
    assert wilson(hits / n, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_all_right_is_not_certain():
    found = estimate(np.ones(50), np.arange(50), share=True)
    assert found.value == 1 and found.se == 0 and 0.9 < found.low < 1 and found.high == 1


def test_a_distance_without_spread_is_no_share():
    found = estimate(np.zeros(50), np.arange(50))
    assert (found.value, found.low, found.high) == (0, 0, 0)


def test_one_cluster_has_no_interval():
    found = estimate(np.array([0.0, 1.0]), ["a", "a"])
    assert (found.se, found.low, found.high) == (None, None, None)


@pytest.mark.parametrize("values", [[], [np.nan], [1.0, np.inf]])
def test_nothing_and_nan_are_errors(values):
    with pytest.raises(ValueError, match="finite"):
        estimate(np.array(values), np.arange(len(values)))


def test_paired_items_is_the_paired_t_test():
    rng = np.random.default_rng(3)
    a = rng.normal(size=80)
    b = a + rng.normal(0.1, 0.2, size=80)
    ours, theirs = paired_items(b, a, np.arange(80)), reference.ttest_rel(b, a)
    interval = theirs.confidence_interval(0.95)
    assert (ours.low, ours.high, ours.p_value) == pytest.approx((interval.low, interval.high, theirs.pvalue), rel=1e-9)


def test_seeds():
    ours, theirs = mean_over_seeds([0.1, 0.14, 0.09]), reference.ttest_1samp([0.1, 0.14, 0.09], 0)
    interval = theirs.confidence_interval(0.95)
    assert (ours.low, ours.high, ours.p_value) == pytest.approx((interval.low, interval.high, theirs.pvalue), rel=1e-9)
    assert mean_over_seeds([0.5]).low is None
    same = mean_over_seeds([1.0, 1.0])
    assert (same.low, same.high, same.p_value) == (1.0, 1.0, 0.0)
    assert mean_over_seeds([0.0, 0.0]).p_value == 1.0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=7))
def test_holm_is_the_closed_test_of_bonferroni(p_values):
    """Holm's adjusted p is the largest Bonferroni p over all sets of hypotheses that hold the one asked for."""
    ours = holm(p_values)
    for i in range(len(p_values)):
        sets = [c for size in range(1, len(p_values) + 1) for c in itertools.combinations(range(len(p_values)), size) if i in c]
        expected = max(min(1.0, len(c) * min(p_values[j] for j in c)) for c in sets)
        assert ours[i] == pytest.approx(expected, abs=1e-12)


def brute(scores, upward):
    """Every way of drawing the seeds with replacement, one by one; tied places share a resample."""
    seeds, places = len(scores), len(scores[0])
    shares = [0.0] * places
    for chosen in itertools.product(range(seeds), repeat=seeds):
        sums = [round(sum(scores[seed][place] for seed in chosen), 9) for place in range(places)]
        best = (max if upward else min)(sums)
        winners = [place for place in range(places) if sums[place] == best]
        for place in winners:
            shares[place] += 1 / len(winners) / seeds**seeds
    return shares


@pytest.mark.parametrize("upward", [True, False])
@pytest.mark.parametrize("seeds", [2, 3, 4, 5])
def test_best_place_is_all_resamples_of_seeds(seeds, upward):
    """Against plain enumeration, on scores of a few whole items, so that ties come up."""
    rng = np.random.default_rng(seeds)
    for _ in range(5):
        scores = (rng.integers(0, 6, (seeds, 4)) / 10).tolist()
        found, expected = best_place(scores, upward), brute(scores, upward)
        assert found.shares == pytest.approx(expected, abs=1e-9)
        assert (found.exact, found.resamples, found.seeds) == (True, seeds**seeds, seeds)
        smallest = min(
            (
                c
                for size in range(1, 5)
                for c in itertools.combinations(range(4), size)
                if sum(expected[i] for i in c) >= 0.95 - 1e-9
            ),
            key=lambda c: (len(c), -sum(expected[i] for i in c)),
        )
        assert sum(found.shares[i] for i in found.likely) == pytest.approx(sum(expected[i] for i in smallest), abs=1e-9)
        assert len(found.likely) == len(smallest)


def test_best_place_of_many_seeds_is_drawn_and_the_same_every_time():
    rng = np.random.default_rng(0)
    scores = rng.normal([0.0, 0.3, 0.25], 0.5, (12, 3))
    found = best_place(scores)
    drawn = rng.integers(0, 12, (20_000, 12))
    expected = np.bincount(scores[drawn].mean(axis=1).argmax(axis=1), minlength=3) / 20_000
    assert found.shares == pytest.approx(expected, abs=0.02) and sum(found.shares) == pytest.approx(1)
    assert not found.exact and found.resamples == 10_000 and best_place(scores) == found


def test_best_place_pairs_the_seeds():
    """Seeds that are good or bad as a whole say nothing against a difference that all of them share."""
    scores = np.array([[0.1, 0.2], [0.6, 0.7], [0.3, 0.4]])
    assert best_place(scores).shares == (0.0, 1.0) and best_place(scores).likely == (1,)
    scores[0] = [0.5, 0.2]  # one seed of three disagrees
    assert best_place(scores).shares == pytest.approx(brute(scores.tolist(), True))


def test_best_place_of_one_seed_is_not_known():
    assert best_place([[0.1, 0.2]]) is None
    assert best_place([[0.5, 0.5], [0.5, 0.5]]).shares == (0.5, 0.5)


@pytest.mark.parametrize(("seeds", "places", "base"), [(2, 3, 0), (3, 11, 10), (5, 4, 2)])
def test_pooled_differences_are_least_squares_with_seeds_and_places_as_factors(seeds, places, base):
    draw = np.random.default_rng(places)
    scores = draw.random((seeds, places)) + draw.random((seeds, 1)) + draw.random(places)
    seed, place = (each.ravel() for each in np.indices(scores.shape))
    others = [other for other in range(places) if other != base]
    design = np.column_stack([seed == one for one in range(seeds)] + [place == one for one in others]).astype(float)
    coefficients, residual, *_ = np.linalg.lstsq(design, scores.ravel(), rcond=None)
    degrees = scores.size - design.shape[1]
    errors = np.sqrt(np.diag(np.linalg.inv(design.T @ design)) * residual[0] / degrees)
    assert degrees == (seeds - 1) * (places - 1)
    for found, change, error in zip(
        [pooled_differences(scores, base)[other] for other in others], coefficients[seeds:], errors[seeds:], strict=True
    ):
        assert (found.value, found.se) == pytest.approx((change, error))
        assert found.p_value == pytest.approx(2 * reference.t.sf(abs(change / error), degrees))
        assert (found.low, found.high) == pytest.approx(reference.t.interval(0.95, degrees, change, error))


def test_of_two_places_pooled_noise_is_that_of_the_paired_t_test():
    scores = np.random.default_rng(0).random((6, 2))
    theirs = reference.ttest_rel(scores[:, 0], scores[:, 1])
    assert pooled_differences(scores, 1)[0].p_value == pytest.approx(theirs.pvalue)


def test_without_noise_a_difference_is_certain_and_none_is_none():
    one, two, three = pooled_differences([[0.1, 0.3, 0.1], [0.2, 0.4, 0.2]], 0)
    assert (one.p_value, two.p_value, three.p_value) == (1.0, 0.0, 1.0) and two.low == two.high == pytest.approx(0.2)


@pytest.mark.parametrize("scores", [np.ones((1, 4)), np.ones((4, 1))])
def test_one_seed_or_one_place_cannot_be_pooled(scores):
    assert pooled_differences(scores, 0) is None
