"""CLIP on mixed captions: open_clip's own model and loss, our order, coins and loop; weights out as an artifact.

The artifact is open_clip's local folder form: `open_clip.create_model_and_transforms("local-dir:DIR")` loads it.
"""

from __future__ import annotations

import contextlib
import copy
import shutil
import sys
from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from recap_eval.artifact import Artifact, find_artifact, write_artifact
from recap_eval.errors import UserError
from recap_eval.files import read_json, write_json
from recap_eval.provenance import run_record
from recap_train import checkpoint
from recap_train.captions import Captions, preview
from recap_train.evals import InTraining
from recap_train.gpus import peak_of
from recap_train.ledger import Ledger
from recap_train.loop import Loop, Progress
from recap_train.meter import Meter, open_tensorboard, peak_memory_gib
from recap_train.parallel import World, joined, spread
from recap_train.run import EMA, Run, finished, identity_of
from recap_train.start import write_tokenizer
from recap_train.states import Average, Spread
from recap_train.training_data import (
    TrainingData,
    first_samples,
    names_of,
    plan_of,
    read_training_data,
    some_captions,
)
from recap_train.weights import CONFIG, WEIGHTS, load_weights, write_weights
from recap_train.workers import Part, batches, worker_errors

if TYPE_CHECKING:
    from recap_train.loader import Batches


def build_model(run: Run, captions: Iterable[Captions], world: World | None = None) -> tuple[Any, Any, list[str]]:
    """Make the model from the run's seed, and its tokenizer; the first process writes config and tokenizer into the folder.

    Returns:
        The model, the tokenizer, and the names of the files written.
    """
    import open_clip
    import torch

    world = world or World()
    files = _write_config(run, captions) if world.main else []
    files = world.collect(files)[0]  # which waits for the first process, too
    config = read_json(run.out / CONFIG)["model_cfg"]
    tokenizer = open_clip.get_tokenizer(f"local-dir:{run.out}")
    torch.manual_seed(run.seed)
    kind = open_clip.CustomTextCLIP if config.pop("custom_text", False) else open_clip.CLIP
    model = kind(**config)
    if run.start.folder is not None:
        load_weights(model, run.start.folder)
    return model, tokenizer, files


def _write_config(run: Run, captions: Iterable[Captions]) -> list[str]:
    config = copy.deepcopy(run.recipe.model_cfg)
    run.out.mkdir(parents=True, exist_ok=True)
    files = write_tokenizer(run, captions, config["text_cfg"])
    write_json(run.out / CONFIG, {"model_cfg": config, "preprocess_cfg": run.recipe.preprocess_cfg})
    return [CONFIG, *files]


