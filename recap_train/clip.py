"""CLIP on mixed captions: open_clip's own model and loss, our order, coins and loop; weights out as an artifact.

The artifact is open_clip's local folder form: `open_clip.create_model_and_transforms("local-dir:DIR")` loads it.
"""

from __future__ import annotations

import contextlib
import copy
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap_eval.artifact import Artifact, find_artifact, verify, write_artifact
from recap_eval.data.digests import fingerprint
from recap_eval.data.scenes.locate import scenes_folder
from recap_eval.data.scenes.write import MANIFEST, ROLES, check_manifest
from recap_eval.data.shards import Sample, read_shards, stated_digests
from recap_eval.errors import UserError
from recap_eval.files import digest_json, read_json, replacing, write_json
from recap_eval.hashrand import text_key
from recap_eval.models.text import encode_text_trimmed, is_trimmable
from recap_eval.provenance import run_record
from recap_train import checkpoint
from recap_train.captions import Captions, SampleTexts, Texts, check_roles, parquet_columns, preview, read_captions
from recap_train.join import CaptionSource, read_joined
from recap_train.loader import Batch, Batches, Feed, batches_ahead
from recap_train.loop import LOG, Loop, Progress, Schedule
from recap_train.mixing import Mix
from recap_train.plan import Plan
from recap_train.prepared import MANIFEST as PREPARED
from recap_train.prepared import Prepared, PreparedFeed, TokenTable, is_prepared, open_prepared
from recap_train.recipes import Recipe
from recap_train.words import save_tokenizer, vocabulary

if TYPE_CHECKING:
    import torch

TEXT_CHUNKS = 4  # alt-texts of 5 tokens and recaptions of 40 share a batch
WEIGHTS, CONFIG = "open_clip_model.safetensors", "open_clip_config.json"


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
        captions: Caption files to join, if a role is in them.
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
    captions: CaptionSource | None = None

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
        return Schedule(steps, train["batch_size"], train["lr"], train["warmup"], betas, train["weight_decay"])


def declared_roles(data: Path) -> dict[str, str]:
    """Return the roles that scenes, or a set prepared of them, declare; none for other data, whose roles the user names."""
    if is_prepared(data):
        return dict(read_json(data / PREPARED)["roles"])
    return dict(ROLES) if (scenes_folder(data) / MANIFEST).is_file() else {}


@dataclass(frozen=True)
class TrainingData:
    """What is trained on.

    Args:
        images: The samples, or a prepared set.
        keys: (N) sample keys.
        captions: (N) captions.
        fingerprint: Of images and captions, in order.
        source: The fingerprint of the shards that a prepared set was made of; else the same.
    """

    images: list[Sample] | Prepared
    keys: list[str]
    captions: list[Captions]
    fingerprint: str
    source: str

    def feed(self, run: Run, plan: Plan, tokenizer: Any) -> Batches:
        """Return what makes batches of it."""
        size, area = run.recipe.image_size, run.recipe.train["crop_min_area"]
        if isinstance(self.images, Prepared):
            return PreparedFeed(self.images, self.captions, plan, TokenTable(tokenizer), size, area)
        return Feed(self.images, self.captions, plan, tokenizer, size, area, run.skip_bad)


def read_training_data(run: Run) -> TrainingData:
    """Read samples, their captions, and the data's fingerprint.

    Raises:
        UserError: A role is not named.
        DataError: Shards are unreadable, samples lack the member that a role names, or captions cannot be joined.
    """
    check_roles(run.roles, run.captions is not None)
    if is_prepared(run.data):
        prepared = open_prepared(run.data)
        captions = _captions(run, prepared)
        source = _fingerprint(prepared.keys, prepared.digests, captions)
        return TrainingData(prepared, prepared.keys, captions, prepared.fingerprint(source), source)
    folder = run.data
    if (scenes_folder(folder) / MANIFEST).is_file():
        check_manifest(scenes_folder(folder))
        folder = scenes_folder(folder) / "train"
    samples = read_shards(folder)
    captions, keys = _captions(run, SampleTexts(samples)), [sample.key for sample in samples]
    data = _fingerprint(keys, stated_digests(samples), captions)
    return TrainingData(samples, keys, captions, data, data)


def _captions(run: Run, texts: Texts) -> list[Captions]:
    return read_captions(texts, run.roles, read_joined(texts, run.captions, parquet_columns(run.roles)))


def _fingerprint(keys: list[str], digests: list[str], captions: list[Captions]) -> str:
    return fingerprint(keys, digests, [(sample.original, *sample.recaptions) for sample in captions])


