"""CLIP on mixed captions: open_clip's own model and loss, our order, coins and loop; weights out as an artifact.

The artifact is open_clip's local folder form: `open_clip.create_model_and_transforms("local-dir:DIR")` loads it.
"""

from __future__ import annotations

import contextlib
import copy
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap_eval.artifact import Artifact, find_artifact, verify, write_artifact
from recap_eval.data.digests import fingerprint
from recap_eval.data.scenes.locate import scenes_folder
from recap_eval.data.scenes.write import MANIFEST, ROLES, check_manifest
from recap_eval.data.shards import Sample, read_shards, stated_digests
from recap_eval.errors import DataError, UserError
from recap_eval.files import digest_json, replacing, write_json
from recap_eval.hashrand import text_key
from recap_eval.provenance import run_record
from recap_train import checkpoint
from recap_train.engine import Engine
from recap_train.loader import Feed, batches_ahead
from recap_train.loop import LOG, Loop, Progress
from recap_train.meter import Meter, open_tensorboard, peak_memory_gib, peak_of
from recap_train.mixing import Mix
from recap_train.parallel import World, joined, spread
from recap_train.plan import Plan
from recap_train.recipes import TRAIN_OPTIONS, Recipe
from recap_train.schedule import Schedule
from recap_train.states import Average, Spread, State
from recap_train.words import save_tokenizer, vocabulary

if TYPE_CHECKING:
    import numpy as np

WEIGHTS, CONFIG = "open_clip_model.safetensors", "open_clip_config.json"
EMA = "ema"  # folder of the averaged weights' artifact
OTHERS = {checkpoint.NAME, checkpoint.KEPT, LOG, "tensorboard", EMA, WEIGHTS, CONFIG, "tokenizer.json", "tokenizer_config.json"}


@dataclass(frozen=True)
class Run:
    """What is to be trained.

    Args:
        data: A folder of shards, or of scenes (whose training split is then taken).
        recipe: Model and optimiser.
        mix: The mix of captions.
        samples_seen: Samples to see in all; rounded down to whole batches.
        seed: Of initial weights, order, coins and crops.
        out: The artifact's folder.
        name: What tables call it.
        roles: Which member is the original caption and which the recaption.
        precision: "fp32" or "bf16" (autocast).
        skip_bad: Leave out unreadable images, counted, instead of stopping.
        engine: How the machine trains.
    """

    data: Path
    recipe: Recipe
    mix: Mix
    samples_seen: int
    seed: int
    out: Path
    name: str
    roles: dict[str, str]
    precision: str
    skip_bad: bool
    engine: Engine = field(default_factory=Engine)

    def schedule(self) -> Schedule:
        """Return the run's length and optimiser.

        Raises:
            UserError: Fewer samples than one batch.
        """
        train = TRAIN_OPTIONS | self.recipe.train
        steps = self.samples_seen // train["batch_size"]
        if steps < 1:
            raise UserError(
                f"--samples-seen {self.samples_seen} is less than one batch of {train['batch_size']}.", "Ask for more samples."
            )
        betas = (float(train["betas"][0]), float(train["betas"][1]))
        return Schedule(
            steps, train["batch_size"], train["lr"], train["warmup"], betas, train["weight_decay"], self.engine.save_seconds,
            train["eps"], train["grad_clip"], train["lr_schedule"], self.engine.keep_every,
        )  # fmt: skip


def declared_roles(data: Path) -> dict[str, str]:
    """Return the roles that a folder of scenes declares itself; none for other shards, whose roles the user names."""
    return dict(ROLES) if (scenes_folder(data) / MANIFEST).is_file() else {}


def read_training_data(run: Run) -> tuple[list[Sample], list[tuple[str, str]], str]:
    """Read samples, their (original, recaption) pairs, and the data's fingerprint.

    Raises:
        UserError: A role is not named.
        DataError: Shards are unreadable, or samples lack the member that a role names.
    """
    for role in ("original", "recaption"):
        if role not in run.roles:
            raise UserError(
                f"Which member holds the {role} is not named.",
                f"Name it: --{role}-key txt|json:FIELD, or use --caption-preset.",
            )
    folder = run.data
    if (scenes_folder(folder) / MANIFEST).is_file():
        check_manifest(scenes_folder(folder))
        folder = scenes_folder(folder) / "train"
    samples = read_shards(folder)
    pairs = [(sample.caption(run.roles["original"]), sample.caption(run.roles["recaption"])) for sample in samples]
    captions = [(original, recaption) for original, recaption in pairs if original is not None and recaption is not None]
    if len(captions) != len(samples):
        first = next(sample for sample, pair in zip(samples, pairs, strict=True) if None in pair)
        raise DataError(
            f"{len(samples) - len(captions)} of {len(samples)} samples lack a caption member, the first {first.where}.",
            f"Roles are {run.roles}; name others with --original-key and --recaption-key.",
        )
    return samples, captions, fingerprint([sample.key for sample in samples], stated_digests(samples), captions)


