"""Influence, standard errors, paired differences and the extrapolation to infinitely many images."""

import numpy as np
import pytest
from scipy import linalg

from recap_eval.errors import DataError
from recap_eval.metrics.frechet import Reference, frechet_distance
from recap_eval.metrics.infinity import Limit, frechet_infinity, part_moments, parts_of
from recap_eval.metrics.influence import influence, paired_difference
from recap_eval.metrics.moments import Moments, Statistics

D = 12


class Truth:
    """Gaussians whose distance is known: a model that is a little off, and one that is further off."""

    def __init__(self, d=D, seed=0):
        rng = np.random.default_rng(seed)
        spectrum = np.arange(1, d + 1) ** -1.0
        turn = np.linalg.qr(rng.normal(size=(d, d)))[0]
        self.reference = Reference(Statistics(np.zeros(d), (turn * spectrum) @ turn.T, 10**9))
        self.roots = [linalg.qr(turn + 0.05 * rng.normal(size=(d, d)))[0] * np.sqrt(spectrum * factor) for factor in (1.3, 1.6)]
        self.mean = 0.1 * rng.normal(size=d)
        self.exact = [
            frechet_distance(Statistics(self.mean, root @ root.T, 10**9), self.reference).value for root in self.roots
        ]

    def draw(self, n, rng):
        """Features of two models on the same prompts: half of each image is the prompt's."""
        prompts = rng.standard_t(8, size=(n, self.roots[0].shape[0])) * np.sqrt(6 / 8)
        own = [(prompts + rng.normal(size=prompts.shape)) / np.sqrt(2) for _ in self.roots]
        return [noise @ root.T + self.mean for noise, root in zip(own, self.roots, strict=True)]


TRUTH = Truth()


def weighted(x, weights, reference):
    """The distance as a function of the images' weights, with N in the denominator."""
    mean = weights @ x
    root = linalg.sqrtm(reference.covariance)
    covariance = (x - mean).T @ ((x - mean) * weights[:, None])
    middle = linalg.sqrtm(root @ covariance @ root).real
    return np.square(mean - reference.mean).sum() + np.trace(covariance + reference.covariance - 2 * middle)


def test_influence_is_the_derivative_by_the_weight_of_an_image():
    x = TRUTH.draw(200, np.random.default_rng(1))[0]
    found = influence(x, TRUTH.reference).phi
    even, step = np.full(200, 1 / 200), 1e-4
    for row in (0, 7, 199):
        toward = np.zeros(200)
        toward[row] = 1
        ends = [weighted(x, (1 - s) * even + s * toward, TRUTH.reference.statistics) for s in (step, -step)]
        assert found[row] == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=0.02, abs=0.01)
    assert abs(found.mean()) < 1e-12


@pytest.mark.parametrize("triangular", [True, False])
def test_influence_is_the_formula(triangular):
    """phi of the module's docstring with scipy's square roots, blocks or no blocks."""
    x = TRUTH.draw(1500, np.random.default_rng(2))[1].astype(np.float32)
    reference = Reference(TRUTH.reference.statistics)
    own = Moments.of(x).statistics()
    if not triangular:
        values, vectors = np.linalg.eigh(reference.statistics.covariance)
        reference.__dict__["factor"] = (np.sqrt(values)[:, None] * vectors.T, False)
    root = linalg.sqrtm(reference.statistics.covariance).real
    transport = root @ np.linalg.inv(linalg.sqrtm(root @ own.covariance @ root).real) @ root
    rest, away = np.eye(D) - transport, x.astype(np.float64) - own.mean
    phi = 2 * away @ (own.mean - reference.statistics.mean) + np.einsum("nd,de,ne->n", away, rest, away)
    found = influence(x, reference)
    assert found.phi == pytest.approx(phi - phi.mean(), abs=1e-9)
    assert found.distance.value == pytest.approx(frechet_distance(own, reference).value, rel=1e-10)
    assert found.linearised.mean() == pytest.approx(found.distance.value)
    assert found.estimate().se == pytest.approx(phi.std(ddof=1) / np.sqrt(1500), rel=1e-9)
    assert influence(x, reference, own).phi == pytest.approx(found.phi, abs=1e-12)


