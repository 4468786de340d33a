"""The captions of training samples: from the members of a shard, or joined from caption files; by the roles a user names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from recap_eval.data.shard_set import ShardSet
from recap_eval.data.shards import Sample
from recap_eval.errors import DataError, UserError

if TYPE_CHECKING:
    from recap_eval.captions.joined import Joined

PARQUET = "parquet:"  # a role in a caption file
ORIGINAL, RECAPTION = "original", "recaption"


@dataclass(frozen=True, slots=True)
class Captions:
    """What can be said of one image; an empty text is a caption that is missing.

    Args:
        original: The caption that the image came with.
        recaptions: Its recaptions, as many for every image of a data set, at least one.
    """

    original: str
    recaptions: tuple[str, ...]

    def texts(self) -> tuple[str, ...]:
        """Return the original and the recaptions."""
        return (self.original, *self.recaptions)


class Texts(Protocol):
    """The texts beside a data set's images, in the order of the images."""

    def column(self, role: str) -> Sequence[str | None]:
        """Return (N) texts that a role names ("key", "txt", "json:FIELD"); None where there is no such member, "" for null."""

    def where(self, index: int) -> str:
        """Return a sample's name for messages."""


@dataclass(frozen=True)
class SampleTexts:
    """The texts of samples of shards, read from the shards when asked for.

    Args:
        samples: (N) samples.
    """

    samples: Sequence[Sample] | ShardSet

    def column(self, role: str) -> list[str | None]:
        """Return (N) texts; see `Texts.column`."""
        if role == "key":
            return [sample.key for sample in self.samples]
        return [_member(sample, role) for sample in self.samples]

    def where(self, index: int) -> str:
        """Return a sample's name for messages."""
        return self.samples[index].where


def _member(sample: Sample, role: str) -> str | None:
    found = sample.caption(role)
    null = found is None and role.startswith("json:") and sample.meta.get(role.removeprefix("json:"), 0) is None
    return "" if null else found


def recaption_roles(roles: dict[str, str]) -> list[str]:
    """Return the names of the roles that are recaptions, in order: recaption, recaption_2, …."""
    return [name for name in roles if name.startswith(RECAPTION)]


def check_roles(roles: dict[str, str], captions_given: bool) -> None:
    """Check that both kinds are named, and caption files given exactly if a role is in them.

    Raises:
        UserError: A role is not named, or a caption file is missing or not used.
    """
    for role in (ORIGINAL, RECAPTION):
        if role not in roles:
            raise UserError(
                f"Which member holds the {role} is not named.",
                f"Name it: --{role}-key txt|json:FIELD, or use --caption-preset.",
            )
    joined = [value for value in roles.values() if value.startswith(PARQUET)]
    if joined and not captions_given:
        raise UserError(f"{joined[0]!r} is in a caption file, and none is given.", "Name it: --captions FILE.parquet")
    if captions_given and not joined:
        raise UserError("--captions is given, and no role is in it.", "Name one: --recaption-key parquet:re_caption")


def parquet_columns(roles: dict[str, str]) -> list[str]:
    """Return the columns of caption files that roles name, each once."""
    return list(dict.fromkeys(value.removeprefix(PARQUET) for value in roles.values() if value.startswith(PARQUET)))


@dataclass(frozen=True)
class Roles:
    """Which texts are the original caption and the recaptions of a sample: the one place that knows.

    Args:
        roles: "txt", "json:FIELD" or "parquet:COLUMN" by name: original, recaption, recaption_2, ….
        joined: The caption files, joined, if a role is in them.
    """

    roles: dict[str, str]
    joined: Joined | None = None

    def of(self, index: int, sample: Sample) -> Captions:
        """Return the captions of a sample.

        Args:
            index: Its number, by which caption files are joined.
            sample: The sample.

        Raises:
            DataError: It lacks one of them.
        """
        names = [ORIGINAL, *recaption_roles(self.roles)]
        found = [self._text(self.roles[name], index, sample) for name in names]
        texts = tuple(text for text in found if text is not None)
        if len(texts) < len(names):
            lacking = self.roles[names[found.index(None)]]
            raise DataError(
                f"{sample.where} has no {lacking}.", "Name other roles: --original-key, --recaption-key; or --skip-bad."
            )
        return Captions(texts[0], texts[1:])

    def _text(self, role: str, index: int, sample: Sample) -> str | None:
        if self.joined is None or not role.startswith(PARQUET):
            return _member(sample, role)
        return self.joined.texts(role.removeprefix(PARQUET), np.array([index]))[0]


def read_captions(texts: Texts, roles: dict[str, str], joined: Joined | None = None) -> list[Captions]:
    """Return the captions of all samples.

    Args:
        texts: The texts beside the images.
        roles: Where original and recaptions are.
        joined: The caption files, joined, if a role is in them.

    Raises:
        DataError: Samples lack a member that a role names.
    """
    names = [ORIGINAL, *recaption_roles(roles)]
    columns = [_column(texts, roles[name], joined) for name in names]
    rows = list(zip(*columns, strict=True))
    lacking = [number for number, row in enumerate(rows) if None in row]
    if lacking:
        raise DataError(
            f"{len(lacking)} of {len(rows)} samples lack a caption member, the first {texts.where(lacking[0])}.",
            f"Roles are {roles}; name others with --original-key and --recaption-key.",
        )
    return [Captions(row[0], tuple(row[1:])) for row in rows]


def _column(texts: Texts, role: str, joined: Joined | None) -> Sequence[str | None]:
    if joined is None or not role.startswith(PARQUET):
        return texts.column(role)
    return joined.texts(role.removeprefix(PARQUET))


def preview(samples: Iterable[tuple[str, Captions]]) -> str:
    """Return samples (key, captions) with all their captions, so that swapped roles are seen before anything is spent."""
    lines = []
    for key, captions in samples:
        lines.append(f"  {key}  original:  {captions.original[:110]!r}")
        lines += [f"  {' ' * len(key)}  recaption: {text[:110]!r}" for text in captions.recaptions]
    return "\n".join(lines)
