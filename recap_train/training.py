"""What every training run does, whatever its model: looks at its data, finds what is done, assembles a loop, says how fast."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from recap_eval.artifact import FACTS, Artifact, find_artifact
from recap_eval.errors import UserError
from recap_train import checkpoint
from recap_train.captions import preview
from recap_train.gpus import peak_of
from recap_train.ledger import Ledger
from recap_train.loop import Loop, Objective, Progress
from recap_train.meter import Meter, open_tensorboard, peak_memory_gib
from recap_train.parallel import World
from recap_train.plan import Plan
from recap_train.run import Run, finished, identity_of
from recap_train.states import Average, Spread
from recap_train.training_data import TrainingData, first_samples, plan_of, read_training_data
from recap_train.workers import Part, batches

if TYPE_CHECKING:
    from collections.abc import Callable

    from recap_train.loader import Batches


@dataclass(frozen=True)
class Opened:
    """A run whose data was looked at.

    Args:
        data: Its data.
        plan: What is seen when.
        identity: Digest of everything its weights depend on.
        known: Its artifact, if it is done already.
    """

    data: TrainingData
    plan: Plan
    identity: str
    known: Artifact | None


def open_run(
    run: Run,
    world: World,
    read: Callable[[Run], TrainingData] = read_training_data,
    own: frozenset[str] = frozenset(),
) -> Opened:
    """Look at a run's data, and whether the run is done already. All processes must call it.

    Args:
        run: The run.
        world: The processes.
        read: Finds the data.
        own: Names that the run's folder may hold, besides those of every run.

    Raises:
        UserError, DataError: See the parts.
    """
    batch = run.schedule().batch_size
    if batch % world.size:
        raise UserError(f"A batch of {batch} cannot be shared by {world.size} processes.", "Start as many as divide it.")
    data = read(run) if world.main else None
    world.wait()  # the first process alone, then the others, who find its indexes in the cache
    data = data if data is not None else read(run)
    plan = plan_of(run, data)
    identity = identity_of(run, data.fingerprint, plan.window if plan.windowed else None)
    known = finished(run, identity, own)
    world.wait()  # until all have looked, before the first writes
    return Opened(data, plan, identity, known)


def show_samples(run: Run, data: TrainingData) -> None:
    """Print the first samples with all their captions, so that swapped roles are seen before anything is spent."""
    shown = preview(first_samples(data))
    print(f"{len(data):,} samples, shown with {run.mix.describe()}:\n{shown}", file=sys.stderr)


def assemble(run: Run, objective: Objective, held: Spread, feed: Batches, identity: str, world: World) -> Loop:
    """Return the loop that trains a module in place.

    Args:
        run: The run.
        objective: A batch to gradients.
        held: The module as this process holds it.
        feed: What makes the batches.
        identity: Digest of everything the run depends on.
        world: The processes.
    """
    import torch

    engine, reading = run.engine, run.loading
    torch.set_float32_matmul_precision("high" if engine.tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = engine.tf32
    peak = engine.peak_tflops or (peak_of(torch.cuda.get_device_name(), run.precision) if world.gpu else None)
    part = Part(world.rank, world.size)
    return Loop(
        held,
        objective,
        partial(batches, feed, part=part, workers=reading.workers, prefetch=reading.prefetch, pin=world.gpu),
        run.schedule(),
        run.out,
        identity,
        world,
        Average(held, engine.ema) if engine.ema is not None else None,
        Meter(world, peak),
        partial(open_tensorboard, run.out) if engine.tensorboard else None,
        max_bad=reading.max_bad,
    )


def speed_of(loop: Loop, progress: Progress) -> dict[str, Any]:
    """Return how fast a run was."""
    rate = loop.seen / progress.seconds
    mfu = loop.meter.mfu(rate)
    return {
        "samples_per_second": round(rate, 1),
        "data_wait_share": round(progress.waited / progress.seconds, 4),
        "peak_memory_gib": round(peak_memory_gib(loop.world), 3),
        "processes": loop.world.size,
    } | ({} if mfu is None else {"mfu": mfu})


def completed(run: Run, loop: Loop) -> Artifact:
    """Drop the checkpoint of a training whose artifact is written; every process returns when that is so, with the artifact."""
    if loop.world.main:
        (run.out / checkpoint.NAME).unlink(missing_ok=True)
    loop.world.wait()
    artifact = find_artifact(run.out)
    assert artifact is not None
    return artifact


def made_of(run: Run, loop: Loop, data: TrainingData, seen: int, ledger: Ledger) -> dict[str, Any]:
    """Return how the weights after `seen` samples were made."""
    made = {
        "recipe": run.recipe.name,
        "recipe_digest": run.recipe.digest,
        "p_original": run.mix.p_original,
        "realised_original": round(ledger.mix.realised, 4),
        "missing_captions": ledger.mix.missing,
        "empty_captions": ledger.mix.empty,
        "samples_seen": seen,
        "seed": run.seed,
        "train_data": data.fingerprint,
        "roles": run.roles,
        "precision": run.precision,
        "bad_images": len(ledger.bad),
        "ledger": data.ledger() | ledger.summary(),
        "identity": loop.identity,
        "parameters": sum(weight.numel() for weight in loop.spread.module.parameters()),
    }
    made |= ledger.mix.describe() | ({"mix": run.mix.settings} if run.mix.settings else {})
    made |= {FACTS: run.facts} if run.facts else {}
    made |= {"source_data": data.source} if data.source != data.fingerprint else {}
    return made | run.engine.identity() | ({"stage": run.recipe.stage} if run.recipe.stage else {})
