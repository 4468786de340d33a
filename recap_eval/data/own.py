"""One's own images with captions, for a row in the data root's tasks.toml: img2dataset shards, or parquet files."""

from __future__ import annotations

from pathlib import Path

from recap_eval.data.annotations import check_unique
from recap_eval.data.items import NAMELESS, CaptionedImages, ImageItem
from recap_eval.data.parquet import RowGroups, images_in, parquet_files, read_columns
from recap_eval.data.shards import Sample, read_shards
from recap_eval.errors import DataError


def shards(root: Path, folder: str, text: str = "txt") -> CaptionedImages:
    """Read tars in the layout of img2dataset.

    Args:
        root: The data root.
        folder: The folder that directly holds the tars.
        text: Which member holds the captions: "txt", or "json:FIELD" for a field of KEY.json, a text or a list of texts.

    Raises:
        DataError: A tar is damaged, `text` is of another form, or an image has no caption.
    """
    if text != "txt" and not text.startswith("json:"):
        raise DataError(f"text = {text!r} is neither 'txt' nor 'json:FIELD'.", 'Example: text = "json:re_caption"')
    samples = read_shards(root / folder)
    captions = [as_captions(_member(sample, text)) for sample in samples]
    return _captioned(list(samples), captions, root / folder, text)


def _member(sample: Sample, text: str) -> object:
    return sample.text if text == "txt" else sample.meta.get(text.removeprefix("json:"))


def parquet(root: Path, files: str, image: str = "image", text: str = "text", key: str = "") -> CaptionedImages:
    """Read parquet files with an image and its captions in each row.

    Args:
        root: The data root.
        files: A parquet file, or a folder that holds some, at any depth.
        image: The column of images: bytes, structs with `bytes` (as Hugging Face writes them), or paths from the file's folder.
        text: The column of captions: a text or a list of texts.
        key: The column of keys, unique in the data set; empty for the file's name and the row's number.

    Raises:
        DataError: A file is damaged or lacks a column, an image is absent or has no caption, or a key occurs twice.
    """
    images, captions = read_parquet(root / files, image, text, key)
    return _captioned(images, captions, root / files, text)


def read_parquet(place: Path, image: str, text: str, key: str = "") -> tuple[list[ImageItem], list[list[str]]]:
    """Return the images and captions of parquet files; see `parquet`.

    Raises:
        DataError: A file is damaged or lacks a column, or an image is absent.
    """
    images: list[ImageItem] = []
    captions: list[list[str]] = []
    groups = RowGroups()
    for path in parquet_files(place):
        texts, *keyed = read_columns(path, [text, key] if key else [text])
        names = [str(name) for name in keyed[0]] if keyed else [f"{path.stem}-{row}" for row in range(len(texts))]
        images += images_in(path, image, names, groups)
        captions += [as_captions(value) for value in texts]
    return images, captions


def as_captions(value: object) -> list[str]:
    """Return a cell's captions, stripped of surrounding whitespace; none if it holds something else than text."""
    texts = value if isinstance(value, list) else [value]
    found = [text.strip() for text in texts if isinstance(text, str)]
    return found if len(found) == len(texts) else []


def _captioned(images: list[ImageItem], captions: list[list[str]], place: Path, text: str) -> CaptionedImages:
    check_unique([image.key for image in images], place)
    bare = [image.key for image, own in zip(images, captions, strict=True) if not all(own) or not own]
    if bare:
        raise DataError(
            f"{len(bare):,} of {len(images):,} images in {place} have no caption or an empty one; the first: {bare[0]}.",
            f"Captions were read from {text!r}; name another place for them, or mend the data.",
        )
    return CaptionedImages(NAMELESS, images, captions)
