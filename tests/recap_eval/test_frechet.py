import numpy as np
import pytest
import torch
from scipy import linalg

from recap_eval.errors import DataError
from recap_eval.metrics.frechet import Reference, frechet_distance, frechet_distance_of
from recap_eval.metrics.moments import Moments, Statistics


def draw(n, d, seed=0, power=0.5, offset=0.0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, d)) * np.arange(1, d + 1) ** -power) @ rng.normal(size=(d, d)) + rng.normal(size=d) + offset


def stats(features, **other):
    return Moments.of(features).statistics(**other)


def scale(*sets):
    return sum(one.covariance.trace() for one in sets)


def by_sqrtm(a, b):
    """pytorch-fid's and clean-fid's formula."""
    root = linalg.sqrtm(a.covariance @ b.covariance).real
    return np.square(a.mean - b.mean).sum() + np.trace(a.covariance + b.covariance - 2 * root)


def by_singular_values(x, y):
    """The same without any square root of an eigenvalue: the nuclear norm of the product of the centred features."""
    mx, my = x.mean(axis=0), y.mean(axis=0)
    fx, fy = (np.linalg.qr((z - m) / np.sqrt(len(z) - 1))[1] for z, m in ((x, mx), (y, my)))
    nuclear = np.linalg.svd(fx @ fy.T, compute_uv=False).sum()
    return np.square(mx - my).sum() + np.square(fx).sum() + np.square(fy).sum() - 2 * nuclear


@pytest.mark.parametrize(("n", "m", "d"), [(300, 400, 40), (2000, 900, 64), (50, 51, 8), (9, 9, 1)])
def test_full_rank_equals_every_peer(n, m, d):
    from torchmetrics.image.fid import _compute_fid

    x, y = draw(n, d), draw(m, d, 1)
    a, b = stats(x), stats(y)
    ours = frechet_distance(a, Reference(b))
    mean_term = np.square(a.mean - b.mean).sum()
    theirs = _compute_fid(*(torch.tensor(array) for array in (a.mean, a.covariance, b.mean, b.covariance))).item()
    torch_fidelity = mean_term + scale(a, b) - 2 * np.sqrt(np.linalg.eigvals(a.covariance @ b.covariance)).real.sum()
    tolerance = 1e-9 * scale(a, b)
    assert ours.value == pytest.approx(by_singular_values(x, y), abs=tolerance)
    assert ours.value == pytest.approx(by_sqrtm(a, b), abs=tolerance)
    assert ours.value == pytest.approx(theirs, abs=tolerance)
    assert ours.value == pytest.approx(torch_fidelity, abs=tolerance)
    assert (ours.mean_term, ours.n, ours.n_reference, ours.warnings) == (pytest.approx(mean_term), n, m, ())
    assert frechet_distance_of(x, Reference(b)).value == ours.value


@pytest.mark.parametrize("n", [200, 30])
@pytest.mark.parametrize("factor", [0.0, 0.3, 1.0, 1.3, 20.0])
def test_scaled_features_have_a_closed_form(n, factor):
    """c S against S: (c - 1)^2 tr S, whatever the rank."""
    x = draw(n, 60)
    x -= x.mean(axis=0)
    one, other = stats(x), stats(factor * x)
    exact = (factor - 1) ** 2 * one.covariance.trace()
    for ours in (frechet_distance(other, Reference(one)), frechet_distance_of(factor * x, Reference(one))):
        assert ours.value == pytest.approx(exact, abs=1e-12 * scale(one, other))


def test_diagonal_gaussians_have_a_closed_form():
    rng = np.random.default_rng(4)
    a, b = rng.uniform(0, 9, 50), rng.uniform(0, 9, 50)
    a[:10], b[5:20] = 0, 0
    means = rng.normal(size=(2, 50))
    ours = frechet_distance(Statistics(means[0], np.diag(a)), Reference(Statistics(means[1], np.diag(b))))
    exact = np.square(means[0] - means[1]).sum() + np.square(np.sqrt(a) - np.sqrt(b)).sum()
    assert ours.value == pytest.approx(exact, abs=1e-12 * (a + b).sum())


@pytest.mark.parametrize("n", [2, 3, 40, 63, 64, 65])
@pytest.mark.parametrize("m", [2, 50, 64, 500])
def test_fewer_images_than_features(n, m):
    """Features, moments, and moments of unknown N all give what singular values give."""
    x, y = draw(n, 64), draw(m, 64, 1)
    a, b = stats(x), stats(y)
    exact, tolerance = by_singular_values(x, y), 1e-9 * scale(a, b)
    for found in (
        frechet_distance_of(x, Reference(b)),
        frechet_distance(a, Reference(b)),
        frechet_distance(Statistics(a.mean, a.covariance), Reference(Statistics(b.mean, b.covariance))),
    ):
        assert found.value == pytest.approx(exact, abs=tolerance)
    found = frechet_distance_of(x, Reference(b))
    assert [str(n) in text for text in found.warnings][: n <= 64] == [True] * (n <= 64)
    assert len(found.warnings) == (n <= 64) + (m <= 64)


