"""The engine against plain references: open_clip's loss in a short loop, the whole batch's gradient, hand-counted work."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support import make_run
from torch.nn.functional import normalize

from recap_eval.artifact import find_artifact
from recap_eval.errors import DataError, UserError
from recap_eval.models.text import encode_text_trimmed
from recap_eval.signals import Stopped
from recap_train import clip
from recap_train.attention import plain_attention
from recap_train.clip import build_model, make_loop, train
from recap_train.contrastive import Contrastive
from recap_train.engine import Engine, duration
from recap_train.gpus import peak_of
from recap_train.masking import kept_patches
from recap_train.meter import Meter
from recap_train.parallel import World
from recap_train.recipes import TRAIN_DEFAULTS, load_recipe
from recap_train.run import identity_of
from recap_train.schedule import make_optimizer
from recap_train.training_data import plan_of, read_training_data, some_captions


def weights(folder):
    from safetensors.torch import load_file

    return load_file(folder / "open_clip_model.safetensors")


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def prepared(run):
    """A run's loop and feed, without training."""
    data = read_training_data(run)
    net, tokenizer, _ = build_model(run, some_captions(data))
    feed = data.feed(run, plan_of(run, data), tokenizer)
    return make_loop(run, net, feed, "x", World()), feed, net


def test_at_its_defaults_it_is_the_plain_loop_bit_for_bit(world, tmp_path):
    """The loop as one would write it by hand: open_clip's model and loss, torch's AdamW, and nothing else."""
    from open_clip.loss import ClipLoss

    run = make_run(world, tmp_path / "ours", 0.5, 2, samples=6 * 128)
    train(run)
    _, feed, net = prepared(replace(run, out=tmp_path / "theirs"))
    schedule, pre = run.schedule(), run.recipe.preprocess_cfg
    mean, std = (torch.tensor(pre[name])[:, None, None] * 255 for name in ("mean", "std"))
    matrices, vectors = ([w for w in net.parameters() if (w.ndim > 1) == big] for big in (True, False))
    groups = [{"params": matrices, "weight_decay": schedule.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1.0, betas=schedule.betas, fused=True)
    with plain_attention():
        for step in range(schedule.steps):
            batch = feed.batch(step * 128, step * 128 + 128)
            for group in optimizer.param_groups:
                group["lr"] = schedule.lr_at(step)
            image = net.encode_image((batch.pixels.float() - mean) / std)
            text = encode_text_trimmed(net, batch.tokens, 4)
            optimizer.zero_grad()
            ClipLoss()(normalize(image, dim=-1), normalize(text, dim=-1), net.logit_scale.exp()).backward()
            optimizer.step()
            net.logit_scale.data.clamp_(0, np.log(100))
    assert same(weights(tmp_path / "ours"), net.state_dict())


def test_identities_of_before_are_the_identities_of_now(world, tmp_path):
    """What changes no weights is no part of the identity; what does, is one when it is asked for."""
    from recap_eval.files import digest_json

    run = make_run(world, tmp_path / "r")
    parts = [run.recipe.digest, 0.5, 512, 0, run.roles, "fp32", "data"]
    assert identity_of(run, "data") == digest_json(parts)
    harmless = Engine(micro_batch=32, grad_checkpointing=True, compile=True, parallel="fsdp", save_seconds=1, keep_every=128)
    assert identity_of(replace(run, engine=harmless), "data") == digest_json(parts)
    for engine in (Engine(mask_images=0.5), Engine(ema=0.9)):
        assert identity_of(replace(run, engine=engine), "data") != digest_json(parts)
    recipe = load_recipe("scenes-tiny")
    assert set(recipe.train) == set(TRAIN_DEFAULTS) and recipe.digest.startswith("c4706d8e3412362a")


def gradient(run, step=0, **changes):
    """The first batch's gradient and loss under an engine."""
    loop, feed, net = prepared(run)
    objective = replace(loop.objective, **changes)
    with plain_attention():
        loss = objective.backward(feed.batch(0, run.recipe.train["batch_size"]), step)
    return torch.cat([weight.grad.flatten() for weight in net.parameters()]), loss.item(), net


@pytest.mark.parametrize("share", [0.0, 0.5, 0.75])
def test_micro_batches_have_the_gradient_of_the_whole_batch(world, tmp_path, share):
    """Where patches are dropped too, for which open_clip's accumulation has a cosine of 0.66 at three quarters."""
    run = make_run(world, tmp_path / "r", engine=Engine(mask_images=share))
    whole, loss, _ = gradient(run)
    for size in (32, 50):  # 50 leaves a smaller last one
        parts, again, _ = gradient(run, micro_batch=size)
        assert torch.linalg.norm(parts - whole) <= 1e-5 * torch.linalg.norm(whole)
        assert again == pytest.approx(loss, rel=1e-6)


def test_micro_batches_meet_the_same_dropout_twice(world, tmp_path, monkeypatch):
    """The gradient is the one of the features that the loss saw: made in one graph, under the same dice."""
    from recap_train.contrastive import batch_loss

    build = clip.build_model

    def with_dropout(*args):
        net, *rest = build(*args)
        for block in net.visual.transformer.resblocks:
            block.mlp.add_module("dropout", torch.nn.Dropout(0.3))
        return net, *rest

    monkeypatch.setitem(globals(), "build_model", with_dropout)
    run = make_run(world, tmp_path / "r")
    cached, _, _ = gradient(run, step=3, micro_batch=32)
    loop, feed, net = prepared(run)
    inputs = loop.objective.inputs(feed.batch(0, 128))
    with plain_attention():
        made = []
        for number, part in enumerate(inputs.split(32)):
            with loop.objective._dice(3, number):
                made.append(loop.objective.towers(*part))
        image, text = (torch.cat([part[k] for part in made]) for k in (0, 1))
        batch_loss(image, text, made[0][2], inputs.valid, World()).backward()
    plain = torch.cat([weight.grad.flatten() for weight in net.parameters()])
    assert torch.linalg.norm(cached - plain) <= 1e-5 * torch.linalg.norm(plain)
    state = torch.random.get_rng_state()
    other, _, _ = gradient(run, step=4, micro_batch=32)
    assert torch.linalg.norm(cached - other) > 0.01 * torch.linalg.norm(plain)
    assert state.shape == torch.random.get_rng_state().shape


def test_kept_patches_are_a_function_of_sample_and_epoch():
    keys, epochs = np.arange(4000, dtype=np.uint64), np.repeat([0, 1], 2000)
    kept = kept_patches(keys, epochs, 16, 0.75, 7)
    assert kept.shape == (4000, 4) and (np.diff(kept, axis=1) > 0).all()
    assert (kept_patches(keys[1990:2010], epochs[1990:2010], 16, 0.75, 7) == kept[1990:2010]).all()
    assert (kept_patches(keys[:9], epochs[:9] + 1, 16, 0.75, 7) != kept[:9]).any()
    assert (kept_patches(keys[:9], epochs[:9], 16, 0.75, 8) != kept[:9]).any()
    counts = np.bincount(kept.ravel(), minlength=16)
    assert abs(counts - 1000).max() < 5 * np.sqrt(4000 * 0.25 * 0.75)  # uniform over patches
    pairs = np.zeros((16, 16))
    for row in kept:
        pairs[np.ix_(row, row)] += 1
    assert abs(pairs[~np.eye(16, dtype=bool)] - 200).max() < 5 * np.sqrt(200)  # and over pairs of them
    assert kept_patches(keys[:2], epochs[:2], 16, 0.99, 0).shape == (2, 1)


def test_a_masked_image_is_its_kept_patches(world, tmp_path):
    """What a masked forward pass gives does not depend on the pixels of the patches left out."""
    loop, feed, _ = prepared(make_run(world, tmp_path / "r", engine=Engine(mask_images=0.5)))
    batch = feed.batch(0, 4)
    inputs = loop.objective.inputs(batch)
    assert inputs.kept.shape == (4, 8)
    pixels = inputs.pixels.clone().reshape(4, 3, 4, 8, 4, 8)
    for row, kept in enumerate(inputs.kept):
        for patch in set(range(16)) - set(kept.tolist()):
            pixels[row, :, patch // 4, :, patch % 4] = 0
    towers = loop.objective.towers
    with torch.no_grad():
        whole, _, _ = towers(inputs.pixels, inputs.tokens, inputs.kept)
        blanked, _, _ = towers(pixels.reshape(4, 3, 32, 32), inputs.tokens, inputs.kept)
        other, _, _ = towers(pixels.reshape(4, 3, 32, 32), inputs.tokens, torch.arange(8).expand(4, -1))
        seen, _, _ = towers(inputs.pixels, inputs.tokens)
    assert torch.equal(whole, blanked) and not torch.allclose(whole, other)
    assert not torch.allclose(seen, whole) and towers.model.visual.patch_dropout.kept is None  # an evaluation sees all


def test_grad_checkpointing_and_compile_change_no_gradient(world, tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda call: compiled.append(type(call.__self__).__name__) or call)
    run = make_run(world, tmp_path / "r")
    plain, _, _ = gradient(run)
    saved, _, net = gradient(replace(run, engine=Engine(grad_checkpointing=True, compile=True)))
    assert torch.allclose(saved, plain, atol=1e-7) and net.transformer.grad_checkpointing
    assert compiled == ["ResidualAttentionBlock"] * 5


def test_another_image_size(world, tmp_path):
    """Position embeddings for another grid: a fixed one is the model's own, a learned one is interpolated by open_clip."""
    import open_clip

    from recap_train.recipes import at_image_size
    from recap_train.weights import load_weights

    recipe = at_image_size(load_recipe("scenes-tiny"), 16)
    train(make_run(world, tmp_path / "small", samples=128, recipe=recipe))
    small = weights(tmp_path / "small")
    assert small["visual.positional_embedding"].shape == (5, 96)
    assert open_clip.create_model(f"local-dir:{tmp_path / 'small'}", require_pretrained=True).visual.image_size == (16, 16)
    config = json.loads((tmp_path / "small" / "open_clip_config.json").read_text())["model_cfg"]
    config["vision_cfg"]["image_size"] = 32
    config["text_cfg"].pop("hf_tokenizer_name")
    large = open_clip.CLIP(**config)
    load_weights(large, tmp_path / "small")
    fitted = large.state_dict()["visual.positional_embedding"]
    assert fitted.shape == (17, 96) and torch.equal(fitted[0], small["visual.positional_embedding"][0])
    config["vision_cfg"]["pos_embed_type"] = "sin_cos_2d"
    fixed = open_clip.CLIP(**config)
    own = fixed.visual.positional_embedding.clone()
    load_weights(fixed, tmp_path / "small")
    assert torch.equal(fixed.visual.positional_embedding, own)
    with pytest.raises(UserError, match="no multiple of the patch size 8"):
        at_image_size(load_recipe("scenes-tiny"), 30)


def test_the_average_of_the_weights_is_an_artifact_of_its_own(world, tmp_path):
    """Against the average computed by hand; the weights themselves are those of a run without one."""
    import open_clip

    schedule, decay = 4 * 128, 0.8
    train(make_run(world, tmp_path / "plain", samples=schedule))
    run = make_run(world, tmp_path / "r", samples=schedule, engine=Engine(ema=decay))
    loop, _, net = prepared(replace(run, engine=Engine()))
    by_hand = {name: value.clone() for name, value in net.state_dict().items()}

    def follow(*_):
        for name, value in net.state_dict().items():
            by_hand[name] = decay * by_hand[name] + (1 - decay) * value

    loop.hooks = (follow,)
    with plain_attention():
        loop.run()
    for file in (tmp_path / "r").iterdir():
        file.unlink()
    train(run)
    assert same(weights(tmp_path / "r"), weights(tmp_path / "plain"))
    averaged = weights(tmp_path / "r" / "ema")
    assert all(torch.allclose(averaged[name], by_hand[name], atol=1e-6) for name in averaged)
    open_clip.create_model(f"local-dir:{tmp_path / 'r' / 'ema'}", require_pretrained=True)
    one, two = find_artifact(tmp_path / "r"), find_artifact(tmp_path / "r" / "ema")
    assert two.name == f"{one.name}-ema" and two.made["ema"] == decay and two.revision != one.revision
    assert train(run)[1]


def interrupted(run, steps):
    """Train, asked to stop after each of `steps` and called again, to the end."""
    import os
    import signal

    real = clip.make_loop

    def hooked(at, number):
        def make(*args):
            loop = real(*args)
            loop.hooks = (lambda progress, _: progress.step == at and os.kill(os.getpid(), number),)
            return loop

        return make

    for at, number in steps:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(clip, "make_loop", hooked(at, number))
            with pytest.raises(Stopped, match=f"step {at} ") as stop:
                train(run)
        assert stop.value.exit_code == (0 if number == signal.SIGTERM else 130)
    train(run)


def test_stopped_and_gone_on_with_all_of_it_on(world, tmp_path):
    import signal

    engine = Engine(mask_images=0.5, micro_batch=50, ema=0.9, keep_every=200)
    recipe = load_recipe("scenes-tiny")
    recipe = replace(recipe, train=recipe.train | {"grad_clip": 1.0, "eps": 1e-6, "lr_schedule": "constant"})
    run = make_run(world, tmp_path / "whole", samples=6 * 128, recipe=recipe, engine=engine)
    train(run)
    again = replace(run, out=tmp_path / "again")
    interrupted(again, [(2, signal.SIGTERM), (5, signal.SIGINT)])
    assert same(weights(run.out), weights(again.out)) and same(weights(run.out / "ema"), weights(again.out / "ema"))
    logs = [[json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()] for out in (run.out, again.out)]
    assert len(logs[0]) == 1 and [[entry["loss"] for entry in log] for log in logs] == [[logs[0][0]["loss"]]] * 2
    kept = [sorted(path.name for path in (out / "checkpoints").iterdir()) for out in (run.out, again.out)]
    assert kept[0] == kept[1] == ["000000000256.pt", "000000000512.pt", "000000000640.pt"]
    assert torch.load(run.out / "checkpoints" / kept[0][0])["progress"]["step"] == 2


def test_a_second_interrupt_ends_at_once_but_not_a_second_sigterm():
    import os
    import signal

    from recap_eval.signals import stop_signals

    with stop_signals(launched=False) as wishes:
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), number)
        assert wishes.term and wishes.interrupt
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    with stop_signals(launched=True):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)


