"""The data of a run: its shards found and indexed, its captions checked before anything is spent, its fingerprint."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recap_eval.console import progress_bar, warn
from recap_eval.data.digests import fingerprint
from recap_eval.data.root import default_cache
from recap_eval.data.scenes.locate import scenes_folder
from recap_eval.data.scenes.write import MANIFEST, ROLES, check_manifest
from recap_eval.data.shard_places import find_shards
from recap_eval.data.shard_set import ShardSet, open_shards
from recap_eval.data.shards import stated_digests
from recap_eval.errors import DataError, UserError
from recap_eval.files import digest_json
from recap_train.loader import MEMORY, CaptionReader, Roles

SMALL = 100_000  # samples of which all texts are read, and remembered, at the start
LOOKED_AT = 1000  # samples of a larger set whose captions are looked at, at even distances
LONG = 20_000  # samples that take long enough to read for a progress bar
TOLD = 5  # problems that are told one by one


@dataclass(frozen=True)
class TrainingData:
    """What is trained on.

    Args:
        shards: The samples.
        captions: Their captions.
        fingerprint: Digest of what they are; see `read_training_data`.
    """

    shards: ShardSet
    captions: CaptionReader
    fingerprint: str

    @property
    def small(self) -> bool:
        """True if the set is small enough to be remembered from epoch to epoch."""
        return len(self.shards) <= SMALL

    def some_captions(self, most: int = 1_000_000) -> Iterator[tuple[str, str]]:
        """Yield the captions of all samples, or of `most` at even distances."""
        return (self.captions_or_empty(index) for index in spread(len(self.shards), most))

    def captions_or_empty(self, index: int) -> tuple[str, str]:
        """Return a sample's captions; empty ones of a sample that lacks one, which `skip_bad` leaves out when it comes."""
        try:
            return self.captions.of(index)
        except DataError:
            return "", ""


def spread(n: int, most: int) -> list[int]:
    """Return all of range(n), or `most` numbers of it at even distances."""
    return list(range(n)) if n <= most else np.linspace(0, n - 1, most).astype(int).tolist()


def declared_roles(data: Path | str) -> dict[str, str]:
    """Return the roles that a folder of scenes declares itself; none for other shards, whose roles the user names."""
    return dict(ROLES) if _is_scenes(data) else {}


def _is_scenes(data: Path | str) -> bool:
    return isinstance(data, Path) and (scenes_folder(data) / MANIFEST).is_file()


def read_training_data(data: Path | str, roles: dict[str, str], skip_bad: bool, max_bad: float = 0.01) -> TrainingData:
    """Find and index the shards, and see that the samples have the captions that the roles name.

    The fingerprint of up to SMALL samples is over keys, stated image digests and captions, however they are cut into shards. Of
    a larger set it is over the shards' digests (keys, sizes of the images, KEY.txt and KEY.json), in order.

    Args:
        data: A folder of shards or of scenes (whose training split is then taken), or a pattern of files or URLs.
        roles: Which member is the original caption and which the recaption.
        skip_bad: Leave out what is damaged, counted, instead of stopping.
        max_bad: Largest share of the samples that may be left out so.

    Raises:
        UserError: A role is not named.
        DataError: Shards are unreadable, or samples lack the member that a role names.
    """
    for role in ("original", "recaption"):
        if role not in roles:
            raise UserError(
                f"Which member holds the {role} is not named.",
                f"Name it: --{role}-key txt|json:FIELD, or use --caption-preset.",
            )
    shards = _open(data, skip_bad)
    _check_lost(shards, max_bad)
    memory = MEMORY if len(shards) <= SMALL else 0
    captions = CaptionReader(shards, Roles(roles["original"], roles["recaption"]), memory)
    return TrainingData(shards, captions, _look_through(shards, captions, max_bad if skip_bad else 0.0))


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
    for problem in problems[:TOLD]:
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


def _look_through(shards: ShardSet, captions: CaptionReader, may_lack: float) -> str:
    """Read the captions of all samples, or of some of a large set, and return the fingerprint."""
    looked = spread(len(shards), len(shards) if len(shards) <= SMALL else LOOKED_AT)
    keys, digests, contents, lacking = [], [], [], []
    with progress_bar(len(looked), "reading captions", "sample", disable=len(looked) < LONG) as bar:
        for index in looked:
            sample = shards.sample(index)
            try:
                contents.append(captions.of(index, sample))
            except DataError:
                lacking.append(sample.where)
                contents.append(("", ""))
            keys.append(sample.key)
            digests += stated_digests([sample]) if len(shards) <= SMALL else [""]
            bar.update()
    if len(lacking) > may_lack * len(looked):
        raise DataError(
            f"{len(lacking)} of {len(looked)} samples lack a caption member, the first {lacking[0]}.",
            f"Roles are {_roles(captions)}; name others with --original-key and --recaption-key.",
        )
    if len(shards) <= SMALL:
        return fingerprint(keys, digests, contents)
    return digest_json(["shards", list(shards.facts.digests), shards.facts.dropped.tolist()])


def _roles(captions: CaptionReader) -> dict[str, str]:
    roles = captions.captions_of
    return {"original": roles.original, "recaption": roles.recaption} if isinstance(roles, Roles) else {}