@contextlib.contextmanager
def plain_attention() -> Iterator[None]:
    """Let attention be plain matrix products on a CPU.

    torch's fused CPU attention has a slow backward pass at small heads, the larger half of a step of scenes-tiny; plain
    products made the whole step twice as fast; see benchmarks/attention.py.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with sdpa_kernel(SDPBackend.MATH):
        yield


def train(run: Run) -> tuple[Artifact, bool]:
    """Train, or go on where an earlier call stopped, or find the finished artifact. Under torchrun, with the other processes.

    Returns:
        The artifact, and whether it was there already.

    Raises:
        UserError, DataError: See the parts.
        Stopped: A signal stopped the run; the same command goes on.
    """
    with joined(run.engine.device, run.engine.parallel) as world:
        return train_with(run, world)


def train_with(run: Run, world: World) -> tuple[Artifact, bool]:
    """Train as one process of those of the run; see `train`."""
    schedule = run.schedule()
    if schedule.batch_size % world.size:
        raise UserError(
            f"A batch of {schedule.batch_size} cannot be shared by {world.size} processes.", "Start as many as divide it."
        )
    data = _read_in_turn(run, world)
    plan = plan_of(run, data)
    identity = identity_of(run, data.fingerprint, plan.window if plan.windowed else None)
    known = finished(run, identity)
    world.wait()  # until all have looked, before the first writes
    if known is not None:
        return known, True
    if run.start.before is not None:
        train_with(run.start.before, world)
    started = run.start.artifact()
    if world.main:
        shown = preview(first_samples(data))
        print(f"{len(data):,} samples, shown with {run.mix.describe()}:\n{shown}", file=sys.stderr)
    model, tokenizer, files = build_model(run, some_captions(data), world)
    loop = make_loop(run, model, data.feed(run, plan, tokenizer), identity, world)
    loop.name_of = partial(names_of, data)
    describe = partial(_made, run, loop, data, started)
    if run.evals is not None:
        loop.hooks = (InTraining(run.evals, run.out, run.name, files, loop, describe),)
    with plain_attention() if world.device == "cpu" else contextlib.nullcontext(), worker_errors():
        progress = loop.run()
    return _finish(run, loop, files, progress, describe(loop.seen, progress.ledger)), False


def _read_in_turn(run: Run, world: World) -> TrainingData:
    """Read the data: the first process alone, then the others, who find its indexes in the cache."""
    data = read_training_data(run) if world.main else None
    world.wait()
    return data if data is not None else read_training_data(run)


def make_loop(run: Run, model: Any, feed: Batches, identity: str, world: World) -> Loop:
    """Return the loop that trains a model of open_clip's on a feed."""
    import torch

    from recap_train.contrastive import Contrastive
    from recap_train.towers import Form, masked_share, prepare

    engine, schedule, share = run.engine, run.schedule(), masked_share(model, run.engine)
    torch.set_float32_matmul_precision("high" if engine.tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = engine.tf32
    towers = prepare(model, run.recipe.preprocess_cfg, Form.of(run.precision, world), engine)
    held = Spread(*spread(towers, towers.blocks(), world))
    objective = Contrastive(held, towers, world, schedule.batch_size // world.size, share, engine.micro_batch, run.seed)
    peak = engine.peak_tflops or (peak_of(torch.cuda.get_device_name(), run.precision) if world.gpu else None)
    part, reading = Part(world.rank, world.size), run.loading
    return Loop(
        held,
        objective,
        partial(batches, feed, part=part, workers=reading.workers, prefetch=reading.prefetch, pin=world.gpu),
        schedule,
        run.out,
        identity,
        world,
        Average(held, engine.ema) if engine.ema is not None else None,
        Meter(world, peak),
        partial(open_tensorboard, run.out) if engine.tensorboard else None,
        max_bad=reading.max_bad,
    )


def _finish(run: Run, loop: Loop, files: list[str], progress: Progress, made: dict[str, Any]) -> Artifact:
    """Write weights, then the description that makes the artifact complete; then drop the checkpoint."""
    state = loop.spread.weights()
    averaged = loop.average.weights() if loop.average else None
    if loop.world.main:
        record = run_record(progress.seconds) | _speed(loop, progress)
        if averaged is not None:
            (run.out / EMA).mkdir(exist_ok=True)
            for name in files:
                shutil.copyfile(run.out / name, run.out / EMA / name)
            write_weights(run.out / EMA, averaged)
            write_artifact(run.out / EMA, "clip", f"{run.name}-ema", [*files, WEIGHTS], made | {"weights": "average"}, record)
        write_weights(run.out, state)
        write_artifact(run.out, "clip", run.name, [*files, WEIGHTS], made, record)
        (run.out / checkpoint.NAME).unlink(missing_ok=True)
    loop.world.wait()
    artifact = find_artifact(run.out)
    assert artifact is not None
    return artifact


def _speed(loop: Loop, progress: Progress) -> dict[str, Any]:
    rate = loop.seen / progress.seconds
    mfu = loop.meter.mfu(rate)
    return {
        "samples_per_second": round(rate, 1),
        "data_wait_share": round(progress.waited / progress.seconds, 4),
        "peak_memory_gib": round(peak_memory_gib(loop.world), 3),
        "processes": loop.world.size,
    } | ({} if mfu is None else {"mfu": mfu})


def _made(run: Run, loop: Loop, data: TrainingData, started: Artifact | None, seen: int, ledger: Ledger) -> dict[str, Any]:
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
    made |= {"source_data": data.source} if data.source != data.fingerprint else {}
    made |= run.engine.identity() | ({"stage": run.recipe.stage} if run.recipe.stage else {})
    if started is not None:
        before = int(started.made.get("samples_seen", 0))
        made["init"] = {"name": started.name, "revision": started.revision, "samples_seen": before}
        made["samples_seen"] = before + seen
    return made


def own_samples(made: dict[str, Any]) -> int:
    """Return the samples seen by the run itself, without those of what it started from."""
    return int(made["samples_seen"]) - int(made.get("init", {}).get("samples_seen", 0))
