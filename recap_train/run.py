"""What is to be trained, what its weights depend on, and whether it is done already."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from recap_eval.artifact import Artifact, find_artifact, verify
from recap_eval.errors import UserError
from recap_eval.files import digest_json
from recap_train import checkpoint
from recap_train.engine import Engine
from recap_train.evals import FOLDER as EVALS
from recap_train.evals import Evals
from recap_train.loop import LOG
from recap_train.mixing import Mix
from recap_train.recipes import TRAIN_OPTIONS, Recipe
from recap_train.schedule import Schedule
from recap_train.start import TOKENIZER_FILES, Start
from recap_train.weights import CONFIG, WEIGHTS
from recap_train.workers import Loading

if TYPE_CHECKING:
    from recap_train.join import CaptionSource

EMA = "ema"  # folder of the averaged weights' artifact
OWN = {checkpoint.NAME, checkpoint.KEPT, LOG, "tensorboard", EMA, EVALS, WEIGHTS, CONFIG, *TOKENIZER_FILES}


@dataclass(frozen=True)
class Run:
    """What is to be trained.

    Args:
        data: A folder of shards, of scenes (whose training split is then taken) or of a prepared set, or a pattern of files or
            URLs.
        recipe: Model and optimiser.
        mix: The mix of captions.
        samples_seen: Samples to see in all; rounded down to whole batches.
        seed: Of initial weights, order, coins and crops.
        out: The artifact's folder.
        name: What tables call it.
        roles: Which member is the original caption and which the recaption.
        precision: "fp32" or "bf16" (autocast).
        skip_bad: Leave out what is unreadable, counted, instead of stopping.
        engine: How the machine trains.
        loading: How the data is read.
        captions: Caption files to join, if a role is in them.
        start: Weights and tokenizer that it starts from.
        evals: Measuring on the way; changes nothing in what is trained.
        facts: What is said of the data, by name. The weights do not depend on it, but it stands beside their results, so a
            run that says otherwise is another run.
    """

    data: Path | str
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
    loading: Loading = field(default_factory=Loading)
    captions: CaptionSource | None = None
    start: Start = field(default_factory=Start)
    evals: Evals | None = None
    facts: dict[str, float | str] = field(default_factory=dict)

    def schedule(self) -> Schedule:
        """Return the run's length and optimiser.

        Raises:
            UserError: Fewer samples than one batch, or a learning rate that never stops rising.
        """
        train = TRAIN_OPTIONS | self.recipe.train
        size = train["batch_size"]
        steps = self.samples_seen // size
        if steps < 1:
            raise UserError(f"--samples-seen {self.samples_seen} is less than one batch of {size}.", "Ask for more samples.")
        rise = train["warmup_samples"] // size if "warmup_samples" in train else None
        if rise is not None and rise >= steps:
            raise UserError(f"The learning rate would rise for all of the {steps} steps.", "Set --warmup-samples lower.")
        return Schedule(
            steps,
            size,
            train["lr"],
            0.0 if rise is not None else train["warmup"],
            (float(train["betas"][0]), float(train["betas"][1])),
            train["weight_decay"],
            self.engine.save_seconds,
            train["eps"],
            train["grad_clip"],
            train["lr_schedule"],
            self.engine.keep_every,
            rise,
            tuple(train["no_decay"]),
        )


def identity_of(run: Run, data: str, window: int | None = None) -> str:
    """Return the digest of everything the trained weights depend on.

    What came later than the first runs counts only where it is not at its default, so that they are found again.

    Args:
        run: The run.
        data: Fingerprint of the data.
        window: Samples shuffled together, where the set is larger than that.
    """
    parts = [run.recipe.digest, run.mix.p_original, run.samples_seen, run.seed, run.roles, run.precision, data]
    later = {
        "engine": run.engine.identity(),
        "mix": run.mix.settings,
        "window": window,
        "start": _start(run.start, data, window),
        "facts": run.facts,
    }
    said = {name: value for name, value in later.items() if value}
    return digest_json([*parts, said] if said else parts)


def _start(start: Start, data: str, window: int | None) -> list[object]:
    """Return what the weights depend on by what they start from; nothing for a run from its seed alone.

    The stage before counts by its own identity, so that its folder may be deleted once the last stage is done.
    """
    parts: list[object] = [start.tokenizer_digests()] if start.tokenizer is not None else []
    if start.before is not None:
        return [*parts, identity_of(start.before, data, window)]
    made_from = start.artifact()
    return parts if made_from is None else [*parts, made_from.made.get("identity", made_from.revision)]


def finished(run: Run, identity: str, more: frozenset[str] = frozenset()) -> Artifact | None:
    """Return the run's artifact if it is there already; refuse a folder that holds another one.

    Args:
        run: The run.
        identity: Its digest, see `identity_of`.
        more: Names that its folder may hold besides those of every run.

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
    own = OWN | more | ({run.start.before.out.name} if run.start.before is not None else set())
    if run.out.exists():
        strange = [path.name for path in run.out.iterdir() if path.name not in own and not path.name.endswith(".part")]
        if strange:
            raise UserError(f"{run.out} holds other files ({strange[0]}).", "Choose a new or an empty folder for --out.")
    return None