def test_the_odd_image_has_the_largest_influence():
    x = TRUTH.draw(400, np.random.default_rng(3))[0]
    x[17] += 5
    assert influence(x, TRUTH.reference).phi.argmax() == 17


def test_images_of_one_prompt_count_as_a_cluster():
    x = TRUTH.draw(300, np.random.default_rng(4))[0]
    four = influence(np.repeat(x, 4, axis=0), TRUTH.reference)
    once = influence(x, TRUTH.reference)
    assert four.estimate(np.repeat(np.arange(300), 4)).se == pytest.approx(once.estimate().se, rel=0.02)
    assert four.estimate().se < 0.6 * once.estimate().se


def test_no_more_images_than_features_have_no_error():
    x = TRUTH.draw(D, np.random.default_rng(5))[0]
    with pytest.raises(DataError, match=f"{D} images for {D} features"):
        influence(x, TRUTH.reference)
    with pytest.raises(DataError, match="at least 2"):
        influence(x[:1], TRUTH.reference)
    with pytest.raises(ValueError, match="Statistics of 9 images"):
        influence(np.repeat(x, 2, axis=0), TRUTH.reference, Moments.of(x[:9]).statistics())


def test_pairs_need_equal_numbers():
    a, b = TRUTH.draw(60, np.random.default_rng(6))
    with pytest.raises(ValueError, match="60 and 59"):
        paired_difference(influence(a, TRUTH.reference), influence(b[:59], TRUTH.reference))


def test_constant_and_dead_features_have_an_error_too():
    """Directions that neither side has add nothing, and nothing is divided by zero."""
    rng = np.random.default_rng(7)
    x, y = rng.normal(size=(90, 6)), rng.normal(size=(80, 6))
    wide = [np.hstack([z, np.zeros((len(z), 3))]) for z in (x, y)]
    narrow = influence(x, Reference(Moments.of(y).statistics()))
    found = influence(wide[0], Reference(Moments.of(wide[1]).statistics()))
    assert found.distance.value == pytest.approx(narrow.distance.value, rel=1e-9)
    assert found.phi == pytest.approx(narrow.phi, abs=1e-9)
    still = influence(np.ones((30, 4)), Reference(Moments.of(rng.normal(size=(50, 4))).statistics()))
    assert np.isfinite(still.phi).all() and still.distance.value > 0


@pytest.mark.slow
def test_standard_errors_cover_what_they_are_for():
    """Monte Carlo: intervals cover the mean of FD_N and of the difference; FID-infinity covers the truth, FD_N does not."""
    truth, runs, n = Truth(24), 300, 400
    rng = np.random.default_rng(8)
    single, paired, limits, apart = [], [], [], []
    for _ in range(runs):
        draws = truth.draw(n, rng)
        both = [influence(x, truth.reference) for x in draws]
        single.append(both[0].estimate())
        apart.append(np.hypot(single[-1].se, both[1].estimate().se))
        paired.append(paired_difference(both[1], both[0]))
        limits.append(frechet_infinity(part_moments(draws[0]), truth.reference, single[-1].se))
    for found, low in ((single, 0.9), (paired, 0.9)):
        values = np.array([one.value for one in found])
        errors = np.array([one.se for one in found])
        assert 0.9 < errors.mean() / values.std(ddof=1) < 1.2
        assert low < np.mean([one.low <= values.mean() <= one.high for one in found]) < 0.99
    assert np.mean([one.se for one in paired]) < 0.95 * np.mean(apart)
    exact = truth.exact[0]
    inside = np.mean([abs(one.value - exact) < 1.96 * one.se for one in limits])
    assert 0.9 < inside < 0.99
    assert np.mean([one.low <= exact <= one.high for one in single]) < 0.8


