"""CLIP on mixed captions: open_clip's own model and loss, our order, coins and loop; weights out as an artifact.

The artifact is open_clip's local folder form: `open_clip.create_model_and_transforms("local-dir:DIR")` loads it.
"""

from __future__ import annotations

import contextlib
import copy
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap_eval.artifact import Artifact, find_artifact, verify, write_artifact
from recap_eval.data.digests import fingerprint
from recap_eval.data.scenes.locate import scenes_folder
from recap_eval.data.scenes.write import MANIFEST, ROLES, check_manifest
from recap_eval.data.shards import Sample, read_shards, stated_digests
from recap_eval.errors import DataError, UserError
from recap_eval.files import digest_json, write_json
from recap_eval.hashrand import text_key
from recap_eval.models.text import encode_text_trimmed, is_trimmable
from recap_eval.provenance import run_record
from recap_train import checkpoint
from recap_train.evals import FOLDER as EVALS
from recap_train.evals import Evals, InTraining
from recap_train.loader import Batch, Feed, batches_ahead
from recap_train.loop import LOG, Loop, Progress, Schedule
from recap_train.mixing import Mix
from recap_train.plan import Plan
from recap_train.recipes import Recipe
from recap_train.start import TOKENIZER_FILES, Start, write_tokenizer
from recap_train.weights import CONFIG, WEIGHTS, load_weights, write_weights

if TYPE_CHECKING:
    import torch

TEXT_CHUNKS = 4  # alt-texts of 5 tokens and recaptions of 40 share a batch


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
        start: Weights and tokenizer that it starts from.
        evals: Measuring on the way; changes nothing in what is trained.
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
    start: Start = field(default_factory=Start)
    evals: Evals | None = None

    def schedule(self) -> Schedule:
        """Return the run's length and optimiser.

        Raises:
            UserError: Fewer samples than one batch.
        """
        train = self.recipe.train
        steps = self.samples_seen // train["batch_size"]
        if steps < 1:
            raise UserError(
                f"--samples-seen {self.samples_seen} is less than one batch of {train['batch_size']}.", "Ask for more samples."
            )
        betas = (float(train["betas"][0]), float(train["betas"][1]))
        rise = train["warmup_samples"] // train["batch_size"] if "warmup_samples" in train else None
        if rise is not None and rise >= steps:
            raise UserError(f"The learning rate would rise for all of the {steps} steps.", "Set --warmup-samples lower.")
        further = {"warmup_steps": rise, "eps": train.get("eps", 1e-8), "no_decay": tuple(train.get("no_decay", ()))}
        share = 0.0 if rise is not None else train["warmup"]
        return Schedule(steps, train["batch_size"], train["lr"], share, betas, train["weight_decay"], **further)


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
    return digest_json(parts + _start_identity(run.start, data))


def _start_identity(start: Start, data: str) -> list[object]:
    """Return what the weights depend on by what they start from; nothing for a run from its seed alone.

    The stage before counts by its own identity, so that its folder may be deleted once the last stage is done.
    """
    parts: list[object] = [start.tokenizer_digests()] if start.tokenizer is not None else []
    if start.before is not None:
        return [*parts, identity_of(start.before, data)]
    made_from = start.artifact()
    return parts if made_from is None else [*parts, made_from.made.get("identity", made_from.revision)]


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
    allowed = {checkpoint.NAME, LOG, WEIGHTS, CONFIG, EVALS, *TOKENIZER_FILES}
    allowed |= {run.start.before.out.name} if run.start.before is not None else set()
    if run.out.exists():
        strange = [path.name for path in run.out.iterdir() if path.name not in allowed and not path.name.endswith(".part")]
        if strange:
            raise UserError(f"{run.out} holds other files ({strange[0]}).", "Choose a new or an empty folder for --out.")
    return None


def build_model(run: Run, captions: list[tuple[str, str]]) -> tuple[Any, Any, list[str]]:
    """Make the model from the run's seed, and its tokenizer, and write config and tokenizer into the folder.

    Returns:
        The model, the tokenizer, and the names of the files written.
    """
    import open_clip
    import torch

    config = copy.deepcopy(run.recipe.model_cfg)
    run.out.mkdir(parents=True, exist_ok=True)
    files = write_tokenizer(run, captions, config["text_cfg"])
    write_json(run.out / CONFIG, {"model_cfg": config, "preprocess_cfg": run.recipe.preprocess_cfg})
    tokenizer = open_clip.get_tokenizer(f"local-dir:{run.out}")
    torch.manual_seed(run.seed)
    build = dict(copy.deepcopy(config))
    kind = open_clip.CustomTextCLIP if build.pop("custom_text", False) else open_clip.CLIP
    model = kind(**build)
    if run.start.folder is not None:
        load_weights(model, run.start.folder)
    return model, tokenizer, [CONFIG, *files]