def degenerate():
    x = draw(200, 24)
    dead, twice, huge = x.copy(), x.copy(), x + 1e6
    dead[:, ::3], twice[:, 12:] = 0, x[:, :12]
    few = draw(200, 3) @ draw(3, 24)
    return {
        "constant": np.full((200, 24), 3.5),
        "zero": np.zeros((200, 24)),
        "dead": dead,
        "columns twice": twice,
        "three directions": few,
        "duplicates": np.repeat(x[:5], 40, axis=0),
        "two images": x[:2],
        "huge": huge,
        "tiny": x * 1e-60,
        "large": x * 1e70,
        "badly scaled": x * np.logspace(-9, 9, 24),
    }


@pytest.mark.parametrize("kind", list(degenerate()))
@pytest.mark.parametrize("other", list(degenerate()))
def test_degenerate_features(kind, other):
    """Never NaN, complex or negative; right to what float64 can tell; the same both ways."""
    x, y = degenerate()[kind], degenerate()[other]
    a, b = stats(x), stats(y)
    found = frechet_distance(a, Reference(b)).value
    assert isinstance(found, float) and np.isfinite(found) and found >= 0
    whole = scale(a, b) + np.square(a.mean - b.mean).sum()
    tolerance = 2e-8 * scale(a, b) + 1e-12 * whole
    assert found == pytest.approx(frechet_distance(b, Reference(a)).value, abs=tolerance)
    if not {kind, other} & {"huge"}:  # by singular values of features, which offsets cost digits
        assert found == pytest.approx(by_singular_values(x, y), abs=tolerance)
    if kind == other:
        assert found <= 1e-12 * whole


@pytest.mark.parametrize(("n", "d", "power"), [(30, 200, 0.5), (200, 64, 1.0), (400, 64, 0.0), (2, 10, 0.5)])
def test_a_set_has_no_distance_to_itself(n, d, power):
    x = draw(n, d, power=power)
    again = x[np.random.default_rng(0).permutation(n)]
    reference = Reference(stats(x))
    for found in (
        frechet_distance_of(x, reference),
        frechet_distance_of(again, reference),
        frechet_distance(stats(again), reference),
    ):
        assert 0 <= found.value <= 1e-12 * 2 * reference.statistics.covariance.trace()


def test_offset_does_not_matter():
    x, y = draw(500, 30), draw(600, 30, 1)
    near, far = (frechet_distance(stats(x + shift), Reference(stats(y + shift))).value for shift in (0, 1e6))
    assert far == pytest.approx(near, rel=1e-8)
    assert frechet_distance_of(x[:20] + 1e6, Reference(stats(y + 1e6))).value == pytest.approx(
        frechet_distance_of(x[:20], Reference(stats(y))).value, rel=1e-8
    )


def test_the_factor_is_made_once_and_is_one():
    reference = Reference(stats(draw(100, 20)))
    lower, triangular = reference.factor
    assert triangular and np.allclose(np.tril(lower) @ np.tril(lower).T, reference.statistics.covariance, rtol=1e-12)
    assert reference.factor[0] is lower
    few = Reference(stats(draw(10, 20)))
    factor, triangular = few.factor
    assert not triangular and factor.shape == (9, 20)
    assert np.allclose(factor.T @ factor, few.statistics.covariance, atol=1e-12 * few.statistics.covariance.trace())


def test_one_image_is_refused():
    reference = Reference(stats(draw(100, 20)))
    for n in (0, 1):
        with pytest.raises(DataError, match=f"{n} images, where at least 2"):
            frechet_distance_of(draw(100, 20)[:n], reference)


def test_unknown_n_is_said():
    a, b = stats(draw(100, 20)), stats(draw(90, 20, 1))
    found = frechet_distance(Statistics(a.mean, a.covariance), Reference(Statistics(b.mean, b.covariance)))
    assert len(found.warnings) == 2 and all("unknown" in text for text in found.warnings)


def test_features_of_different_extractors_are_refused():
    x = draw(100, 20)
    ours, theirs = ({"network": "inception", "resize": resize} for resize in ("clean", "tf1"))
    with pytest.raises(DataError, match="resize: 'clean', in the reference 'tf1'"):
        frechet_distance(stats(x, key=ours), Reference(stats(x, key=theirs)))
    assert frechet_distance(stats(x, key=ours), Reference(stats(x, key=dict(ours)))).value <= 1e-12 * scale(stats(x))
    with pytest.raises(DataError, match="width 3"):
        frechet_distance(stats(x[:, :3]), Reference(stats(x)))
    with pytest.raises(ValueError, match="width 3"):
        frechet_distance_of(x[:3, :3], Reference(stats(x)))


def test_numbers_beyond_float64_are_an_error():
    with pytest.raises(DataError, match="too large"), np.errstate(all="ignore"):
        frechet_distance(stats(draw(50, 5) * 1e160), Reference(stats(draw(50, 5))))
