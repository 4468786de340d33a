import tracemalloc

import numpy as np
import pytest
import torch

from recap_eval.errors import DataError
from recap_eval.metrics.kernel import cmmd, discrepancy, gaussian, kid, polynomial
from recap_eval.metrics.manifold import manifold


def draw(n, d=16, seed=0, shift=0.0):
    return np.random.default_rng(seed).normal(size=(n, d)) + shift


def cubic(a, b):
    return (a @ b.T / a.shape[1] + 1) ** 3


def unbiased(x, y, k):
    xx, yy = k(x, x), k(y, y)
    within = [(m.sum() - np.trace(m)) / (len(m) * (len(m) - 1)) for m in (xx, yy)]
    return sum(within) - 2 * k(x, y).mean()


def biased(x, y, k):
    return k(x, x).mean() + k(y, y).mean() - 2 * k(x, y).mean()


@pytest.mark.parametrize(("n", "m"), [(2, 2), (50, 50), (70, 31), (129, 200)])
@pytest.mark.parametrize("side", [7, 64, 2048])
def test_the_discrepancy_is_its_definition(n, m, side):
    x, y = draw(n), draw(m, seed=1, shift=0.3)
    found = discrepancy(x, y, side=side)
    assert found.value == pytest.approx(unbiased(x, y, cubic), rel=1e-10, abs=1e-12)
    assert found.biased == pytest.approx(biased(x, y, cubic), rel=1e-10, abs=1e-12)
    assert (found.n, found.n_reference, len(found.influence)) == (n, m, n)
    assert abs(found.influence.mean()) < 1e-12


def test_influence_is_what_leaving_an_image_out_does():
    x, y = draw(60), draw(80, seed=1, shift=0.3)
    found = discrepancy(x, y)
    left_out = np.array([discrepancy(np.delete(x, i, axis=0), y).value for i in range(60)])
    assert found.influence == pytest.approx(-(left_out - left_out.mean()) * 58, rel=1e-6, abs=1e-9)


def test_kid_equals_torchmetrics_and_every_pair():
    from torchmetrics.image.kid import poly_mmd

    x, y = draw(40), draw(40, seed=1, shift=0.3)
    theirs = poly_mmd(torch.tensor(y), torch.tensor(x)).item()
    found = kid(x, y, subsets=3)
    assert found.value == pytest.approx(theirs, rel=1e-10)  # a subset of all images is all of them, whatever its order
    assert found.subset_sd == pytest.approx(0, abs=1e-12) and (found.subsets, found.size) == (3, 40)
    assert discrepancy(x, y).value == pytest.approx(theirs, rel=1e-10)


def test_subsets_are_drawn_without_repeats_by_the_seed():
    x, y = draw(300), draw(500, seed=1, shift=0.3)
    first, again, other = kid(x, y, 50, 100), kid(x, y, 50, 100), kid(x, y, 50, 100, seed=1)
    assert first == again and first != other
    assert first.value == pytest.approx(discrepancy(x, y).value, abs=4 * first.subset_sd / np.sqrt(50))
    assert kid(draw(10), draw(9, seed=1)).size == 9


def test_constant_and_repeated_features():
    same, x = np.full((20, 4), 2.0), draw(20, 4)
    for found in (discrepancy(same, same), discrepancy(np.repeat(same[:1], 9, axis=0), same)):
        assert (found.value, found.se) == (pytest.approx(0, abs=1e-12), pytest.approx(0, abs=1e-6))
    assert discrepancy(x, x).value < 0 and discrepancy(x, x).biased == pytest.approx(0, abs=1e-12)
    assert np.isfinite(discrepancy(x[:2], same).se)


@pytest.mark.parametrize("bad", ["one", "nan", "size", "subsets", "width"])
def test_what_is_refused(bad):
    x, y = draw(30), draw(30, seed=1)
    if bad == "one":
        with pytest.raises(DataError, match="1 features, where at least 2"):
            kid(x[:1], y)
    elif bad == "nan":
        y[3, 1] = np.nan
        with pytest.raises(DataError, match="Row 3 of the reference features"):
            discrepancy(x, y)
    elif bad == "size":
        with pytest.raises(DataError, match="subsets of 31"):
            kid(x, y, size=31)
    elif bad == "subsets":
        with pytest.raises(ValueError, match="subset"):
            kid(x, y, subsets=0)
    else:
        with pytest.raises(ValueError, match="width"):
            kid(x, y[:, :4])


def unit(n, seed=0, shift=0.0):
    x = draw(n, 32, seed, shift)
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def published_cmmd(x, y):
    """The estimator of both public implementations, in extended precision."""
    x, y = x.astype(np.longdouble), y.astype(np.longdouble)

    def k(a, b):
        squares = (a * a).sum(1)[:, None] + (b * b).sum(1) - 2 * a @ b.T
        return np.exp(-squares / (2 * 10**2))

    return 1000 * float(biased(x, y, k)), 1000 * float(unbiased(x, y, k))


@pytest.mark.parametrize("side", [50, 2048])
def test_cmmd_keeps_its_digits(side):
    x, y = unit(300), unit(200, 1, 0.02)
    exact = published_cmmd(x, y)
    found = cmmd(x, y, side)
    assert (found.biased, found.value) == (pytest.approx(exact[0], rel=1e-9), pytest.approx(exact[1], rel=1e-9))
    assert found.se == pytest.approx(1000 * discrepancy(x, y, gaussian).se)


def test_cmmd_wants_unit_rows():
    x = unit(30)
    x[4] *= 2
    with pytest.raises(DataError, match="Row 4 of the features has length 2, not 1"):
        cmmd(x, unit(30, 1))


@pytest.mark.slow
@pytest.mark.parametrize("shift", [0.0, 0.05, 0.3])
def test_standard_error_is_the_spread(shift):
    """Monte Carlo over images with the reference fixed: near equality, where first-order errors are 0, and away from it."""
    y = draw(400, 8, 99)
    found = [discrepancy(draw(80, 8, seed, shift), y) for seed in range(400)]
    spread = np.std([one.value for one in found], ddof=1)
    assert np.sqrt(np.mean([one.se**2 for one in found])) == pytest.approx(spread, rel=0.12)


@pytest.mark.parametrize("metric", [discrepancy, manifold])
def test_no_matrix_of_pairs_is_held(metric):
    x, y = draw(1500, 4), draw(1500, 4, 1)
    metric(x[:9], y[:9])
    tracemalloc.start()
    metric(x, y, side=100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 1500 * 1500 / 10


def test_kernels_at_a_point():
    x = np.array([[1.0, 2.0]])
    assert polynomial(x, x)[0, 0] == pytest.approx(3.5**3) and gaussian(x, x + 10)[0, 0] == pytest.approx(np.exp(-1) - 1)
