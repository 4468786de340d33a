"""The forms in which tasks take their data, whatever files it comes from.

A reader returns one of `LabelledImages`, `CaptionedImages`, `CaptionPairs`, `CaptionQuads`. Nothing is decoded and no image is
read before it is embedded; texts are read at once.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from recap_eval.errors import DataError

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels


class ImageItem(ABC):
    """One image, read when asked for.

    Attributes:
        key: Its key, unique in the data set.
        where: Its file, for messages.
        box: The part of it that is meant, or None for all of it.
    """

    key: str
    where: str
    box: Box | None = None

    @abstractmethod
    def read_image(self) -> bytes:
        """Return the encoded image."""

    def stamp(self) -> str | None:
        """Return a text that changes whenever the bytes may have changed, found without reading them; None if there is none."""
        return None


@dataclass(frozen=True)
class FileImage(ImageItem):
    """An image in a file of its own.

    Args:
        key: Its key, unique in the data set.
        path: Its file.
        box: The part of it that is meant, or None for all of it.
    """

    key: str
    path: Path
    box: Box | None = None

    @property
    def where(self) -> str:  # type: ignore[override]
        """Its file, for messages."""
        return str(self.path)

    def read_image(self) -> bytes:
        """Return the file's bytes.

        Raises:
            DataError: The file is missing or unreadable.
        """
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise DataError(f"Cannot read {self.path}: {error.strerror}.", "Restore it, or get the data again.") from error

    def stamp(self) -> str | None:
        """Return the file's path, size and time of change."""
        return file_stamp(self.path)


def file_stamp(path: Path) -> str | None:
    """Return a file's absolute path, size and time of change, in nanoseconds; None if it is not there."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return f"{os.path.abspath(path)}\0{facts.st_size}\0{facts.st_mtime_ns}"  # noqa: PTH100 (no links resolved: that is slow)


@dataclass(frozen=True)
class DataId:
    """Which data a result was measured on.

    Args:
        name: The data set, such as "scenes-v1".
        split: Its split.
        fingerprint: Digest of the ordered ids and contents, images and texts; empty until the images have been read.
        reference: What it is, in a few words, for the report.
    """

    name: str
    split: str
    fingerprint: str
    reference: str


@dataclass(frozen=True)
class LabelledImages:
    """Images with a class each, for zero-shot classification.

    Args:
        source: Which data this is.
        images: (N) images.
        labels: (N) indices into `classes`; a tuple of them where any of several classes is right.
        classes: (C) class names.
        templates: Prompts with one `{}` each, averaged per class.
        settings: What of classes and templates is not fixed by the task, for the result's settings.
    """

    source: DataId
    images: list[ImageItem]
    labels: list[int] | list[tuple[int, ...]]
    classes: list[str]
    templates: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)

    def first(self, n: int) -> LabelledImages:
        """Return the part of the first `n` images."""
        return replace(self, images=self.images[:n], labels=self.labels[:n])

    def texts(self) -> list[str]:
        """Return all prompts, class by class."""
        return [template.format(name) for name in self.classes for template in self.templates]

    def contents(self) -> list[object]:
        """Return per image what besides the image counts for the fingerprint."""
        return list(self.labels)


@dataclass(frozen=True)
class CaptionedImages:
    """Images with one or more captions each, for retrieval.

    Args:
        source: Which data this is.
        images: (N) images.
        captions: (N) lists of captions.
    """

    source: DataId
    images: list[ImageItem]
    captions: list[list[str]]

    def first(self, n: int) -> CaptionedImages:
        """Return the part of the first `n` images."""
        return replace(self, images=self.images[:n], captions=self.captions[:n])

    def texts(self) -> list[str]:
        """Return all captions."""
        return [caption for captions in self.captions for caption in captions]

    def contents(self) -> list[object]:
        """Return per image what besides the image counts for the fingerprint."""
        return list(self.captions)


@dataclass(frozen=True)
class CaptionPairs:
    """True and false captions of images, for two-way choices.

    Args:
        source: Which data this is.
        images: (N) images.
        rows: (R) tuples of image index, true caption, false caption.
        groups: (R) kind of each row, such as "swap_att", for breakdowns and macro averages; empty if there are none.
    """

    source: DataId
    images: list[ImageItem]
    rows: list[tuple[int, str, str]]
    groups: list[str] = field(default_factory=list)

    def first(self, n: int) -> CaptionPairs:
        """Return the part of the first `n` images."""
        kept = [i for i, row in enumerate(self.rows) if row[0] < n]
        groups = [self.groups[i] for i in kept] if self.groups else []
        return replace(self, images=self.images[:n], rows=[self.rows[i] for i in kept], groups=groups)

    def texts(self) -> list[str]:
        """Return all captions."""
        return [text for _, true, false in self.rows for text in (true, false)]

    def contents(self) -> list[object]:
        """Return per image what besides the image counts for the fingerprint."""
        each: list[list[object]] = [[] for _ in self.images]
        groups = self.groups or [""] * len(self.rows)
        for (image, true, false), group in zip(self.rows, groups, strict=True):
            each[image].append({"kind": group, "negative": false, "positive": true})
        return list(each)


@dataclass(frozen=True)
class CaptionQuads:
    """Two images and two captions that belong together crosswise, as in Winoground.

    Args:
        source: Which data this is.
        images: (2R) images: those of row r are 2r and 2r + 1.
        captions: (R) the caption of image 2r and that of image 2r + 1.
        groups: (R) kind of each row, for breakdowns; empty if there are none.
    """

    source: DataId
    images: list[ImageItem]
    captions: list[tuple[str, str]]
    groups: list[str] = field(default_factory=list)

    def first(self, n: int) -> CaptionQuads:
        """Return the part of the first `n` images, whole rows only."""
        rows = n // 2
        return replace(self, images=self.images[: 2 * rows], captions=self.captions[:rows], groups=self.groups[:rows])

    def texts(self) -> list[str]:
        """Return all captions."""
        return [text for pair in self.captions for text in pair]

    def contents(self) -> list[object]:
        """Return per image what besides the image counts for the fingerprint."""
        return list(self.texts())


AnyData = LabelledImages | CaptionedImages | CaptionPairs | CaptionQuads


NAMELESS = DataId("", "", "", "")  # what readers of foreign layouts return: the task's row knows the name