def test_weights_that_are_not_finite_are_not_saved(world, tmp_path, monkeypatch):
    """A loss may be finite and its gradient not: what was saved before stays."""

    def spoil(self, batch, step):
        for weight in self.towers.parameters():
            weight.grad = torch.full_like(weight, float("nan") if step == 2 else 0.0)
        return torch.tensor(1.0)

    monkeypatch.setattr(Contrastive, "backward", spoil)
    run = make_run(world, tmp_path / "r", engine=Engine(save_seconds=0.0))
    with pytest.raises(DataError, match="not finite after step 3"):
        train(run)
    assert torch.load(run.out / "checkpoint.pt")["progress"]["step"] == 2


def test_hooks_are_called_after_each_step_and_cost_no_training_time(world, tmp_path):
    import time

    seen = []

    def slow(progress, stop_wished):
        assert not stop_wished()
        seen.append(progress.step)
        time.sleep(0.5)

    loop, _, _ = prepared(make_run(world, tmp_path / "r", samples=2 * 128))
    loop.hooks = (slow,)
    with plain_attention():
        progress = loop.run()
    assert seen == [1, 2] and progress.seconds + progress.waited > 0
    assert loop.meter.seconds == 0.0 and progress.waited < 0.5


def test_work_is_counted_as_by_hand(world, tmp_path):
    """Multiplications and additions of a ViT's forward pass, times three; masking halves what it should."""

    def work(share):
        loop, feed, _ = prepared(make_run(world, tmp_path / f"r{share}", engine=Engine(mask_images=share)))
        with plain_attention():
            return loop.objective.flops(feed.batch(0, 1))

    def tower(tokens, layers, width=96):
        return layers * (24 * tokens * width**2 + 4 * tokens**2 * width)

    _, feed, _ = prepared(make_run(world, tmp_path / "x"))
    length = int(feed.batch(0, 1).tokens.argmax(-1)) + 1
    patches = 2 * 16 * 8 * 8 * 3 * 96
    rest = patches + 2 * 96 * 96 * 2  # two projections
    for share, tokens in ((0.0, 17), (0.5, 9)):
        assert work(share) == pytest.approx(3 * (tower(tokens, 3) + tower(length, 2) + rest), rel=1e-3)