def contrastive_loss(model: Any, recipe: Recipe, precision: str) -> Any:
    """Return the function from a batch to open_clip's loss.

    Embeddings are normalised and compared in fp32 whatever the precision of the towers.
    """
    import torch
    from open_clip.loss import ClipLoss

    mean = torch.tensor(recipe.preprocess_cfg["mean"])[:, None, None] * 255
    std = torch.tensor(recipe.preprocess_cfg["std"])[:, None, None] * 255
    encode_text = (lambda tokens: encode_text_trimmed(model, tokens, TEXT_CHUNKS)) if is_trimmable(model) else model.encode_text
    criterion = ClipLoss()

    def loss_of(batch: Batch) -> torch.Tensor:
        pixels = (batch.pixels.float() - mean) / std
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            image, text = model.encode_image(pixels), encode_text(batch.tokens)
        unit = torch.nn.functional.normalize
        loss: torch.Tensor = criterion(unit(image.float(), dim=-1), unit(text.float(), dim=-1), model.logit_scale.exp())
        return loss

    return loss_of


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
    """Train, or go on where an earlier call stopped, or find the finished artifact.

    Returns:
        The artifact, and whether it was there already.

    Raises:
        UserError, DataError: See the parts.
        Stopped: A signal stopped the run; the same command goes on.
    """
    schedule = run.schedule()
    samples, captions, data = read_training_data(run)
    identity = identity_of(run, data)
    known = finished(run, identity)
    if known is not None:
        return known, True
    if run.start.before is not None:
        train(run.start.before)
    started = run.start.artifact()
    print(f"{len(samples)} samples, shown with {run.mix.describe()}:\n{preview(samples, captions)}", file=sys.stderr)
    model, tokenizer, files = build_model(run, captions)
    plan = plan_of(samples, run.mix, run.seed)
    size, area = run.recipe.image_size, run.recipe.train["crop_min_area"]
    feed = Feed(samples, captions, plan, tokenizer, size, area, run.skip_bad, run.recipe.interpolation)
    loss_of = contrastive_loss(model, run.recipe, run.precision)
    loop = Loop(model, loss_of, lambda starts: batches_ahead(feed, starts), schedule, run.out, identity)
    describe = partial(_made, run, model, data, identity, started)
    if run.evals is not None:
        loop.after_step = InTraining(run.evals, run.out, run.name, [*files], model, schedule, describe)
    with plain_attention():
        progress = loop.run()
    return _finish(run, model, files, progress, describe(schedule.steps * schedule.batch_size, progress)), False


def plan_of(samples: list[Sample], mix: Mix, seed: int) -> Plan:
    """Return what is seen when."""
    import numpy as np

    return Plan(np.array([text_key(sample.key) for sample in samples], dtype=np.uint64), mix, seed)


def _made(
    run: Run, model: Any, data: str, identity: str, started: Artifact | None, seen: int, progress: Progress
) -> dict[str, Any]:
    """Return how the weights after `seen` samples were made."""
    mix = progress.ledger.mix
    made = {
        "recipe": run.recipe.name,
        "recipe_digest": run.recipe.digest,
        "p_original": run.mix.p_original,
        "realised_original": round(mix.realised, 4),
        "missing_captions": mix.missing,
        "empty_captions": mix.empty,
        "samples_seen": seen,
        "seed": run.seed,
        "train_data": data,
        "roles": run.roles,
        "precision": run.precision,
        "bad_images": len(progress.ledger.bad),
        "identity": identity,
        "parameters": sum(weight.numel() for weight in model.parameters()),
    }
    made |= {"stage": run.recipe.stage} if run.recipe.stage else {}
    if started is not None:
        before = int(started.made.get("samples_seen", 0))
        made["init"] = {"name": started.name, "revision": started.revision, "samples_seen": before}
        made["samples_seen"] = before + seen
    return made


def own_samples(made: dict[str, Any]) -> int:
    """Return the samples seen by the run itself, without those of what it started from."""
    return int(made["samples_seen"]) - int(made.get("init", {}).get("samples_seen", 0))


def _finish(run: Run, model: Any, files: list[str], progress: Progress, made: dict[str, Any]) -> Artifact:
    """Write weights, then the description that makes the artifact complete; then drop the checkpoint."""
    write_weights(model, run.out)
    speed = {
        "samples_per_second": round(own_samples(made) / progress.seconds, 1),
        "data_wait_share": round(progress.waited / progress.seconds, 4),
    }
    artifact = write_artifact(run.out, "clip", run.name, [*files, WEIGHTS], made, run_record(progress.seconds) | speed)
    (run.out / checkpoint.NAME).unlink(missing_ok=True)
    return artifact
