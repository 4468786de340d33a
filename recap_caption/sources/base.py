"""What a reader gives: parts of the input in a fixed order, and in each part its samples in a fixed order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

from recap_caption.rows import DUPLICATE_KEY
from recap_eval.errors import UserError

NO_ROLE = "none"  # said of a text that there is none
FORMS = {"shards": ("txt", "json:"), "images": ("txt", "json:"), "parquet": ("parquet:",)}  # the roles that each form knows


@dataclass(frozen=True)
class Fault:
    """Why a sample cannot be asked about.

    Args:
        status: One of `rows.STATUSES`.
        kind: The kind of error, in a word.
        what: What is wrong, in a line.
    """

    status: str
    kind: str
    what: str


@dataclass(frozen=True)
class Item:
    """One sample.

    Args:
        key: Its key.
        where: Its file and place, without folders, for messages: rows travel.
        url: Where the image is from, if stated.
        sha256: The image's digest as stated; None if it is to be found when the image is read.
        org_caption: The original text; None if there is none.
        re_caption: An earlier recaption, for prompts that work on it.
        read_image: Returns the encoded image, or raises DataError; None where there is no image.
        fault: Why it cannot be asked about, or None.
    """

    key: str
    where: str
    url: str | None = None
    sha256: str | None = None
    org_caption: str | None = None
    re_caption: str | None = None
    read_image: Callable[[], bytes] | None = None
    fault: Fault | None = None


@dataclass(frozen=True)
class Part:
    """A unit of work and of commit: a shard, some row groups of a parquet file, some images of a folder.

    Args:
        name: What its output is called, without ending.
        size: Bytes, as a measure of work.
        file: Which of the source's names it lies in; -1 for a folder's images.
        rows: Its samples; of a shard as stated beside it, None if nobody says.
        groups: The row groups of a parquet file.
        members: The images of a folder.
        take: How many of its samples are captioned; None for all.
        identity: What tells whether it is still what it was.
    """

    name: str
    size: int
    file: int = -1
    rows: int | None = None
    groups: tuple[int, ...] = ()
    members: tuple[str, ...] = ()
    take: int | None = None
    identity: str = ""


@dataclass
class Opened:
    """A part that is being read.

    Args:
        items: Its samples, in order.
        torn: Why its file ended too early, or None.
        lost: Samples that should be there and cannot be read; -1 if nobody knows how many.
        close: Gives back what is held.
    """

    items: list[Item]
    torn: str | None = None
    lost: int = 0
    close: Callable[[], None] = field(default=lambda: None)

    def first(self, n: int | None) -> Opened:
        """Return it with its first n samples only."""
        return self if n is None else replace(self, items=self.items[:n])


class Source(Protocol):
    """An input.

    Attributes:
        form: One of `FORMS`.
        names: What it consists of, in order, without the folders that lead there; found without opening anything.
        has_texts: Whether its images have texts beside them, as far as can be told at a glance.
    """

    form: str
    names: list[str]
    has_texts: bool

    def parts(self) -> Iterator[Part]:
        """Yield its parts in order, without identities."""

    def identity(self, part: Part, hashed: bool) -> str:
        """Return what tells whether a part is still what it was: sizes and times, or digests if `hashed`.

        Raises:
            DataError: It is gone.
        """

    def open(self, part: Part) -> Opened:
        """Read a part's samples with their texts; images are read when asked for.

        Raises:
            DataError: Nothing of it can be read.
        """


@dataclass(frozen=True)
class Reading:
    """How an input is read.

    Args:
        original: Which text is the original: "txt", "json:FIELD", "parquet:COLUMN"; NO_ROLE if none is; None if nobody said.
        recaption: Likewise of an earlier recaption; None if no prompt needs it.
        columns: In parquet, which column is "key", "image", "url" or "sha256", where it is not called so.
        images: Whether any prompt sees the image.
        part: Samples of a part, of folders and parquet files.
    """

    original: str | None = None
    recaption: str | None = None
    columns: tuple[tuple[str, str], ...] = ()
    images: bool = True
    part: int = 5000

    @property
    def roles(self) -> dict[str, str]:
        """The texts that are read: field of `Item` to role."""
        named = {"org_caption": self.original, "re_caption": self.recaption}
        return {name: role for name, role in named.items() if role not in (None, NO_ROLE)}

    def check(self, form: str) -> None:
        """Check that it names what an input of this form has.

        Raises:
            UserError: It does not.
        """
        if self.columns and form != "parquet":
            raise UserError(f"--columns is about parquet files, and the input is {form}.", "Leave it out.")
        for role in self.roles.values():
            if not any(role == known or (known.endswith(":") and role.startswith(known)) for known in FORMS[form]):
                known = " or ".join(f"{word}NAME" if word.endswith(":") else word for word in FORMS[form])
                raise UserError(f"{role!r} names no text of {form}.", f"There it is {known}: --original-key, --recaption-key")


def mark_repeated(items: list[Item]) -> list[Item]:
    """Return samples of which those whose key came before cannot be asked about."""
    seen: set[str] = set()
    out = []
    for item in items:
        if item.key in seen:
            fault = Fault(DUPLICATE_KEY, "DuplicateKey", "the key came before in this shard; its first sample is captioned")
            item = replace(item, fault=fault)
        seen.add(item.key)
        out.append(item)
    return out


def plain_text(value: object) -> str | None:
    """Return a text that can be written as UTF-8 (half a surrogate pair is no character), None if it is no text."""
    if not isinstance(value, str):
        return None
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


def plain_key(name: str) -> str:
    """Return a key that can be written as UTF-8, bytes that are none spelled out, so that two keys stay two."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") if not name.isascii() else name
