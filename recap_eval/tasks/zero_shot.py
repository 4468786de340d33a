"""Zero-shot classification: class names put into templates, embedded, averaged, compared with each image.

Radford et al. 2021 (arXiv 2103.00020), section 3.1.4: each prompt's embedding is normalised, the mean over templates is
normalised again, and the class with the highest cosine wins. Scores are compared in fp32; a tie counts by expectation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recap_eval.data.items import LabelledImages
from recap_eval.metrics.macro import macro_values
from recap_eval.metrics.ranking import Right, rank_right_items
from recap_eval.tasks.base import ItemScores, Metric, Scores

if TYPE_CHECKING:
    import torch

    from recap_eval.embed import Embedder
    from recap_eval.tasks.catalog import Row


def classifier(embedder: Embedder, data: LabelledImages) -> torch.Tensor:
    """Return (C, D) unit class embeddings: the mean over templates of unit prompt embeddings, normalised."""
    import torch

    each = embedder.texts(data.texts()).each.reshape(len(data.classes), len(data.templates), -1)
    return torch.nn.functional.normalize(each.mean(dim=1), dim=-1)


def score_zero_shot(embedder: Embedder, data: LabelledImages) -> Scores:
    """Return acc1, acc5 and mean per-class recall per image."""
    images = embedder.images(data.images)
    weights = classifier(embedder, data)
    labels = [_as_tuple(data.labels[i]) for i in images.kept]
    ranks = rank_right_items(images.vectors, weights, Right.of(labels))
    keys = [data.images[i].key for i in images.kept]
    given = [None if best in own else data.classes[best] for best, own in zip(ranks.first.tolist(), labels, strict=True)]
    top1 = ranks.hit_at(1)
    found = {
        "acc1": ItemScores(keys, keys, top1, given, ranks.rank),
        "acc5": ItemScores(keys, keys, ranks.hit_at(5)),
        "mpcr": ItemScores(keys, keys, macro_values(top1, [" ".join(map(str, own)) for own in labels])),
    }
    extra = {"tie_share": ranks.tie_share} | embedder.truncation(data.texts())
    share = sum(map(len, labels)) / len(labels) / len(data.classes)
    return Scores(found, extra, {"acc1": share, "acc5": min(1.0, 5 * share), "mpcr": share})


def _as_tuple(label: int | tuple[int, ...]) -> tuple[int, ...]:
    return label if isinstance(label, tuple) else (label,)


def metrics(row: Row) -> tuple[Metric, ...]:
    """Return what a zero-shot task measures."""
    return (Metric("acc1", "acc@1"), Metric("acc5", "acc@5"), Metric("mpcr", "mean per-class recall"))