def test_the_meter_knows_devices_and_tells_the_share_of_their_peak():
    assert peak_of("NVIDIA H100 80GB HBM3", "bf16") == 989.4 and peak_of("NVIDIA H100 PCIe", "bf16") == 756.0
    assert peak_of("NVIDIA A100-SXM4-80GB", "fp32") == 19.5 and peak_of("AMD EPYC", "bf16") is None
    meter = Meter(World(size=2), peak_tflops=1.0, flops=1e9)
    meter.add(1000, 2.0, 0.5)
    facts = meter.read()
    assert facts["samples_per_second"] == 500 and facts["data_wait_share"] == 0.25 and facts["mfu"] == 0.25
    assert 0.05 < facts["peak_memory_gib"] < 50 and "mfu" not in Meter(flops=1e9).read()
    assert "MFU is left out" in Meter(flops=1e9).describe() and "--peak-tflops" in Meter().describe()


def test_tensorboard_is_written_where_it_is_there(world, tmp_path, monkeypatch):
    import sys

    written = []
    fake = SimpleNamespace(add_scalar=lambda *entry: written.append(entry), close=lambda: None)
    module = SimpleNamespace(SummaryWriter=lambda folder, purge_step: fake)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    run = make_run(world, tmp_path / "r", samples=128, engine=Engine(tensorboard=True))
    train(run)
    assert {name for name, _, _ in written} >= {"train/loss", "train/lr", "train/samples_per_second"}
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match="not installed"):
        train(replace(run, out=tmp_path / "s"))


