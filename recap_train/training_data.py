"""The data of a run: its samples found, its captions checked before anything is spent, its fingerprint."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from recap_eval.captions.joined import Joined
from recap_eval.console import progress_bar, warn
from recap_eval.data.digests import fingerprint
from recap_eval.data.root import default_cache
from recap_eval.data.scenes.locate import scenes_folder
from recap_eval.data.scenes.write import MANIFEST, ROLES, check_manifest
from recap_eval.data.shard_places import find_shards
from recap_eval.data.shard_set import ShardSet, open_shards
from recap_eval.data.shards import list_shards, stated_digests
from recap_eval.errors import DataError
from recap_eval.files import digest_json, read_json
from recap_eval.hashrand import text_key
from recap_train.captions import Captions, Roles, SampleTexts, Texts, check_roles, parquet_columns, read_captions
from recap_train.crops import Crop
from recap_train.join import read_joined
from recap_train.loader import MEMORY, Batches, CaptionReader, Feed
from recap_train.plan import KeyTable, Plan
from recap_train.prepared import MANIFEST as PREPARED
from recap_train.prepared import Prepared, PreparedFeed, TokenTable, is_prepared, open_prepared

if TYPE_CHECKING:
    from recap_train.run import Run

SMALL = 100_000  # samples of which all texts are read, and remembered, at the start
LOOKED_AT = 1000  # samples of a larger set whose captions are looked at, at even distances
VOCABULARY = 1_000_000  # captions that a word tokenizer is made of, at most
LONG = 20_000  # samples that take long enough to read for a progress bar
TOLD = 5  # problems that are told one by one


class TrainingData(Protocol):
    """What is trained on: numbered samples, their captions, and what makes batches of them."""

    @property
    def fingerprint(self) -> str:
        """Digest of images and captions, in order."""

    @property
    def source(self) -> str:
        """The fingerprint of the shards that a prepared set was made of; else the same."""

    def __len__(self) -> int: ...

    def keys(self) -> KeyTable:
        """Return the 64-bit keys of all samples."""

    def sizes(self) -> np.ndarray | None:
        """Return (S,) samples in each shard, if they lie in shards."""

    def name(self, index: int) -> str:
        """Return a sample's key as text."""

    def captions_at(self, index: int) -> Captions:
        """Return a sample's captions; empty ones if it lacks one, which `skip_bad` leaves out when it comes."""

    def ledger(self) -> dict[str, Any]:
        """Return what the set itself lacks: shards lost, samples there twice."""

    def feed(self, run: Run, plan: Plan, tokenizer: Any) -> Batches:
        """Return what makes the run's batches."""


@dataclass(frozen=True)
class ShardData:
    """Samples of shards; see `TrainingData`."""

    shards: ShardSet
    captions: CaptionReader
    fingerprint: str
    lacking: Captions

    @property
    def source(self) -> str:
        """The same: they are the shards themselves."""
        return self.fingerprint

    def __len__(self) -> int:
        return len(self.shards)

    def keys(self) -> KeyTable:
        """Return the keys, read from the indexes when asked for."""
        return self.shards.keys

    def sizes(self) -> np.ndarray:
        """Return (S,) samples in each shard."""
        return self.shards.sizes

    def name(self, index: int) -> str:
        """Return a sample's key as text."""
        return self.shards.sample(index).key

    def captions_at(self, index: int) -> Captions:
        """Return a sample's captions, empty ones if it lacks one."""
        try:
            return self.captions.of(index)
        except DataError:
            return self.lacking

    def ledger(self) -> dict[str, Any]:
        """Return what the shards lack."""
        return self.shards.ledger()

    def feed(self, run: Run, plan: Plan, tokenizer: Any) -> Batches:
        """Return what makes the run's batches; a large set is not remembered from epoch to epoch."""
        memory = MEMORY if len(self) <= SMALL else 0
        return Feed(self.captions, plan, tokenizer, crop_of(run), run.skip_bad, memory)


