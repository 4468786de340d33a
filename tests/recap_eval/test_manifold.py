import numpy as np
import pytest
from sklearn.metrics import pairwise_distances

from recap_eval.errors import DataError
from recap_eval.metrics.manifold import manifold, radii


def draw(n, d=6, seed=0, shift=0.0):
    return np.random.default_rng(seed).normal(size=(n, d)) + shift


def reference(x, y, k, closed):
    """Precision, recall, density and coverage from whole distance matrices, as prdc and the papers' code define them."""
    near = {"x": np.sort(pairwise_distances(x), axis=1)[:, k], "y": np.sort(pairwise_distances(y), axis=1)[:, k]}
    across = pairwise_distances(x, y)
    within = np.less_equal if closed else np.less
    inside, back = within(across, near["y"]), within(across.T, near["x"])
    coverage = (across.min(axis=0) < near["y"]).mean()
    return inside.any(axis=1).mean(), back.any(axis=1).mean(), inside.sum() / (k * len(x)), coverage


@pytest.mark.parametrize(("n", "m"), [(6, 6), (80, 80), (61, 130)])
@pytest.mark.parametrize("side", [5, 64, 2048])
@pytest.mark.parametrize("shift", [0.0, 0.7, 4.0])
def test_all_four_are_their_definitions(n, m, side, shift):
    x, y = draw(n, shift=shift), draw(m, seed=1)
    found = manifold(x, y, side=side)
    three, five = reference(x, y, 3, True), reference(x, y, 5, False)
    assert (found.precision, found.recall) == pytest.approx(three[:2], abs=1e-12)
    assert (found.density, found.coverage) == pytest.approx(five[2:], abs=1e-12)
    assert (found.inside.mean(), found.covered.mean()) == (found.precision, found.recall)


def test_offsets_do_not_matter():
    x, y = draw(60, shift=0.5), draw(70, seed=1)
    near, far = manifold(x, y), manifold(x + 1e6, y + 1e6)
    assert (near.precision, near.recall, near.density, near.coverage) == (far.precision, far.recall, far.density, far.coverage)


def test_a_set_against_itself():
    """Every image lies at distance 0 of itself, inside its own ball, though x and y are one array."""
    x = draw(50)
    found = manifold(x, x)
    assert (found.precision, found.recall, found.coverage) == (1, 1, 1) and found.density >= 1


def test_duplicates_lie_at_distance_0():
    """A ball whose k nearest are copies has radius 0: closed, it holds its copies (Kynkäänniemi); open, nothing (Naeem)."""
    y = np.repeat(draw(8, 40, shift=3.0), 10, axis=0)
    found = manifold(y[::-1], y)
    assert (found.precision, found.recall, found.density, found.coverage) == (1, 1, 0, 0)
    assert (radii(y, (3, 5), y.mean(axis=0)) == 0).all()
    constant = manifold(np.ones((9, 4)), np.ones((9, 4)))
    assert (constant.precision, constant.coverage) == (1, 0)


def test_far_apart_sets_share_nothing():
    found = manifold(draw(20), draw(20, seed=1, shift=100.0))
    assert (found.precision, found.recall, found.density, found.coverage) == (0, 0, 0, 0)


def test_k_is_a_setting():
    x, y = draw(40, shift=0.5), draw(50, seed=1)
    found = manifold(x, y, k_precision=4, k_density=2)
    assert found.recall == pytest.approx(reference(x, y, 4, True)[1])
    assert found.density == pytest.approx(reference(x, y, 2, False)[2])


def test_what_is_refused():
    with pytest.raises(DataError, match="5 features, where at least 6"):
        manifold(draw(5), draw(20))
    with pytest.raises(ValueError, match="k is at least 1"):
        manifold(draw(9), draw(9), k_precision=0)
    with pytest.raises(ValueError, match="width"):
        manifold(draw(9), draw(9)[:, :2])
    bad = draw(9)
    bad[2] = np.inf
    with pytest.raises(DataError, match="Row 2 of the reference features"):
        manifold(draw(9), bad)
