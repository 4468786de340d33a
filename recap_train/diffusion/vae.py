"""`recap-train vae`: a small AutoencoderKL for a small world, so that scenes take the way of latents without anybody's weights.

The loss is the squared error of the pixels and a light pull of the posterior towards the standard normal; no perceptual and no
adversarial part. When it is trained, the latents' deviation is measured and written as `scaling_factor`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch  # noqa: TID253

from recap_eval.artifact import Artifact, write_artifact
from recap_eval.provenance import run_record
from recap_train.diffusion import noise
from recap_train.diffusion.autoencoder import Autoencoder, sampled, scaled
from recap_train.diffusion.frozen import still
from recap_train.loop import Loop, Progress
from recap_train.parallel import World, joined, spread
from recap_train.run import Run
from recap_train.states import Spread, State
from recap_train.training import Opened, assemble, completed, made_of, open_run, speed_of
from recap_train.workers import worker_errors

if TYPE_CHECKING:
    from recap_train.loader import Batch, Batches

CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"
OWN = frozenset({CONFIG, WEIGHTS})
MEASURED = 4096  # images of which the scale is measured


def build(run: Run) -> Any:
    """Return the auto-encoder with its initial weights, which are a function of the seed."""
    from diffusers import AutoencoderKL

    config = run.recipe.model_cfg
    widths = tuple(config["widths"])
    torch.manual_seed(run.seed)
    return AutoencoderKL(
        block_out_channels=widths, layers_per_block=config["layers_per_block"], norm_num_groups=config["groups"],
        latent_channels=config["latent_channels"], sample_size=config["image_size"], mid_block_add_attention=False,
        down_block_types=("DownEncoderBlock2D",) * len(widths), up_block_types=("UpDecoderBlock2D",) * len(widths),
        scaling_factor=1.0,
    )  # fmt: skip


class Reconstruction(torch.nn.Module):
    """Pixels to the loss of each image.

    Args:
        model: diffusers' AutoencoderKL.
        kl_weight: Of the pull towards the standard normal.
        bf16: Under bf16 autocast.
        device: "cpu" or a GPU.
    """

    def __init__(self, model: Any, kl_weight: float, bf16: bool, device: str) -> None:
        super().__init__()
        self.model, self.kl_weight, self.bf16, self.device = model, kl_weight, bf16, device

    def forward(self, pixels: torch.Tensor, draw: torch.Tensor) -> torch.Tensor:
        """Return (B,) losses.

        Args:
            pixels: (B, 3, S, S) of 0 to 255.
            draw: (B, C, h, w) standard normal numbers.
        """
        wanted = scaled(pixels)
        with torch.autocast(self.device.partition(":")[0], torch.bfloat16, enabled=self.bf16):
            moments = self.model.quant_conv(self.model.encoder(wanted))
            found = self.model.decoder(self.model.post_quant_conv(sampled(moments, draw)))
        mean, log_variance = moments.float().chunk(2, dim=1)
        pull = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).flatten(1).mean(dim=1)
        return ((found.float() - wanted) ** 2).flatten(1).mean(dim=1) + self.kl_weight * pull  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Coding:
    """What `Loop` trains: the auto-encoder under its loss.

    Args:
        spread: It as this process calls it.
        world: The processes.
        latent: Shape of an image's latents.
        seed: The run's seed.
    """

    spread: Spread
    world: World
    latent: tuple[int, ...]
    seed: int

    def backward(self, batch: Batch, step: int) -> torch.Tensor:
        """Add a batch's gradients to the weights' and return its loss; the mean over processes is the whole batch's."""
        share = self.world.size / max(1.0, self.world.total(len(batch.keys))[0])
        loss = self.spread.module(*self._inputs(batch)).sum() * share
        loss.backward()
        return loss.detach()  # type: ignore[no-any-return]

    def _inputs(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        device = self.world.device
        draw = noise.normals_on(device, batch.keys, batch.epochs, self.seed, noise.POSTERIOR, self.latent)
        return batch.pixels.to(device), draw

    def after_step(self) -> None:
        """Nothing follows a step."""

    def facts(self) -> dict[str, float]:
        """Return what the log tells beside the loss: nothing."""
        return {}

    def flops(self, batch: Batch) -> float:
        """Return the operations that training on one image takes."""
        from torch.utils.flop_counter import FlopCounterMode

        counter = FlopCounterMode(display=False)
        with torch.no_grad(), counter:
            self.spread.module(*self._inputs(batch))
        return 3.0 * counter.get_total_flops() / max(1, len(batch.keys))


def no_tokens(texts: list[str]) -> torch.Tensor:
    """Stand in for a tokenizer where texts are not read."""
    return torch.zeros(len(texts), 1, dtype=torch.long)


def train(run: Run) -> tuple[Artifact, bool]:
    """Train, or go on, or find the finished artifact.

    Returns:
        The artifact, and whether it was there already.

    Raises:
        UserError, DataError: See the parts.
        Stopped: A signal stopped the run; the same command goes on.
    """
    with joined(run.engine.device, run.engine.parallel) as world:
        opened = open_run(run, world, own=OWN)
        if opened.known is not None:
            return opened.known, True
        feed = opened.data.feed(run, opened.plan, no_tokens)
        loop = make_loop(run, feed, opened.identity, world)
        with worker_errors():
            progress = loop.run()
        return _finish(run, loop, opened, progress, feed), False


def make_loop(run: Run, feed: Batches, identity: str, world: World) -> Loop:
    """Return the loop that trains an auto-encoder."""
    config = run.recipe.model_cfg
    model = Reconstruction(build(run), config["kl_weight"], run.precision == "bf16", world.device).to(world.device)
    held = Spread(*spread(model, [model.model.encoder, model.model.decoder], world))
    side = config["image_size"] // 2 ** (len(config["widths"]) - 1)
    objective = Coding(held, world, (config["latent_channels"], side, side), run.seed)
    return assemble(run, objective, held, feed, identity, world)


def _finish(run: Run, loop: Loop, opened: Opened, progress: Progress, feed: Batches) -> Artifact:
    state = loop.spread.weights()
    if loop.world.main:
        vae = build(run)
        vae.load_state_dict(plain(state))
        found = measure(still(vae).to(loop.world.device), feed, min(MEASURED, len(opened.data)))
        vae.register_to_config(scaling_factor=round(1 / found["deviation"], 5))
        vae.save_pretrained(run.out)
        made = made_of(run, loop, opened.data, loop.seen, progress.ledger) | {"measured": found}
        write_artifact(
            run.out, "autoencoder", run.name, sorted(OWN), made, run_record(progress.seconds) | speed_of(loop, progress)
        )
    return completed(run, loop)


def plain(state: State) -> State:
    """Return weights under the names that diffusers gives them."""
    return {name.removeprefix("model."): weight for name, weight in state.items()}


def measure(vae: Any, feed: Batches, images: int, size: int = 64) -> dict[str, float]:
    """Measure an auto-encoder on images.

    Args:
        vae: diffusers' AutoencoderKL, with a scaling factor of 1.
        feed: Gives the images.
        images: How many.
        size: How many at a time.

    Returns:
        The latents' mean and deviation; the signal-to-noise ratio of reconstructed pixels in dB, from the posterior's mean.
    """
    coder, errors, latents = Autoencoder(vae, ""), [], []
    with torch.no_grad():
        for start in range(0, images, size):
            batch = feed.batch(start, min(start + size, images))
            pixels = batch.pixels.to(vae.device)
            moments = coder.moments(pixels)
            shape = (moments.shape[1] // 2, *moments.shape[2:])
            draw = noise.normals_on(str(vae.device), batch.keys, batch.epochs, 0, noise.POSTERIOR, shape)
            latents.append(sampled(moments, draw).cpu().numpy())
            again = vae.decode(moments.chunk(2, dim=1)[0]).sample.clamp(-1, 1)
            errors += ((again - scaled(pixels)) ** 2).flatten(1).mean(dim=1).tolist()
    values = np.concatenate(latents)
    ratio = 10 * np.log10(4 / max(float(np.mean(errors)), 1e-12))
    return {"images": images, "mean": float(values.mean()), "deviation": float(values.std()), "psnr": round(float(ratio), 2)}