@dataclass(frozen=True)
class PreparedData:
    """A prepared set; see `TrainingData`."""

    prepared: Prepared
    captions: list[Captions]
    fingerprint: str
    source: str

    def __len__(self) -> int:
        return len(self.prepared)

    def keys(self) -> KeyTable:
        """Return the keys."""
        return np.array([text_key(key) for key in self.prepared.keys], dtype=np.uint64)

    def sizes(self) -> None:
        """Return None: it lies in one piece."""
        return

    def name(self, index: int) -> str:
        """Return a sample's key as text."""
        return self.prepared.keys[index]

    def captions_at(self, index: int) -> Captions:
        """Return a sample's captions."""
        return self.captions[index]

    def ledger(self) -> dict[str, Any]:
        """Return what was left out when it was prepared."""
        bad = int(self.prepared.manifest.get("bad", 0))
        return {"samples": len(self), "lost": [f"{bad} unreadable images when it was prepared"] if bad else [], "duplicates": 0}

    def feed(self, run: Run, plan: Plan, tokenizer: Any) -> Batches:
        """Return what makes the run's batches."""
        return PreparedFeed(self.prepared, self.captions, plan, TokenTable(tokenizer), crop_of(run))


def crop_of(run: Run) -> Crop:
    """Return how the run's images become squares."""
    return Crop(run.recipe.image_size, run.recipe.train["crop_min_area"], run.recipe.interpolation)


def plan_of(run: Run, data: TrainingData) -> Plan:
    """Return what is seen when."""
    return Plan(data.keys(), run.mix, run.seed, data.sizes(), run.loading.window)


def some_captions(data: TrainingData) -> Iterator[Captions]:
    """Yield the captions of all samples, or of many at even distances."""
    return (data.captions_at(index) for index in spread(len(data), VOCABULARY))


def first_samples(data: TrainingData, n: int = 3) -> list[tuple[str, Captions]]:
    """Return keys and captions of the first samples."""
    return [(data.name(index), data.captions_at(index)) for index in range(min(n, len(data)))]


def names_of(data: TrainingData, keys: np.ndarray) -> list[str]:
    """Return the names of samples by their 64-bit keys; of a large set, the keys themselves."""
    if len(data) > SMALL:
        return [f"{int(key):016x}" for key in keys]
    place = {int(key): index for index, key in enumerate(data.keys()[np.arange(len(data))])}
    return [data.name(place[int(key)]) for key in keys]


def spread(n: int, most: int) -> list[int]:
    """Return all of range(n), or `most` numbers of it at even distances."""
    return list(range(n)) if n <= most else np.linspace(0, n - 1, most).astype(int).tolist()


def declared_roles(data: Path | str) -> dict[str, str]:
    """Return the roles that scenes, or a set prepared of them, declare; none for other data, whose roles the user names."""
    if isinstance(data, Path) and is_prepared(data):
        return dict(read_json(data / PREPARED)["roles"])
    return dict(ROLES) if _is_scenes(data) else {}


def _is_scenes(data: Path | str) -> bool:
    return isinstance(data, Path) and (scenes_folder(data) / MANIFEST).is_file()


def read_training_data(run: Run) -> TrainingData:
    """Find the samples, and see that they have the captions that the roles name.

    The fingerprint of up to SMALL samples is over keys, stated image digests and captions, however they are cut into shards. Of
    a larger set it is over the shards' digests (keys, sizes of the images, KEY.txt and KEY.json), in order.

    Raises:
        UserError: A role is not named.
        DataError: No shards, or unreadable ones; samples lack the member that a role names; captions cannot be joined.
    """
    _check_there(run.data)
    check_roles(run.roles, run.captions is not None)
    if isinstance(run.data, Path) and is_prepared(run.data):
        prepared = open_prepared(run.data)
        captions = read_captions(prepared, run.roles, _joined(run, prepared))
        source = fingerprint(prepared.keys, prepared.digests, [one.texts() for one in captions])
        return PreparedData(prepared, captions, prepared.fingerprint(source), source)
    shards = _open(run.data, run.skip_bad)
    _check_lost(shards, run.loading.max_bad)
    joined = _joined(run, SampleTexts(shards))
    reader = CaptionReader(shards, Roles(run.roles, joined), MEMORY if len(shards) <= SMALL else 0)
    lacking = Captions("", ("",) * run.mix.recaptions)
    made_of = _look_through(shards, reader, lacking, run.loading.max_bad if run.skip_bad else 0.0)
    return ShardData(shards, reader, _with_joined(made_of, shards, joined), lacking)


