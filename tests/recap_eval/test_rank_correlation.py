import numpy as np
import pytest
from scipy import stats

from recap_eval.metrics.rank_correlation import rank_correlation


@pytest.mark.parametrize("seed", range(20))
def test_both_are_scipys_with_and_without_ties(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=30) if seed % 2 else rng.integers(0, 5, 30)
    y = x + rng.normal(size=30) if seed % 3 else rng.integers(0, 3, 30)
    found = rank_correlation(x, y)
    assert found.spearman == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    assert found.kendall == pytest.approx(stats.kendalltau(x, y).statistic, abs=1e-12)
    assert found.spearman_ci[0] <= found.spearman <= found.spearman_ci[1] and found.n == 30


def test_the_interval_is_that_of_resampled_scipy():
    rng = np.random.default_rng(0)
    x = rng.normal(size=25)
    y = x + rng.normal(size=25)
    drawn = [rng.integers(0, 25, 25) for _ in range(800)]
    found = rank_correlation(x, y, seed=3)
    rho = np.quantile([stats.spearmanr(x[row], y[row]).statistic for row in drawn], (0.025, 0.975))
    tau = np.quantile([stats.kendalltau(x[row], y[row]).statistic for row in drawn], (0.025, 0.975))
    assert found.spearman_ci == pytest.approx(rho, abs=0.08) and found.kendall_ci == pytest.approx(tau, abs=0.08)


def test_perfect_and_void():
    x = np.arange(6.0)
    assert rank_correlation(x, -(x**3)).spearman_ci == (-1, -1)
    assert rank_correlation(x, np.ones(6)) is None and rank_correlation(x[:2], x[:2]) is None
    for wrong in (np.full(6, np.nan), x[:5]):
        with pytest.raises(ValueError, match="finite and of one length"):
            rank_correlation(x, wrong)
