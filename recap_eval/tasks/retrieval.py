"""Retrieval between images and captions, both ways: recall at 1, 5 and 10.

The definition of the CLIP papers: an image is found if ANY of its captions is among the first k; a caption is found if its
image is. All captions count, also where an image has more than five (Karpathy's COCO split has 25,010).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recap_eval.data.items import CaptionedImages
from recap_eval.metrics.ranking import Ranks, rank_both_ways
from recap_eval.tasks.base import ItemScores, Metric, Scores

if TYPE_CHECKING:
    from recap_eval.embed import Embedder
    from recap_eval.tasks.catalog import Row

KS = (1, 5, 10)


def score_retrieval(embedder: Embedder, data: CaptionedImages) -> Scores:
    """Return i2t recalls per image and t2i recalls per caption, both clustered by image."""
    import torch

    images = embedder.images(data.images)
    captions = [(new, caption) for new, old in enumerate(images.kept) for caption in data.captions[old]]
    texts = embedder.texts([caption for _, caption in captions])
    owner = torch.tensor([new for new, _ in captions])
    to_text, to_image = rank_both_ways(images.vectors, texts.vectors, owner, texts.row)
    keys = [data.images[i].key for i in images.kept]
    owners = [keys[new] for new, _ in captions]
    names = [f"{key}#{number}" for number, key in enumerate(owners)]
    item_of = dict(zip(reversed(texts.row.tolist()), reversed(names), strict=True))  # of equal captions, the first
    text_first = [None if hit == 1 else item_of[i] for hit, i in zip(to_text.hit_at(1), to_text.first.tolist(), strict=True)]
    image_first = [None if hit == 1 else keys[i] for hit, i in zip(to_image.hit_at(1), to_image.first.tolist(), strict=True)]
    metrics = {
        "i2t_r1": ItemScores(keys, keys, to_text.hit_at(1), text_first, to_text.rank),
        "t2i_r1": ItemScores(names, owners, to_image.hit_at(1), image_first, to_image.rank),
    }
    metrics |= {f"i2t_r{k}": ItemScores(keys, keys, to_text.hit_at(k)) for k in KS[1:]}
    metrics |= {f"t2i_r{k}": ItemScores(names, owners, to_image.hit_at(k)) for k in KS[1:]}
    extra = embedder.truncation([caption for _, caption in captions])
    return Scores(metrics, extra | _tie_facts("i2t", to_text) | _tie_facts("t2i", to_image))


def _tie_facts(way: str, ranks: Ranks) -> dict[str, float]:
    low, high = ranks.bounds_at(1)
    return {f"{way}_tie_share": ranks.tie_share, f"{way}_r1_ties_lost": low, f"{way}_r1_ties_won": high}


METRICS = (
    Metric("i2t_r1", "I→T R@1"),
    Metric("t2i_r1", "T→I R@1"),
    Metric("i2t_r5", "I→T R@5"),
    Metric("i2t_r10", "I→T R@10"),
    Metric("t2i_r5", "T→I R@5"),
    Metric("t2i_r10", "T→I R@10"),
)


def metrics(row: Row) -> tuple[Metric, ...]:
    """Return what a retrieval task measures."""
    return METRICS
