"""What the item ids of a result stand for: the image or caption that was asked, what is right, what was put first instead.

Tasks name an image by its key; a caption by "key#number", numbered over all captions measured; a pair by "key#row"; and a
case of two images by "key#case", with the first one's key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from recap_eval.data.items import AnyData, CaptionedImages, CaptionPairs, CaptionQuads, ImageItem, LabelledImages
from recap_eval.errors import DataError


@dataclass(frozen=True)
class Thing:
    """An image or a text of a data set.

    Args:
        id: Its id in the result.
        text: The text; None if it is an image, or if the data is absent.
        image: The image; of a caption, the one it belongs to where that is to be shown.
    """

    id: str
    text: str | None = None
    image: ImageItem | None = None


Described = tuple[Thing, tuple[Thing, ...], Thing | None]  # asked, right, put first
Describe = Callable[[str, str, str | None], Described]  # from item, cluster, given


def describer(data: AnyData | None, metric: str, measured: Iterable[str]) -> tuple[int | None, Describe]:
    """Return how many classes, captions or images an item is ranked among, and the function that describes an item.

    Args:
        data: The data as it was measured, a limit applied; None if it is absent, so that ids stand for themselves.
        metric: The metric's name: "t2i…" asks by caption.
        measured: Keys of the images that were measured; the unreadable ones carry no caption numbers.
    """
    if data is None:
        return None, lambda item, cluster, given: (Thing(item), (), None if given is None else Thing(given))
    if isinstance(data, LabelledImages):
        return len(data.classes), _of_labels(data)
    if isinstance(data, CaptionedImages):
        kept = set(measured)
        texts = [Thing(image.key, text, image) for image, own in zip(data.images, data.captions, strict=True)
                 if image.key in kept for text in own]  # fmt: skip
        by_key = _by_key(data.images)
        return (len(kept), _of_captions(texts, by_key)) if metric.startswith("t2i") else (len(texts), _of_images(texts, by_key))
    return None, _of_pairs(data) if isinstance(data, CaptionPairs) else _of_quads(data)


def _by_key(images: Sequence[ImageItem]) -> dict[str, ImageItem]:
    return {image.key: image for image in images}


def _lost(item: str) -> DataError:
    return DataError(f"Item {item!r} of the result is not in the data.", "Measure again: recap-eval clip … --force")


def _image(images: dict[str, ImageItem], key: str) -> Thing:
    if key not in images:
        raise _lost(key)
    return Thing(key, image=images[key])


def _text(given: str | None) -> Thing | None:
    return None if given is None else Thing(given, given)


def _numbered(things: Sequence[Thing], item: str) -> Thing:
    """Return the caption, or pair, that "key#number" names."""
    key, _, number = item.rpartition("#")
    if not number.isdecimal() or int(number) >= len(things) or things[int(number)].id != key:
        raise _lost(item)
    return replace(things[int(number)], id=item)


def _of_labels(data: LabelledImages) -> Describe:
    images = _by_key(data.images)
    label_of = {image.key: label for image, label in zip(data.images, data.labels, strict=True)}

    def describe(item: str, cluster: str, given: str | None) -> Described:
        image, label = _image(images, item), label_of[item]
        names = [data.classes[i] for i in (label if isinstance(label, tuple) else (label,))]
        return image, tuple(Thing(name, name) for name in names), _text(given)

    return describe


def _of_images(texts: Sequence[Thing], images: dict[str, ImageItem]) -> Describe:
    own: dict[str, list[Thing]] = {}
    for number, text in enumerate(texts):
        own.setdefault(text.id, []).append(Thing(f"{text.id}#{number}", text.text))

    def describe(item: str, cluster: str, given: str | None) -> Described:
        return _image(images, item), tuple(own[item]), None if given is None else _numbered(texts, given)

    return describe


def _of_captions(texts: Sequence[Thing], images: dict[str, ImageItem]) -> Describe:
    def describe(item: str, cluster: str, given: str | None) -> Described:
        asked = Thing(item, _numbered(texts, item).text)
        return asked, (_image(images, cluster),), None if given is None else _image(images, given)

    return describe


def _of_pairs(data: CaptionPairs) -> Describe:
    rows = [Thing(data.images[image].key, true, data.images[image]) for image, true, _ in data.rows]

    def describe(item: str, cluster: str, given: str | None) -> Described:
        row = _numbered(rows, item)
        return Thing(cluster, image=row.image), (Thing(item, row.text),), _text(given)

    return describe


def _of_quads(data: CaptionQuads) -> Describe:
    """Describe a case by its two images with their own captions; what was put first is told in words by the result."""
    own = [Thing(image.key, data.captions[number // 2][number % 2], image) for number, image in enumerate(data.images)]

    def describe(item: str, cluster: str, given: str | None) -> Described:
        _numbered(own[::2], item)
        case = 2 * int(item.rpartition("#")[2])
        return Thing(item), (own[case], own[case + 1]), _text(given)

    return describe
