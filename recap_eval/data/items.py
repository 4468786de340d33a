"""The forms in which tasks take their data, whatever files it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class ImageItem(Protocol):
    """One image, read when asked for."""

    @property
    def key(self) -> str:
        """Its key, unique in the data set."""

    @property
    def where(self) -> str:
        """Its file, for messages."""

    def read_image(self) -> bytes:
        """Return the encoded image."""


@dataclass(frozen=True)
class DataId:
    """Which data a result was measured on.

    Args:
        name: The data set, such as "scenes-v1".
        split: Its split.
        fingerprint: Digest of the ordered ids and contents, images and texts.
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
        labels: (N) indices into `classes`.
        classes: (C) class names.
        templates: Prompts with one `{}` each, averaged per class.
    """

    source: DataId
    images: list[ImageItem]
    labels: list[int]
    classes: list[str]
    templates: tuple[str, ...]


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


@dataclass(frozen=True)
class CaptionPairs:
    """True and false captions of images, for two-way choices.

    Args:
        source: Which data this is.
        images: (N) images.
        rows: (R) tuples of image index, true caption, false caption.
    """

    source: DataId
    images: list[ImageItem]
    rows: list[tuple[int, str, str]]
