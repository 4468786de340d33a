"""Data sets by name, for prompts and for references: which images, which captions, and the digest that they are known by.

The digests are of the images' ids in ascending order (`data/coco_ids.py`). They were made from public lists, for each at least
one: val2014 and train2014 (the lists of CoDiR; train2014 also those of bottom-up-attention-vqa), Karpathy's val and test
(bottom-up-attention and Up-Down-Captioner, which agree); restval is val2014 without those two. docs/protocols.md has the table.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from recap_eval.data.coco_ids import Lock

RAW, RECAP = "raw", "recap"
ALIASES = {"coco30k": "coco-30k", "recap-coco30k": "recap-coco-30k"}


@dataclass(frozen=True)
class Preset:
    """A data set by name.

    Args:
        summary: What it is, in a line.
        reader: MODULE:ATTR of a function (root, **options) that gives `CaptionedImages`.
        columns: Options of the reader, by the column a user may choose.
        options: Further options of the reader.
        captions: Which caption of an image is its prompt.
        get: How its data is had, {root} being the data root.
        lock: Which images it stands for; None where that is the data's own affair.
    """

    summary: str
    reader: str
    columns: dict[str, dict[str, Any]]
    options: dict[str, Any] = field(default_factory=dict)
    captions: str = "the first of each image"
    get: str = ""
    lock: Lock | None = None


RESTVAL = "8be80a00993f2a954842ebc5e9f9bca24aeb5d745fd462560d02ecf60dbefcae"
VAL = {"json": "coco/annotations/captions_val2014.json", "images": "coco/val2014"}
TRAIN = {"json": "coco/annotations/captions_train2014.json", "images": "coco/train2014"}
GET_VAL = "recap-eval fetch coco-val2014 coco-annotations2014 --data {root}"


def _karpathy(split: str, n: int, digest: str) -> Preset:
    options = {"json": "coco/dataset_coco.json", "images": "coco", "split": split}
    summary = f"COCO, Karpathy's split {split!r}"
    get = "recap-eval fetch karpathy coco-val2014 --data {root}"
    return Preset(summary, "recap_eval.data.captioned:karpathy", {RAW: {}}, options, get=get, lock=Lock(n, digest))


PRESETS = {
    "scenes": Preset(
        "drawn scenes, the test split",
        "recap_eval.data.scenes.locate:captioned",
        {RAW: {"column": "captions"}, RECAP: {"column": "long_caption"}},
        get="recap-eval scenes {root}/scenes",
    ),
    "recap-coco-30k": Preset(
        "Recap-COCO-30K, the paper's: COCO val2014 with recaptions",
        "recap_eval.data.long_captions:recap_coco",
        {RAW: {"column": "caption"}, RECAP: {"column": "recaption"}},
        {"folder": "recap-coco-30k"},
        get="recap-eval fetch recap-coco-30k --data {root}",
        lock=Lock(30_504, RESTVAL, presumed=True),
    ),
    "coco-30k": Preset(
        "30,000 images of COCO val2014 by a stated hash, a caption each",
        "recap_eval.data.coco:one_caption_each",
        {RAW: {}},
        VAL | {"n": 30_000, "purpose": "coco-30k"},
        "drawn by hash among those of each image",
        GET_VAL,
        Lock(30_000, "65f345500304b78c3fd1b785bdf0ce8a944294650b72dcd5f36f7b714c2feb39"),
    ),
    "coco-val2014": Preset(
        "all of COCO val2014",
        "recap_eval.data.captioned:coco_annotations",
        {RAW: {}},
        VAL,
        get=GET_VAL,
        lock=Lock(40_504, "08d12f2dc062a944497978089c10e6ee9485233bb8a96c8930151cf8393eca6a"),
    ),
    "coco-train2014": Preset(
        "all of COCO train2014",
        "recap_eval.data.captioned:coco_annotations",
        {RAW: {}},
        TRAIN,
        get="recap-eval fetch coco-train2014 coco-annotations2014 --data {root}",
        lock=Lock(82_783, "060d6772c576b769c4a9cba01e5ee4dd93939548640bbbcc300066e468fc2b53"),
    ),
    "coco-val": _karpathy("val", 5_000, "b7a7a89dd86f75f60dc1984613bde9048118c37bc5246e028c7b22aeb4199477"),
    "coco-test": _karpathy("test", 5_000, "d20da3dd48646d91a7ff7837c1c1f591d52c75e72921b2fd7f6854dc1093339f"),
    "coco-restval": _karpathy("restval", 30_504, RESTVAL),
}


def preset_name(word: str) -> str:
    """Return the name of a preset that a word may be another spelling of."""
    return ALIASES.get(word, word)
