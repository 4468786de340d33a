"""The processes against closed forms and against diffusers' own schedulers."""

import numpy as np
import pytest
import torch
from scipy import stats

from recap_eval.errors import UserError
from recap_eval.hashrand import text_key
from recap_train.diffusion import noise
from recap_train.diffusion.process import PROCESSES, Epsilon, Flow, process_named


def drawn(b=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(b, 4, 3, 3, generator=generator, dtype=torch.float64) for _ in range(3))


def test_noised_latents_are_those_of_diffusers():
    from diffusers import DDPMScheduler

    clean, added, _ = drawn()
    time = torch.tensor([0, 1, 10, 500, 998, 999])
    theirs = DDPMScheduler(num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
    torch.testing.assert_close(Epsilon().noised(clean, added, time), theirs.add_noise(clean, added, time), rtol=1e-4, atol=1e-6)


def test_the_bound_is_the_divergence_of_two_normal_distributions():
    """Posterior and prediction written out for each step, their divergence by torch.distributions."""
    process = Epsilon()
    clean, added, guess = drawn()
    time = torch.tensor([1, 2, 50, 400, 998, 999])
    place = torch.linspace(-1, 1, clean.numel(), dtype=torch.float64).reshape(clean.shape)
    found = process.bound(guess, place, clean, added, time)
    betas = np.linspace(1e-4, 0.02, 1000)
    kept = np.cumprod(1 - betas)
    for row, t in enumerate(time.tolist()):
        noised = np.sqrt(kept[t]) * clean[row] + np.sqrt(1 - kept[t]) * added[row]
        variance = betas[t] * (1 - kept[t - 1]) / (1 - kept[t])

        def mean(x0, noised=noised, t=t):
            first = np.sqrt(kept[t - 1]) * betas[t] / (1 - kept[t]) * x0
            return first + np.sqrt(1 - betas[t]) * (1 - kept[t - 1]) / (1 - kept[t]) * noised

        share = (place[row] + 1) / 2
        log_variance = share * np.log(betas[t]) + (1 - share) * np.log(variance)
        x0 = (noised - np.sqrt(1 - kept[t]) * guess[row]) / np.sqrt(kept[t])
        true = torch.distributions.Normal(mean(clean[row]), np.sqrt(variance))
        ours = torch.distributions.Normal(mean(x0), (0.5 * log_variance).exp())
        wanted = torch.distributions.kl_divergence(true, ours).mean() / np.log(2)
        assert found[row].item() == pytest.approx(wanted.item(), rel=1e-6)


def test_the_first_step_is_the_likelihood_of_a_bin():
    clean, added, guess = drawn(1)
    place = torch.zeros_like(clean)
    found = Epsilon().bound(guess, place, clean, added, torch.tensor([0]))
    betas = np.linspace(1e-4, 0.02, 1000)
    kept = np.cumprod(1 - betas)
    variance = betas[1] * (1 - kept[0]) / (1 - kept[1])
    noised = np.sqrt(kept[0]) * clean + np.sqrt(1 - kept[0]) * added
    mean = (noised - np.sqrt(1 - kept[0]) * guess) / np.sqrt(kept[0])  # all of the weight is on the clean one
    scale = np.exp(0.25 * (np.log(variance) + np.log(betas[0])))
    upper, lower = (stats.norm.cdf((clean + sign / 255).numpy(), mean.numpy(), scale) for sign in (1, -1))
    upper = np.where(clean.numpy() > 0.999, 1, upper)
    lower = np.where(clean.numpy() < -0.999, 0, lower)
    wanted = -np.log(np.maximum(upper - lower, 1e-12)).mean() / np.log(2)
    assert found.item() == pytest.approx(wanted, rel=1e-6)


def test_the_variance_is_taught_without_moving_the_noise():
    output = torch.zeros(2, 8, 3, 3, requires_grad=True)
    clean, added = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3)
    Epsilon().losses(output, clean, added, torch.tensor([5, 900])).sum().backward()
    wanted = -2 * added / 36
    torch.testing.assert_close(output.grad[:, :4], wanted)
    assert output.grad[:, 4:].abs().sum() > 0


@pytest.mark.parametrize("name", PROCESSES)
def test_a_perfect_network_has_no_loss(name):
    process = PROCESSES[name]
    clean, added = torch.randn(3, 4, 2, 2), torch.randn(3, 4, 2, 2)
    time = process.times(torch.tensor([0.3, 0.5, 0.999]))
    perfect = added - clean if isinstance(process, Flow) else added
    if process.channels == 2:
        perfect = torch.cat([perfect, -torch.ones_like(added)], dim=1)
    torch.testing.assert_close(process.losses(perfect, clean, added, time), torch.zeros(3), atol=1e-3, rtol=0)


def test_times_cover_what_they_should():
    even = torch.linspace(0, 1, 10_001)[:-1]
    assert Epsilon().times(even).min() == 0 and Epsilon().times(even).max() == 999
    lean = Flow(logit_normal=True).times(even.double()) / 1000
    assert stats.kstest(np.log((lean / (1 - lean)).numpy()), "norm").statistic < 1e-3
    assert bool(torch.isfinite(Flow(logit_normal=True).times(torch.zeros(1))).all())


def test_names():
    with pytest.raises(UserError, match="flwo") as error:
        process_named("flwo")
    assert "flow" in error.value.hint


def test_noise_is_normal_and_of_its_sample_alone():
    keys = np.array([text_key(str(number)) for number in range(200)], dtype=np.uint64)
    epochs = np.zeros(200, dtype=np.int64)
    drawn = noise.normals(keys, epochs, 0, noise.NOISE, (4, 8, 8))
    assert drawn.dtype == np.float32 and np.isfinite(drawn).all()
    assert stats.kstest(drawn.ravel(), "norm").pvalue > 0.01
    assert abs(np.corrcoef(drawn[:, 0].ravel(), drawn[:, 2].ravel())[0, 1]) < 0.03
    np.testing.assert_array_equal(noise.normals(keys[7:9], epochs[7:9], 0, noise.NOISE, (4, 8, 8)), drawn[7:9])
    for other in (noise.normals(keys, epochs + 1, 0, noise.NOISE, (4,)), noise.normals(keys, epochs, 1, noise.NOISE, (4,))):
        assert (other != drawn.reshape(200, -1)[:, :4]).all()
    assert noise.normals(keys[:0], epochs[:0], 0, noise.NOISE, (3,)).shape == (0, 3)
    assert noise.normals(keys[:1], epochs[:1], 0, noise.NOISE, (3,)).shape == (1, 3)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_a_gpu_draws_the_noise_that_a_processor_draws(device):
    keys = np.array([text_key(str(n)) for n in range(64)] + [0, 2**64 - 1], dtype=np.uint64)
    epochs = np.arange(len(keys), dtype=np.int64) % 3
    for shape in ((4, 16, 16), (3,), (1, 1)):
        drawn = noise._drawn_there(device, noise._bases(keys, epochs, 5, noise.NOISE), shape)
        expected = noise.normals(keys, epochs, 5, noise.NOISE, shape)
        assert drawn.dtype == torch.float32
        np.testing.assert_allclose(drawn.cpu().numpy(), expected, rtol=1e-4, atol=2e-5)