def test_parts_are_equal_and_a_function_of_the_seed():
    for n in (4, 7, 1000):
        assert np.ptp(np.bincount(parts_of(n), minlength=4)) <= 1
    assert (parts_of(1000) == parts_of(1000)).all() and (parts_of(1000) != parts_of(1000, seed=1)).any()
    assert len(parts_of(0)) == 0


def test_parts_together_are_all_images():
    x = TRUTH.draw(1111, np.random.default_rng(9))[0]
    whole = Moments.merged(part_moments(x))
    assert whole.n == 1111 and np.abs(whole.covariance() - Moments.of(x).covariance()).max() < 1e-12


@pytest.mark.parametrize("method", ["curve", "richardson"])
@pytest.mark.parametrize("cuts", [[50, 100, 150], [30, 100, 140]])
def test_the_limit_is_its_formula(method, cuts):
    """By hand from all unions; unequal parts are weighed by their size."""
    x = TRUTH.draw(200, np.random.default_rng(10))[0]
    parts = np.split(x, cuts)

    def mean(*unions):
        return (
            sum(
                sum(len(parts[i]) for i in union)
                * frechet_distance(Moments.of(np.vstack([parts[i] for i in union])).statistics(), TRUTH.reference).value
                for union in unions
            )
            / 200
        )

    whole = mean((0, 1, 2, 3))
    halves = [mean((0, 1), (2, 3)), mean((0, 2), (1, 3)), mean((0, 3), (1, 2))]
    quarters = mean((0,), (1,), (2,), (3,))
    half = np.mean(halves)
    expected = {"richardson": 2 * whole - half, "curve": (4 * (2 * whole - half) - (2 * half - quarters)) / 3}
    found = frechet_infinity([Moments.of(part) for part in parts], TRUTH.reference, 0.3, method)
    assert isinstance(found, Limit) and found.method == method
    assert found.value == pytest.approx(expected[method], rel=1e-9)
    assert found.bias == pytest.approx(whole - expected[method], rel=1e-6)
    assert found.extrapolation_se == pytest.approx(np.sqrt(4 / 3) * np.std(halves, ddof=1), rel=1e-6)
    assert found.se == pytest.approx(np.hypot(0.3, found.extrapolation_se))
    assert found.points[0] == (200, pytest.approx(whole)) and len(found.points) == (3 if method == "curve" else 2)


def test_a_curve_in_1_over_n_is_extrapolated_exactly(monkeypatch):
    from recap_eval.metrics import infinity

    monkeypatch.setattr(infinity, "frechet_distance", lambda own, _: frechet_value(5 + 60 / own.n + 900 / own.n**2))
    parts = part_moments(np.random.default_rng(0).normal(size=(400, D)))
    assert frechet_infinity(parts, TRUTH.reference).value == pytest.approx(5, rel=1e-12)
    assert frechet_infinity(parts, TRUTH.reference, method="richardson").value == pytest.approx(5 - 2 * 900 / 400**2, rel=1e-12)


def frechet_value(value):
    from recap_eval.metrics.frechet import Distance

    return Distance(value, 0.0, None, None)


def test_too_few_images_to_extrapolate():
    rng = np.random.default_rng(11)
    for n, method in ((4 * D + 8, "curve"), (4 * D, "richardson")):
        assert frechet_infinity(part_moments(TRUTH.draw(n, rng)[0]), TRUTH.reference).method == method
    with pytest.raises(DataError, match="24 images are too few"):
        frechet_infinity(part_moments(TRUTH.draw(2 * D, rng)[0]), TRUTH.reference)
    with pytest.raises(DataError, match="too few"):
        frechet_infinity(part_moments(TRUTH.draw(3 * D, rng)[0]), TRUTH.reference, method="curve")
    with pytest.raises(ValueError, match="three"):
        frechet_infinity(part_moments(TRUTH.draw(99, rng)[0]), TRUTH.reference, method="three")