def test_frozen_weights_are_left_alone(world, tmp_path):
    import open_clip

    config = load_recipe("scenes-tiny").model_cfg
    net = open_clip.CLIP(**(config | {"vision_cfg": config["vision_cfg"] | {"pos_embed_type": "sin_cos_2d"}}))
    optimizer = make_optimizer(net, make_run(world, tmp_path).schedule())
    held = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
    assert id(net.visual.positional_embedding) not in held and len(held) == len(list(net.parameters())) - 1


def test_settings_that_make_no_sense():
    assert [duration(text) for text in ("90", "90s", "10m", "0.5h")] == [90, 90, 600, 1800]
    for bad in (Engine, {"mask_images": 1.0}), (Engine, {"mask_images": -0.1}), (Engine, {"ema": 1.0}):
        with pytest.raises(UserError):
            bad[0](**bad[1])


@pytest.mark.parametrize(
    ("words", "fragments"),
    [
        (["--mask-images", "1.5"], ["--mask-images 1.5", "[0, 1)"]),
        (["--ema", "2"], ["--ema 2.0", "0.9999"]),
        (["--image-size", "30"], ["multiple of the patch size 8", "nearest is 32"]),
        (["--device", "cuda"], ["no GPU", "nvidia-smi"]),
    ],
)
def test_wrong_words_about_the_engine(words, fragments, world, tmp_path, capsys, monkeypatch):
    from recap_train.cli import main

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    base = ["clip", "--data", world, "--model", "scenes-tiny", "--p-original", "0.5", "--samples-seen", "256"]
    assert main([*map(str, base), "--out", str(tmp_path / "o"), *words]) == 2
    told = capsys.readouterr().err
    assert all(fragment in told for fragment in fragments) and not (tmp_path / "o").exists()


def test_words_reach_the_engine():
    from recap_train.cli import build_parser
    from recap_train.requests import engine_of

    need = ["clip", "--data", "d", "--model", "m", "--p-original", "1", "--samples-seen", "1", "--out", "o"]
    assert engine_of(build_parser().parse_args(need), None) == Engine()
    more = "--device cpu --parallel fsdp --micro-batch 8 --mask-images 0.5 --ema 0.9 --grad-checkpointing --compile --tf32"
    more += " --save-every 2m --keep-every 1e6 --tensorboard --peak-tflops 3"
    wanted = Engine("cpu", "fsdp", 8, 0.5, 0.9, True, True, True, 120.0, 1_000_000, True, 3.0)
    args = build_parser().parse_args([*need, *more.split()])
    assert engine_of(args, args.ema, args.mask_images) == wanted
