"""`recap-train dit`: a diffusion transformer on mixed captions; a pipeline of diffusers out as an artifact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap_eval.artifact import Artifact, write_artifact
from recap_eval.errors import UserError
from recap_eval.provenance import run_record
from recap_train.attention import fast_attention
from recap_train.diffusion.autoencoder import open_autoencoder
from recap_train.diffusion.encoded import Encoders
from recap_train.diffusion.features import EncodedData, Features, is_features, open_features
from recap_train.diffusion.pipeline import OWN, write_pipeline
from recap_train.diffusion.process import process_named
from recap_train.diffusion.recipe import ImageRecipe
from recap_train.diffusion.text import open_text_encoder
from recap_train.ledger import Ledger
from recap_train.loop import Loop, Progress
from recap_train.parallel import World, joined, spread
from recap_train.run import Run
from recap_train.states import Spread
from recap_train.training import assemble, completed, made_of, open_run, show_samples, speed_of
from recap_train.training_data import TrainingData, names_of, read_training_data
from recap_train.workers import worker_errors

if TYPE_CHECKING:
    from recap_train.loader import Batches


@dataclass(frozen=True)
class Parts:
    """What stands in front of the network, as a user names it.

    Args:
        autoencoder: A folder or hub id.
        text_encoder: A folder or hub id.
    """

    autoencoder: str
    text_encoder: str


def train(run: Run, parts: Parts, hooked: Hooks | None = None) -> tuple[Artifact, bool]:
    """Train, or go on where an earlier call stopped, or find the finished artifact. Under torchrun, with the other processes.

    Args:
        run: The run; its data may be a set that `recap-train precompute` made.
        parts: What stands in front of the network.
        hooked: Makes the loop's hooks.

    Returns:
        The artifact, and whether it was there already.

    Raises:
        UserError, DataError: See the parts.
        Stopped: A signal stopped the run; the same command goes on.
    """
    with joined(run.engine.device, run.engine.parallel) as world:
        encoders = open_encoders(run.recipe, parts, world.device)
        opened = open_run(run, world, partial(read_encoded, encoders=encoders), OWN)
        if opened.known is not None:
            return opened.known, True
        if world.main:
            show_samples(run, opened.data)
        feed = opened.data.feed(run, opened.plan, encoders.text.tokens)
        loop = make_loop(run, encoders, feed, opened.identity, world)
        loop.name_of = partial(names_of, opened.data)
        describe = partial(_made, run, loop, opened.data, encoders)
        loop.hooks = hooked(run, loop, encoders, describe) if hooked is not None else ()
        with fast_attention(world.device), worker_errors():
            progress = loop.run()
        return _finish(run, loop, encoders, progress, describe(loop.seen, progress.ledger)), False


Describe = Callable[[int, Ledger], dict[str, Any]]
Hooks = Callable[[Run, Loop, Encoders, Describe], tuple[Any, ...]]


def open_encoders(recipe: Any, parts: Parts, device: str) -> Encoders:
    """Open what stands in front of the network, proven to suit the recipe.

    Raises:
        UserError: The auto-encoder has other latents than the recipe's.
        DataError: Something is damaged, or cannot be had.
    """
    autoencoder = open_autoencoder(parts.autoencoder)
    asked = (int(recipe.model_cfg["latent_channels"]), int(recipe.model_cfg["latent_factor"]))
    if (autoencoder.channels, autoencoder.factor) != asked:
        raise UserError(
            f"{parts.autoencoder} has {autoencoder.channels} channels and a factor of {autoencoder.factor}, "
            f"{recipe.name} {asked[0]} and {asked[1]}.",
            "Name another auto-encoder: --autoencoder, or another recipe.",
        )
    text = open_text_encoder(parts.text_encoder)
    for module in (autoencoder.vae, text.model):
        module.to(device)
    return Encoders(autoencoder, text, device)


def read_encoded(run: Run, encoders: Encoders) -> TrainingData:
    """Find the samples: of shards, encoded batch by batch, or of a precomputed set."""
    if isinstance(run.data, Path) and is_features(run.data):
        return Features(open_features(run.data, encoders), run.data)
    return EncodedData(read_training_data(run), encoders)


def make_loop(run: Run, encoders: Encoders, feed: Batches, identity: str, world: World) -> Loop:
    """Return the loop that trains a network on a feed of batches, encoded or not."""
    from recap_train.diffusion.encoded import Encoded
    from recap_train.diffusion.objective import Denoising
    from recap_train.diffusion.transformer import build, prepare

    assert isinstance(run.recipe, ImageRecipe)
    denoiser = prepare(build(run.recipe, encoders.text.width, run.seed), run.precision, world, run.engine)
    held = Spread(*spread(denoiser, denoiser.blocks(), world))
    process = process_named(run.recipe.model_cfg["objective"])

    def encode(batch: Any) -> Encoded:
        return batch if isinstance(batch, Encoded) else encoders(batch)

    scale = encoders.autoencoder.scale
    objective = Denoising(held, denoiser, process, encode, scale, world, run.engine.micro_batch, run.seed)
    return assemble(run, objective, held, feed, identity, world)


def _finish(run: Run, loop: Loop, encoders: Encoders, progress: Progress, made: dict[str, Any]) -> Artifact:
    """Write the pipeline, then the description that makes the artifact complete; then drop the checkpoint."""
    assert isinstance(run.recipe, ImageRecipe)
    state = loop.average.weights() if loop.average else loop.spread.weights()
    if loop.world.main:
        files = write_pipeline(run.out, run.recipe, state, encoders)
        write_artifact(run.out, "diffusion", run.name, files, made, run_record(progress.seconds) | speed_of(loop, progress))
    return completed(run, loop)


def _made(run: Run, loop: Loop, data: TrainingData, encoders: Encoders, seen: int, ledger: Ledger) -> dict[str, Any]:
    """Return how the weights after `seen` samples were made."""
    config = run.recipe.model_cfg
    return made_of(run, loop, data, seen, ledger) | {
        "objective": config["objective"],
        "weights": "average" if loop.average else "last",
        "autoencoder": encoders.autoencoder.digest,
        "text_encoder": encoders.text.digest,
        "text_length": encoders.text.length,
        "sampled_size": run.recipe.image_size,
    }