def identity_of(run: Run, data: str) -> str:
    """Return the digest of everything the trained weights depend on."""
    parts = [run.recipe.digest, run.mix.p_original, run.samples_seen, run.seed, run.roles, run.precision, data]
    return digest_json([*parts, run.mix.settings] if run.mix.settings else parts)


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
    allowed = {checkpoint.NAME, LOG, WEIGHTS, CONFIG, "tokenizer.json", "tokenizer_config.json"}
    if run.out.exists():
        strange = [path.name for path in run.out.iterdir() if path.name not in allowed and not path.name.endswith(".part")]
        if strange:
            raise UserError(f"{run.out} holds other files ({strange[0]}).", "Choose a new or an empty folder for --out.")
    return None


def build_model(run: Run, captions: list[Captions]) -> tuple[Any, Any, list[str]]:
    """Make the model from the run's seed, and its tokenizer, and write config and tokenizer into the folder.

    Returns:
        The model, the tokenizer, and the names of the files written.
    """
    import open_clip
    import torch

    config, files = copy.deepcopy(run.recipe.model_cfg), []
    text = config["text_cfg"]
    run.out.mkdir(parents=True, exist_ok=True)
    if run.recipe.tokenizer == "words":
        tokens = vocabulary((text for sample in captions for text in (sample.original, *sample.recaptions)), text["vocab_size"])
        text["vocab_size"] = len(tokens)
        files += save_tokenizer(run.out, tokens, text["context_length"])
    write_json(run.out / CONFIG, {"model_cfg": config, "preprocess_cfg": run.recipe.preprocess_cfg})
    tokenizer = open_clip.get_tokenizer(f"local-dir:{run.out}")
    torch.manual_seed(run.seed)
    build = dict(copy.deepcopy(config))
    kind = open_clip.CustomTextCLIP if build.pop("custom_text", False) else open_clip.CLIP
    return kind(**build), tokenizer, [CONFIG, *files]


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


def train(run: Run) -> tuple[Artifact, bool]:
    """Train, or go on where an earlier call stopped, or find the finished artifact.

    Returns:
        The artifact, and whether it was there already.

    Raises:
        UserError, DataError: See the parts.
        Stopped: A signal stopped the run; the same command goes on.
    """
    schedule = run.schedule()
    data = read_training_data(run)
    identity = identity_of(run, data.fingerprint)
    known = finished(run, identity)
    if known is not None:
        return known, True
    shown = preview(data.keys, data.captions)
    print(f"{len(data.keys)} samples, shown with {run.mix.describe()}:\n{shown}", file=sys.stderr)
    model, tokenizer, files = build_model(run, data.captions)
    feed = data.feed(run, Plan(_keys(data.keys), run.mix, run.seed), tokenizer)
    loss_of = contrastive_loss(model, run.recipe, run.precision)
    loop = Loop(model, loss_of, lambda starts: batches_ahead(feed, starts), schedule, run.out, identity)
    with plain_attention():
        progress = loop.run()
    return _finish(run, model, files, schedule, progress, data, identity), False


def _keys(keys: list[str]) -> Any:
    import numpy as np

    return np.array([text_key(key) for key in keys], dtype=np.uint64)


def _finish(
    run: Run, model: Any, files: list[str], schedule: Schedule, progress: Progress, data: TrainingData, identity: str
) -> Artifact:
    """Write weights, then the description that makes the artifact complete; then drop the checkpoint."""
    from safetensors.torch import save

    payload = save({name: tensor.contiguous() for name, tensor in model.state_dict().items()})
    with replacing(run.out / WEIGHTS) as part:
        part.write_bytes(payload)
    seen = schedule.steps * schedule.batch_size
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
        "train_data": data.fingerprint,
        "roles": run.roles,
        "precision": run.precision,
        "bad_images": len(progress.ledger.bad),
        "identity": identity,
        "parameters": sum(weight.numel() for weight in model.parameters()),
    }
    made |= mix.describe() | ({"mix": run.mix.settings} if run.mix.settings else {})
    made |= {"source_data": data.source} if data.source != data.fingerprint else {}
    speed = {
        "samples_per_second": round(seen / progress.seconds, 1),
        "data_wait_share": round(progress.waited / progress.seconds, 4),
    }
    artifact = write_artifact(run.out, "clip", run.name, [*files, WEIGHTS], made, run_record(progress.seconds) | speed)
    (run.out / checkpoint.NAME).unlink(missing_ok=True)
    return artifact
