"""How often tests of a sweep speak, where there is something and where there is nothing.

Trainings are drawn at random: a level for each seed, noise for each run, and either no effect of p at all or the same one at
every p but the baseline. Each of many sweeps is tested as a report tests it: p by p over paired seeds, and with noise pooled
over p; and, as no report does, with the variance of each p drawn towards that of all (Smyth 2004, Statistical Applications in
Genetics and Molecular Biology 3, article 3), which would lie between the two.

    python -m benchmarks.pooling
    python -m benchmarks.pooling --seeds 5 --sweeps 20000
"""

import argparse

import numpy as np
from scipy.optimize import brentq
from scipy.special import digamma, polygamma
from scipy.stats import t as student

from recap_eval.stats import ALPHA, holm, mean_over_seeds, pooled_differences

PLACES = (3, 5, 11)
EFFECT = 4.0  # standard deviations of a run's noise


def scatters(places: int) -> dict[str, np.ndarray]:
    """Return (P,) standard deviations of the noise at each place, the baseline last."""
    alike, wide = np.ones(places), np.ones(places)
    wide[0] = 3
    return {
        "alike at all p": alike,
        "3 x at one other p": wide,
        "3 x at the baseline": wide[::-1],
        "a third at the baseline": np.append(alike[1:], 1 / 3),
        "growing to 3 x at the baseline": np.linspace(1, 3, places),
    }


def moderated(changes: np.ndarray) -> list[float]:
    """Return p-values of the means of (S, D) differences, their variances moderated over the D."""
    seeds, count = changes.shape
    degrees, variances = seeds - 1, changes.var(axis=0, ddof=1)
    half = degrees / 2
    spread = np.log(variances) - digamma(half) + np.log(half)
    excess = spread.var(ddof=1) - polygamma(1, half)
    if excess <= 0:  # they differ no more than by chance: one variance for all
        prior, centre = np.inf, variances.mean()
    else:
        prior = 2 * brentq(lambda x: polygamma(1, x) - excess, 1e-6, 1e8)
        centre = np.exp(spread.mean() + digamma(prior / 2) - np.log(prior / 2))
    drawn = np.full(count, centre) if np.isinf(prior) else (prior * centre + degrees * variances) / (prior + degrees)
    t = changes.mean(axis=0) / np.sqrt(drawn / seeds)
    return list(2 * student.sf(np.abs(t), min(prior + degrees, degrees * count)))


def spoken(scores: np.ndarray) -> list[list[bool]]:
    """Return which of the P - 1 differences to the last place are separable, by each test."""
    base = scores.shape[1] - 1
    paired = [mean_over_seeds(scores[:, place] - scores[:, base]).p_value for place in range(base)]
    pooled = [one.p_value for one in (pooled_differences(scores, base) or [])[:base]]
    drawn = moderated(scores[:, :base] - scores[:, [base]])
    return [[p < ALPHA for p in holm([p or 0.0 for p in found])] for found in (paired, pooled, drawn)]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="training seeds (default 3)")
    parser.add_argument("--sweeps", type=int, default=4000, help="sweeps drawn for each line (default 4000)")
    args = parser.parse_args()
    draw = np.random.default_rng(0)
    print(f"{args.seeds} training seeds, {args.sweeps:,} sweeps a line; in per cent: p by p, pooled, moderated")
    for places in PLACES:
        for name, scatter in scatters(places).items():
            for effect in (0.0, EFFECT) if name.startswith("alike") else (0.0,):
                shift = np.append(np.full(places - 1, effect), 0.0)
                told = []
                for _ in range(args.sweeps):
                    runs = draw.normal(size=(args.seeds, places)) * scatter + 2 * draw.normal(size=(args.seeds, 1)) + shift
                    told.append([(np.mean if effect else np.any)(found) for found in spoken(runs)])
                what = f"differences of {effect:g} sd seen" if effect else "sweeps with a false difference"
                shares = " ".join(f"{100 * share:5.1f}" for share in np.mean(told, axis=0))
                print(f"{places:3} p, noise {name:31} {what:31} {shares}", flush=True)


if __name__ == "__main__":
    main()
