"""The network against a plain one written out here, its initial weights, and that it can learn a batch by heart."""

import math

import torch
from tiny_dit import tiny_recipe
from torch.nn.functional import gelu, layer_norm, linear, silu

from recap_train.diffusion.process import process_named
from recap_train.diffusion.transformer import Denoiser, Form, build, transformer_config

WIDTH = 12  # of a text token's state


def net(recipe, seed=0, shaken=True):
    """Return a network; shaken, so that no part of it gives 0."""
    network = build(recipe, WIDTH, seed)
    if shaken:
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for weight in network.parameters():
                weight += 0.1 * torch.randn(weight.shape, generator=generator)
    return network.double().eval()


def sines(positions, width):
    rates = 10000.0 ** (-torch.arange(width // 2, dtype=torch.float64) / (width // 2))
    angles = positions[:, None].double() * rates
    return angles.sin(), angles.cos()


def attention(w, name, x, context, heads, bias=None):
    q, k, v = (
        linear(s, w[f"{name}.to_{p}.weight"], w[f"{name}.to_{p}.bias"]) for s, p in ((x, "q"), (context, "k"), (context, "v"))
    )
    b, _, d = q.shape
    q, k, v = (t.view(b, -1, heads, d // heads).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.transpose(-1, -2) / math.sqrt(d // heads)
    mixed = (scores if bias is None else scores + bias).softmax(-1) @ v
    return linear(mixed.transpose(1, 2).reshape(b, -1, d), w[f"{name}.to_out.0.weight"], w[f"{name}.to_out.0.bias"])


def plain(w, config, latents, time, states, present):
    """A DiT with cross-attention and adaLN-single, in plain matrix products."""
    heads, p = config["num_attention_heads"], config["patch_size"]
    d, c = heads * config["attention_head_dim"], config["in_channels"]
    b, side = len(latents), latents.shape[-1] // p
    patches = latents.view(b, c, side, p, side, p).permute(0, 2, 4, 1, 3, 5).reshape(b, side * side, c * p * p)
    x = linear(patches, w["pos_embed.proj.weight"].reshape(d, -1), w["pos_embed.proj.bias"])
    across, down = torch.arange(side).repeat(side), torch.arange(side).repeat_interleave(side)
    x = x + torch.cat([*sines(across, d // 2), *sines(down, d // 2)], dim=1)
    sine, cosine = sines(time, 256)
    name = "adaln_single.emb.timestep_embedder.linear_"
    t = silu(linear(torch.cat([cosine, sine], 1), w[f"{name}1.weight"], w[f"{name}1.bias"]))
    t = linear(t, w[f"{name}2.weight"], w[f"{name}2.bias"])
    six = linear(silu(t), w["adaln_single.linear.weight"], w["adaln_single.linear.bias"]).view(b, 6, d)
    name = "caption_projection.linear_"
    y = gelu(linear(states, w[f"{name}1.weight"], w[f"{name}1.bias"]), approximate="tanh")
    y = linear(y, w[f"{name}2.weight"], w[f"{name}2.bias"])
    bias = torch.zeros(b, 1, 1, states.shape[1], dtype=torch.float64).masked_fill(~present[:, None, None], -torch.inf)
    for number in range(config["num_layers"]):
        at = f"transformer_blocks.{number}"
        shift, scale, gate, shift_2, scale_2, gate_2 = (w[f"{at}.scale_shift_table"] + six).chunk(6, dim=1)
        normed = layer_norm(x, (d,), eps=1e-6) * (1 + scale) + shift
        x = x + gate * attention(w, f"{at}.attn1", normed, normed, heads)
        x = x + attention(w, f"{at}.attn2", x, y, heads, bias)
        normed = layer_norm(x, (d,), eps=1e-6) * (1 + scale_2) + shift_2
        inner = gelu(linear(normed, w[f"{at}.ff.net.0.proj.weight"], w[f"{at}.ff.net.0.proj.bias"]), approximate="tanh")
        x = x + gate_2 * linear(inner, w[f"{at}.ff.net.2.weight"], w[f"{at}.ff.net.2.bias"])
    shift, scale = (w["scale_shift_table"] + t[:, None]).chunk(2, dim=1)
    x = linear(layer_norm(x, (d,), eps=1e-6) * (1 + scale) + shift, w["proj_out.weight"], w["proj_out.bias"])
    x = x.view(b, side, side, p, p, -1).permute(0, 5, 1, 3, 2, 4)
    return x.reshape(b, -1, side * p, side * p)


def inputs(b=5, length=7):
    generator = torch.Generator().manual_seed(3)
    latents = torch.randn(b, 4, 16, 16, generator=generator, dtype=torch.float64)
    states = torch.randn(b, length, WIDTH, generator=generator, dtype=torch.float64)
    present = torch.arange(length) < torch.tensor([7, 1, 3, 6, 2])[:b, None]
    return latents, torch.tensor([0.0, 1.0, 333.3, 998.0, 999.0][:b], dtype=torch.float64), states, present


def test_the_network_is_the_plain_one():
    recipe = tiny_recipe()
    network = net(recipe)
    network.adaln_single.emb.time_proj.forward = lambda t: torch.cat(sines(t, 256)[::-1], dim=1)  # diffusers' is fp32
    given = inputs()
    with torch.no_grad():
        latents, time, states, present = given
        found = network(latents, encoder_hidden_states=states, timestep=time, encoder_attention_mask=present.double()).sample
        wanted = plain(dict(network.named_parameters()), transformer_config(recipe, WIDTH), *given)
    assert found.shape == (5, 8, 16, 16)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)  # its table of positions is in fp32


def test_padding_changes_nothing():
    denoiser = Denoiser(net(tiny_recipe()).float(), Form())
    latents, time, states, present = (tensor if tensor.dtype == torch.bool else tensor.float() for tensor in inputs(2, 7))
    longer = torch.cat([states, torch.full((2, 4, WIDTH), 7.0)], dim=1)
    more = torch.cat([present, torch.zeros(2, 4, dtype=torch.bool)], dim=1)
    with torch.no_grad():
        torch.testing.assert_close(denoiser(latents, time, states, present), denoiser(latents, time, longer, more))


def test_it_begins_by_giving_nothing_and_hearing_no_text():
    network = net(tiny_recipe(), shaken=False)
    latents, time, states, present = inputs()
    with torch.no_grad():
        found = network(latents, encoder_hidden_states=states, timestep=time, encoder_attention_mask=present.double()).sample
    assert not found.any()
    assert all(not block.attn2.to_out[0].weight.any() for block in network.transformer_blocks)
    spread = network.transformer_blocks[0].attn1.to_q.weight.std().item()
    assert abs(spread - math.sqrt(2 / 32)) < 0.03  # Xavier: 2 / (in + out)


def test_initial_weights_are_a_function_of_the_seed():
    one, two, other = (net(tiny_recipe(), seed, shaken=False).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["pos_embed.proj.weight"], other["pos_embed.proj.weight"])


def test_a_batch_is_learnt_by_heart():
    torch.manual_seed(0)
    process = process_named("flow")
    recipe = tiny_recipe("flow")
    config = recipe.model_cfg | {"heads": 4, "head_width": 32}
    network = build(type(recipe)("x", config, recipe.preprocess_cfg, "", recipe.train), WIDTH, 0)
    denoiser = Denoiser(network, Form())
    latents, _, states, present = (tensor if tensor.dtype == torch.bool else tensor.float() for tensor in inputs(4))
    added, time = torch.randn_like(latents), torch.tensor([100.0, 400.0, 700.0, 950.0])
    optimizer = torch.optim.AdamW(denoiser.parameters(), lr=3e-3, weight_decay=0.0)
    losses = []
    for step in range(250):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * (1 - step / 250)
        optimizer.zero_grad()
        output = denoiser(process.noised(latents, added, time), time, states, present)
        loss = process.losses(output, latents, added, time).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 1.5 and losses[-1] < 0.01, (losses[0], losses[-1])