def identity_of(run: Run, data: str) -> str:
    """Return the digest of everything the trained weights depend on."""
    parts = [run.recipe.digest, run.mix.p_original, run.samples_seen, run.seed, run.roles, run.precision, data]
    special = run.engine.identity()
    return digest_json([*parts, special] if special else parts)


def finished(run: Run, identity: str) -> Artifact | None:
    """Return the run's artifact if it is there already; refuse a folder that holds another one.

    Raises:
        UserError: The folder holds another artifact, or files that are not a run's.
        DataError: The artifact is damaged.
    """
    artifact = find_artifact(run.out)
    if artifact is not None:
        if artifact.made.get("identity") != identity:
            raise UserError(
                f"{run.out} holds {artifact.name!r}, made otherwise.", "Choose another --out, or delete that folder."
            )
        verify(run.out, artifact)
        return artifact
    if run.out.exists():
        strange = [path.name for path in run.out.iterdir() if path.name not in OTHERS and not path.name.endswith(".part")]
        if strange:
            raise UserError(f"{run.out} holds other files ({strange[0]}).", "Choose a new or an empty folder for --out.")
    return None


def build_model(run: Run, captions: list[tuple[str, str]], world: World | None = None) -> tuple[Any, Any, list[str]]:
    """Make the model from the run's seed, and its tokenizer; the first process writes config and tokenizer into the folder.

    Returns:
        The model, the tokenizer, and the names of the files written.
    """
    import open_clip
    import torch

    world = world or World()
    config, files = copy.deepcopy(run.recipe.model_cfg), []
    text = config["text_cfg"]
    if run.recipe.tokenizer == "words":
        tokens = vocabulary((caption for pair in captions for caption in pair), text["vocab_size"])
        text["vocab_size"] = len(tokens)
    if world.main:
        run.out.mkdir(parents=True, exist_ok=True)
        if run.recipe.tokenizer == "words":
            files += save_tokenizer(run.out, tokens, text["context_length"])
        write_json(run.out / CONFIG, {"model_cfg": config, "preprocess_cfg": run.recipe.preprocess_cfg})
    world.wait()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{run.out}")
    torch.manual_seed(run.seed)
    build = dict(copy.deepcopy(config))
    kind = open_clip.CustomTextCLIP if build.pop("custom_text", False) else open_clip.CLIP
    return kind(**build), tokenizer, [CONFIG, *files]


