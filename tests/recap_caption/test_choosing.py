"""The choice of tokens: draws against hashrand, transformers' own filters and the softmax they are drawn from."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from recap_caption.engines.choosing import Choosing, candidates, gumbel
from recap_caption.prompts import Sampling
from recap_eval.hashrand import combine

GREEDY = Sampling()


def scores_of(rows, tokens, seed=0):
    return 3 * torch.randn(rows, tokens, generator=torch.Generator().manual_seed(seed))


def choose(sampling, seeds, scores):
    return Choosing(sampling, seeds)(torch.zeros(len(scores), 1), scores).argmax(-1)


def test_noise_is_a_hash_of_seed_step_and_token():
    seeds, tokens = [0, 1, 2**31 - 1, 2**63 + 5], torch.tensor([[0, 7, 128_255]] * 4)
    found = gumbel(seeds, 17, tokens)
    for row, seed in enumerate(seeds):
        for column, token in enumerate(tokens[row].tolist()):
            uniform = ((combine(seed, 17, token) >> 11) + 0.5) * 2.0**-53
            assert found[row, column].item() == pytest.approx(-math.log(-math.log(uniform)), abs=1e-12)


def test_noise_is_gumbel_s():
    found = gumbel(list(range(200)), 3, torch.arange(100).expand(200, 100)).flatten().numpy()
    assert stats.kstest(found, stats.gumbel_r.cdf).pvalue > 1e-3
    columns = gumbel(list(range(200)), 4, torch.arange(100).expand(200, 100)).flatten().numpy()
    assert abs(np.corrcoef(found, columns)[0, 1]) < 0.03


@pytest.mark.parametrize("sampling", [Sampling(temperature=1.0), Sampling(temperature=2.0, top_k=7, top_p=0.9)], ids=str)
def test_draws_follow_the_distribution(sampling):
    n, scores = 6000, scores_of(1, 12)
    drawn = choose(sampling, list(range(n)), scores.expand(n, 12))
    kept, tokens = candidates(scores, sampling)
    wanted = torch.zeros(12).scatter_(0, tokens[0], kept[0].softmax(-1)) * n
    seen = torch.bincount(drawn, minlength=12)
    assert not seen[wanted == 0].any()
    assert stats.chisquare(seen[wanted > 0].numpy(), wanted[wanted > 0].numpy(), sum_check=False).pvalue > 1e-3


@pytest.mark.parametrize("top_k", [None, 1, 5, 40, 1000])
@pytest.mark.parametrize("top_p", [None, 1e-6, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.0])
def test_candidates_are_transformers_own(top_k, top_p, temperature):
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    scores = scores_of(16, 60, seed=1)
    theirs = TemperatureLogitsWarper(temperature)(None, scores)
    theirs = TopKLogitsWarper(top_k)(None, theirs) if top_k else theirs
    theirs = TopPLogitsWarper(top_p)(None, theirs) if top_p else theirs
    kept, tokens = candidates(scores, Sampling(128, temperature, top_k, top_p))
    ours = torch.full_like(scores, -torch.inf).scatter_(1, tokens, kept)
    assert torch.equal(ours.isfinite(), theirs.isfinite())
    assert torch.allclose(ours[ours.isfinite()], theirs[theirs.isfinite()])


def test_a_row_does_not_depend_on_the_others():
    sampling, scores, seeds = Sampling(temperature=1.0, top_k=20), scores_of(8, 500), [9, 1, 7, 7, 2**31 - 1, 0, 3, 4]
    together = choose(sampling, seeds, scores)
    for row in range(8):
        assert choose(sampling, [seeds[row]], scores[row : row + 1])[0] == together[row]
    turned = list(range(8))[::-1]
    assert torch.equal(choose(sampling, [seeds[i] for i in turned], scores[turned]), together.flip(0))


def test_the_step_counts():
    chooser = Choosing(Sampling(temperature=1.0), [5] * 3)
    scores = torch.zeros(3, 1000)
    steps = [chooser(torch.zeros(3, 1), scores).argmax(-1).tolist() for _ in range(4)]
    assert all(len(set(step)) == 1 for step in steps) and len({step[0] for step in steps}) == 4


def test_greedy_leaves_scores_alone_and_top_1_is_greedy():
    scores = scores_of(4, 50)
    assert torch.equal(Choosing(GREEDY, [0] * 4)(torch.zeros(4, 1), scores), scores)
    assert torch.equal(choose(Sampling(temperature=1.0, top_k=1), [0] * 4, scores), scores.argmax(-1))


@pytest.mark.parametrize("sampling", [GREEDY, Sampling(temperature=0.7, top_k=4)], ids=str)
def test_log_probabilities_are_the_model_s(sampling):
    steps, chooser = [scores_of(3, 30, seed) for seed in range(5)], Choosing(sampling, [1, 2, 3])
    tokens = torch.stack([chooser(torch.zeros(3, 1), scores).argmax(-1) for scores in steps], 1)
    each = torch.stack([scores.log_softmax(-1) for scores in steps], 1).gather(2, tokens[..., None])[..., 0]
    assert chooser.mean_logprobs([5, 2, 0]) == [
        pytest.approx(each[0].mean().item(), abs=1e-5), pytest.approx(each[1, :2].mean().item(), abs=1e-5), None
    ]  # fmt: skip
    assert Choosing(sampling, [1]).mean_logprobs([0]) == [None]


def test_bfloat16_scores_are_taken_as_they_are():
    scores = scores_of(2, 30).bfloat16()
    assert torch.equal(
        choose(Sampling(temperature=1.0), [1, 2], scores), choose(Sampling(temperature=1.0), [1, 2], scores.float())
    )
