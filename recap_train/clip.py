"""CLIP on mixed captions: open_clip's own model and loss, our order, coins and loop; weights out as an artifact.

The artifact is open_clip's local folder form: `open_clip.create_model_and_transforms("local-dir:DIR")` loads it.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from recap_eval.artifact import Artifact, write_artifact
from recap_eval.files import read_json, write_json
from recap_eval.provenance import run_record
from recap_train.attention import fast_attention
from recap_train.captions import Captions
from recap_train.evals import ClipSubject, InTraining
from recap_train.ledger import Ledger
from recap_train.loop import Loop, Progress
from recap_train.parallel import World, joined, spread
from recap_train.run import EMA, Run
from recap_train.start import write_tokenizer
from recap_train.states import Spread
from recap_train.training import assemble, completed, made_of, open_run, show_samples, speed_of
from recap_train.training_data import TrainingData, names_of, some_captions
from recap_train.weights import CONFIG, WEIGHTS, load_weights, write_weights
from recap_train.workers import worker_errors

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
    opened = open_run(run, world)
    if opened.known is not None:
        return opened.known, True
    if run.start.before is not None:
        train_with(run.start.before, world)
    started = run.start.artifact()
    if world.main:
        show_samples(run, opened.data)
    model, tokenizer, files = build_model(run, some_captions(opened.data), world)
    loop = make_loop(run, model, opened.data.feed(run, opened.plan, tokenizer), opened.identity, world)
    loop.name_of = partial(names_of, opened.data)
    describe = partial(_made, run, loop, opened.data, started)
    if run.evals is not None:
        loop.hooks = (InTraining(run.evals, run.out, run.name, ClipSubject(run.out, files), loop, describe),)
    with fast_attention(world.device), worker_errors():
        progress = loop.run()
    return _finish(run, loop, files, progress, describe(loop.seen, progress.ledger)), False


def make_loop(run: Run, model: Any, feed: Batches, identity: str, world: World) -> Loop:
    """Return the loop that trains a model of open_clip's on a feed."""
    from recap_train.contrastive import Contrastive
    from recap_train.towers import Form, masked_share, prepare

    engine, share = run.engine, masked_share(model, run.engine)
    towers = prepare(model, run.recipe.preprocess_cfg, Form.of(run.precision, world), engine)
    held = Spread(*spread(towers, towers.blocks(), world))
    rows = run.schedule().batch_size // world.size
    objective = Contrastive(held, towers, world, rows, share, engine.micro_batch, run.seed)
    return assemble(run, objective, held, feed, identity, world)


def _finish(run: Run, loop: Loop, files: list[str], progress: Progress, made: dict[str, Any]) -> Artifact:
    """Write weights, then the description that makes the artifact complete; then drop the checkpoint."""
    state = loop.spread.weights()
    averaged = loop.average.weights() if loop.average else None
    if loop.world.main:
        record = run_record(progress.seconds) | speed_of(loop, progress)
        if averaged is not None:
            (run.out / EMA).mkdir(exist_ok=True)
            for name in files:
                shutil.copyfile(run.out / name, run.out / EMA / name)
            write_weights(run.out / EMA, averaged)
            write_artifact(run.out / EMA, "clip", f"{run.name}-ema", [*files, WEIGHTS], made | {"weights": "average"}, record)
        write_weights(run.out, state)
        write_artifact(run.out, "clip", run.name, [*files, WEIGHTS], made, record)
    return completed(run, loop)


def _made(run: Run, loop: Loop, data: TrainingData, started: Artifact | None, seen: int, ledger: Ledger) -> dict[str, Any]:
    """Return how the weights after `seen` samples were made."""
    made = made_of(run, loop, data, seen, ledger)
    if started is not None:
        before = int(started.made.get("samples_seen", 0))
        made["init"] = {"name": started.name, "revision": started.revision, "samples_seen": before}
        made["samples_seen"] = before + seen
    return made


def own_samples(made: dict[str, Any]) -> int:
    """Return the samples seen by the run itself, without those of what it started from."""
    return int(made["samples_seen"]) - int(made.get("init", {}).get("samples_seen", 0))