@contextlib.contextmanager
def plain_attention() -> Iterator[None]:
    """Let attention be plain matrix products on a CPU.

    torch's fused CPU attention has a slow backward pass at small heads, the larger half of a step of scenes-tiny; plain
    products made the whole step twice as fast; see benchmarks/attention.py.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with sdpa_kernel(SDPBackend.MATH):
        yield


def preview(samples: list[Sample], captions: list[tuple[str, str]]) -> str:
    """Return the first three samples with both captions, so that swapped roles are seen before anything is spent."""
    lines = []
    for sample, (original, recaption) in list(zip(samples, captions, strict=True))[:3]:
        lines.append(
            f"  {sample.key}  original:  {original[:110]!r}\n  {' ' * len(sample.key)}  recaption: {recaption[:110]!r}"
        )
    return "\n".join(lines)


def train(run: Run) -> tuple[Artifact, bool]:
    """Train, or go on where an earlier call stopped, or find the finished artifact. Under torchrun, with the other processes.

    Returns:
        The artifact, and whether it was there already.

    Raises:
        UserError, DataError: See the parts.
        Stopped: A signal stopped the run; the same command goes on.
    """
    with joined(run.engine.device, run.engine.parallel) as world:
        return _train(run, world)


def _train(run: Run, world: World) -> tuple[Artifact, bool]:
    schedule = run.schedule()
    if schedule.batch_size % world.size:
        raise UserError(
            f"A batch of {schedule.batch_size} cannot be shared by {world.size} processes.", "Start as many as divide it."
        )
    samples, captions, data = read_training_data(run)
    identity = identity_of(run, data)
    known = finished(run, identity)
    world.wait()  # until all have looked, before the first writes
    if known is not None:
        return known, True
    if world.main:
        print(f"{len(samples)} samples, shown with {run.mix.describe()}:\n{preview(samples, captions)}", file=sys.stderr)
    model, tokenizer, files = build_model(run, captions, world)
    plan = Plan(_keys(samples), run.mix, run.seed)
    size, area = run.recipe.image_size, run.recipe.train["crop_min_area"]
    feed = Feed(samples, captions, plan, tokenizer, size, area, run.skip_bad, world.size, world.rank)
    loop = make_loop(run, model, feed, schedule, identity, world)
    loop.name_of = lambda keys: _names(samples, keys)
    with plain_attention() if world.device == "cpu" else contextlib.nullcontext():
        progress = loop.run()
    artifact = _finish(run, loop, files, progress, data)
    return artifact, False


def make_loop(run: Run, model: Any, feed: Feed, schedule: Schedule, identity: str, world: World) -> Loop:
    """Return the loop that trains a model of open_clip's on a feed."""
    import torch

    from recap_train.contrastive import Contrastive
    from recap_train.towers import Form, masked_share, prepare

    engine, share = run.engine, masked_share(model, run.engine)
    torch.set_float32_matmul_precision("high" if engine.tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = engine.tf32
    towers = prepare(model, run.recipe.preprocess_cfg, Form.of(run.precision, world), engine)
    held = Spread(*spread(towers, towers.blocks(), world))
    objective = Contrastive(held, towers, world, schedule.batch_size // world.size, share, engine.micro_batch, run.seed)
    peak = engine.peak_tflops or (peak_of(torch.cuda.get_device_name(), run.precision) if world.gpu else None)
    return Loop(
        held, objective, lambda starts: batches_ahead(feed, starts), schedule, run.out, identity, world,
        Average(held, engine.ema) if engine.ema is not None else None, Meter(world, peak),
        (lambda step: open_tensorboard(run.out, step)) if engine.tensorboard else None,
    )  # fmt: skip


def _keys(samples: list[Sample]) -> Any:
    import numpy as np

    return np.array([text_key(sample.key) for sample in samples], dtype=np.uint64)


def _names(samples: list[Sample], keys: np.ndarray) -> list[str]:
    wanted = {int(key) for key in keys}
    return [sample.key for sample in samples if text_key(sample.key) in wanted]


def write_weights(folder: Path, state: State) -> None:
    """Write weights under open_clip's names."""
    from safetensors.torch import save

    payload = save({name.removeprefix("model."): tensor.contiguous() for name, tensor in state.items()})
    with replacing(folder / WEIGHTS) as part:
        part.write_bytes(payload)


def _finish(run: Run, loop: Loop, files: list[str], progress: Progress, data: str) -> Artifact:
    """Write weights, then the description that makes the artifact complete; then drop the checkpoint."""
    state = loop.spread.weights()
    averaged = loop.average.weights() if loop.average else None
    if loop.world.main:
        made, record = _made(run, loop, progress, data), run_record(progress.seconds) | _speed(loop, progress)
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
    rate = loop.schedule.steps * loop.schedule.batch_size / progress.seconds
    mfu = loop.meter.mfu(rate)
    return {
        "samples_per_second": round(rate, 1),
        "data_wait_share": round(progress.waited / progress.seconds, 4),
        "peak_memory_gib": round(peak_memory_gib(loop.world), 3),
        "processes": loop.world.size,
    } | ({} if mfu is None else {"mfu": mfu})


def _made(run: Run, loop: Loop, progress: Progress, data: str) -> dict[str, Any]:
    mix = progress.ledger.mix
    return {
        "recipe": run.recipe.name,
        "recipe_digest": run.recipe.digest,
        "p_original": run.mix.p_original,
        "realised_original": round(mix.realised, 4),
        "missing_captions": mix.missing,
        "empty_captions": mix.empty,
        "samples_seen": loop.schedule.steps * loop.schedule.batch_size,
        "seed": run.seed,
        "train_data": data,
        "roles": run.roles,
        "precision": run.precision,
        "bad_images": len(progress.ledger.bad),
        "identity": loop.identity,
        "parameters": sum(weight.numel() for weight in loop.spread.module.parameters()),
    } | run.engine.identity()
