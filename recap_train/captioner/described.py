"""Images and one text each, as rows: image-text shards, and HQ-Edit's parquet, whose every row describes two images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recap_eval.data.digests import fingerprint
from recap_eval.data.root import default_cache
from recap_eval.data.scenes.locate import scenes_folder
from recap_eval.data.scenes.write import MANIFEST
from recap_eval.data.shards import Sample, read_shards, stated_digests
from recap_eval.errors import DataError
from recap_eval.files import digest_file, digest_json
from recap_train.captioner.rows import HUMAN, MODEL, Picture, Row

SIDES = (("input_image", "input"), ("output_image", "output"))  # of HQ-Edit: an image and its description


@dataclass(frozen=True)
class Described:
    """Samples of shards with a caption each; see `Rows`.

    Args:
        samples: The samples.
        captions: (N) their captions.
        prompt: What the model is asked.
        fingerprint: Digest of keys, images and captions.
        facts: What was found.
    """

    samples: Sequence[Sample] = field(repr=False)
    captions: Sequence[str] = field(repr=False)
    prompt: str
    fingerprint: str
    facts: dict[str, Any]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Row:
        one = self.samples[index]
        picture = Picture(str(one.tar), one.image.offset, one.image.size)
        return Row(one.where, (picture,), ((HUMAN, self.prompt), (MODEL, self.captions[index])))

    def lengths(self) -> list[int]:
        """Return the words of each caption."""
        return [len(caption.split()) for caption in self.captions]

    def shown(self) -> list[bool]:
        """Return that each row has an image."""
        return [True] * len(self)


def read_described(data: Path, key: str, prompt: str) -> Described:
    """Read shards, or the training split of scenes.

    Args:
        data: Folder of shards or of scenes.
        key: Which text is the caption: "txt" or "json:FIELD".
        prompt: What the model is asked.

    Raises:
        DataError: There are none, or one has no caption.
    """
    scenes = scenes_folder(data)
    samples = read_shards(scenes / "train" if (scenes / MANIFEST).is_file() else data)
    captions = [sample.caption(key) or "" for sample in samples]
    kept = [index for index, caption in enumerate(captions) if caption.strip()]
    if not kept:
        raise DataError(f"No sample of {data} has a caption in {key!r}.", "Name another: --caption-key txt|json:FIELD")
    without = len(captions) - len(kept)
    samples, captions = [samples[index] for index in kept], [captions[index] for index in kept]
    digest = fingerprint([sample.key for sample in samples], stated_digests(samples), [[key, text] for text in captions])
    return Described(
        samples, captions, prompt, digest, {"rows": len(kept), "with_image": len(kept), "without_caption": without}
    )


@dataclass(frozen=True)
class Edits:
    """HQ-Edit's rows, each of them twice: what goes in, and what comes out; see `Rows`.

    Args:
        table: The rows as `datasets` holds them, on disk.
        prompt: What the model is asked.
        fingerprint: Digest of the files' digests.
        facts: What was found.
    """

    table: Any = field(repr=False)
    prompt: str
    fingerprint: str
    facts: dict[str, Any]

    def __len__(self) -> int:
        return len(SIDES) * len(self.table)

    def __getitem__(self, index: int) -> Row:
        number, side = divmod(index, len(SIDES))
        image, text = SIDES[side]
        found = self.table[number]
        payload, name = found[image]["bytes"], f"HQ-Edit, row {number}, {image}"
        if payload is None or not (found[text] or "").strip():
            raise DataError(f"{name} has no image or no description.", "Get the file again, or leave it out.")
        return Row(name, (Picture(name, payload=payload),), ((HUMAN, self.prompt), (MODEL, found[text])))

    def lengths(self) -> list[int]:
        """Return the words of each description."""
        columns = [self.table[text] for _, text in SIDES]
        return [len((text or "").split()) for pair in zip(*columns, strict=True) for text in pair]

    def shown(self) -> list[bool]:
        """Return that each row has an image."""
        return [True] * len(self)


def read_edits(files: Sequence[Path], prompt: str) -> Edits:
    """Read HQ-Edit's parquet files; `datasets` keeps a copy on disk from which any row is read at once.

    Raises:
        DataError: A file is no parquet, or is none of HQ-Edit's.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasets import Dataset, Image, disable_progress_bars

    wanted = [name for side in SIDES for name in side]
    for path in files:
        try:
            names = pq.read_schema(path).names
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{path} is no readable parquet ({str(error).splitlines()[0]}).", "Get the file again.") from error
        if lacking := [name for name in wanted if name not in names]:
            raise DataError(f"{path} has no column {lacking[0]!r}.", f"HQ-Edit's files have {', '.join(wanted)}.")
    disable_progress_bars()
    table = Dataset.from_parquet([str(path) for path in files], columns=wanted, cache_dir=str(default_cache() / "datasets"))
    for image, _ in SIDES:
        table = table.cast_column(image, Image(decode=False))
    rows = len(SIDES) * len(table)
    return Edits(table, prompt, digest_json([digest_file(path) for path in files]), {"rows": rows, "with_image": rows})
