"""Text states that the first layer sees whitened: what is folded in, what is degenerate, and which recipes ask for it."""

import numpy as np
import pytest
import torch
from tiny_dit import tiny_parts, tiny_recipe

from recap_eval.errors import DataError
from recap_train.diffusion.recipe import load_image_recipe, names_of
from recap_train.diffusion.run import open_encoders
from recap_train.diffusion.transformer import build
from recap_train.diffusion.whitening import begin_whitened, moments_of

WIDTH = 12


def states_of(n=4000, empty=0):
    """Return states of which some directions hardly vary, and some not at all."""
    rng = np.random.default_rng(0)
    spread = np.geomspace(3.0, 0.02, WIDTH)
    spread[WIDTH - empty :] = 0.0
    mixed = np.linalg.qr(rng.normal(size=(WIDTH, WIDTH)))[0]
    return torch.tensor(rng.normal(size=(n, WIDTH)) * spread @ mixed + rng.normal(size=WIDTH) * 5)


@pytest.mark.parametrize("empty", [0, 3])
def test_the_first_layer_sees_states_of_mean_0_and_variance_1(empty):
    states = states_of(empty=empty)
    torch.manual_seed(3)
    network = build(tiny_recipe(), WIDTH, 0)
    begin_whitened(network, states.mean(dim=0), torch.cov(states.T))
    layer = network.caption_projection.linear_1
    weight, bias = (one.detach().double().numpy() for one in (layer.weight, layer.bias))
    seen = states.numpy() @ weight.T + bias
    assert np.isfinite(seen).all() and np.abs(seen.mean(axis=0)).max() < 1e-4
    if not empty:  # with numpy's root of the covariance undone, what is left is as it was drawn, each direction alike
        drawn = weight @ np.linalg.cholesky(np.cov(states.numpy().T))
        assert np.linalg.cond(drawn) < 30 and seen.var(axis=0).mean() == pytest.approx(1.0, rel=0.3)


def test_moments_are_those_of_all_tokens_that_are_there(world, models, tmp_path):
    recipe = load_image_recipe("dit-scenes", "dit")
    encoders = open_encoders(recipe, tiny_parts(tmp_path, models[0.0, 0]), "cpu")
    texts = [f"a {colour} circle" for colour in ("red", "blue")] * 40 + ["a large green star in the top left"]
    mean, covariance = moments_of(encoders, texts)
    rows = []
    for text in texts:
        states, present = encoders.states(encoders.text.tokens([text]))
        rows.append(states[present].double().numpy())
    rows = np.concatenate(rows)
    assert np.allclose(mean, rows.mean(axis=0), atol=2e-3) and np.allclose(covariance, np.cov(rows.T), atol=1e-2)
    with pytest.raises(DataError, match="no tokens"):
        moments_of(encoders, [])


def test_only_the_recipe_of_scenes_asks_for_it():
    asked = {name: load_image_recipe(name, "dit").model_cfg["text_whitening"] for name in names_of("dit")}
    assert [name for name, whitened in asked.items() if whitened] == ["dit-scenes"]