def _check_there(data: Path | str) -> None:
    """Refuse a folder without shards before anything is asked about its captions."""
    if isinstance(data, Path) and not is_prepared(data) and not _is_scenes(data):
        list_shards(data)


def _joined(run: Run, texts: Texts) -> Joined | None:
    return read_joined(texts, run.captions, parquet_columns(run.roles))


def _with_joined(made_of: str, shards: ShardSet, joined: Joined | None) -> str:
    """Return the fingerprint of a large set with what was joined to it; a small one's captions are in it already."""
    return made_of if joined is None or len(shards) <= SMALL else digest_json([made_of, joined.path.stem])


def _open(data: Path | str, skip_bad: bool) -> ShardSet:
    cache = default_cache() / "shards"
    if isinstance(data, Path) and _is_scenes(data):
        check_manifest(scenes_folder(data))
        data = scenes_folder(data) / "train"
    paths, absent = find_shards(data, cache, skip_bad)
    return open_shards(paths, cache, skip_bad, absent)


def _check_lost(shards: ShardSet, max_bad: float) -> None:
    """Tell what is left out, and stop if that is too much; a shard of unknown size counts as a mean one."""
    problems, mean = shards.facts.problems, len(shards) / max(1, int(np.count_nonzero(shards.sizes)))
    for problem in islice(problems, TOLD):
        warn(problem.line())
    if len(problems) > TOLD:
        warn(f"and {len(problems) - TOLD} more; all stand in the artifact's ledger")
    if shards.facts.dropped.size:
        warn(f"{len(shards.facts.dropped):,} samples whose key occurred before are left out")
    lost = sum(mean if problem.samples < 0 else problem.samples for problem in problems) + len(shards.facts.dropped)
    if lost > max_bad * (len(shards) + lost):
        raise DataError(
            f"About {lost:,.0f} of {len(shards) + lost:,.0f} samples are lost or there twice.",
            f"That is more than --max-bad {max_bad:g}; mend the shards, or allow more.",
        )


def _look_through(shards: ShardSet, reader: CaptionReader, lacks: Captions, may_lack: float) -> str:
    """Read the captions of all samples, or of some of a large set, and return the fingerprint."""
    small = len(shards) <= SMALL
    looked = spread(len(shards), len(shards) if small else LOOKED_AT)
    keys, digests, contents, lacking = [], [], [], []
    with progress_bar(len(looked), "reading captions", "sample", disable=len(looked) < LONG) as bar:
        for index in looked:
            sample = shards.sample(index)
            try:
                contents.append(reader.of(index, sample).texts())
            except DataError:
                lacking.append(sample.where)
                contents.append(lacks.texts())
            keys.append(sample.key)
            digests += stated_digests([sample]) if small else [""]
            bar.update()
    if len(lacking) > may_lack * len(looked):
        raise DataError(
            f"{len(lacking)} of {len(looked)} samples lack a caption member, the first {lacking[0]}.",
            f"Roles are {reader.roles.roles}; name others with --original-key and --recaption-key.",
        )
    return (
        fingerprint(keys, digests, contents)
        if small
        else digest_json(["shards", list(shards.facts.digests), shards.facts.dropped.tolist()])
    )
