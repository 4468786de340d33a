"""Two-way choices between a true caption and one made of the same words, as in ARO (Yuksekgonul et al. 2023)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recap_eval.data.items import CaptionPairs
from recap_eval.data.scenes import locate
from recap_eval.metrics.choice import prefers_true
from recap_eval.tasks.base import ItemScores, Metric, Scores, Task

if TYPE_CHECKING:
    from recap_eval.embed import Embedder


def score_pairs(embedder: Embedder, data: CaptionPairs) -> Scores:
    """Return per pair whether the true caption is closer to the image; half at a tie."""
    images = embedder.images(data.images)
    place = {old: new for new, old in enumerate(images.kept)}
    rows = [row for row in data.rows if row[0] in place]
    pictures = images.vectors[[place[image] for image, _, _ in rows]]
    texts = [text for _, true, false in rows for text in (true, false)]
    each = embedder.texts(texts).each.reshape(len(rows), 2, -1)
    scores = (each * pictures[:, None]).sum(dim=-1).numpy()
    values = prefers_true(scores[:, 0], scores[:, 1])
    clusters = [data.images[image].key for image, _, _ in rows]
    items = [f"{key}#{number}" for number, key in enumerate(clusters)]
    extra = {"tie_share": float((values == 0.5).mean()), "truncated_share": embedder.truncated_share(texts)}
    return Scores({"acc": ItemScores(items, clusters, values)}, extra)


METRICS = (Metric("acc", "accuracy", 0.5),)

scenes_attributes = Task(
    name="scenes-attributes",
    version=1,
    kind="pairs",
    summary="true caption against the same with two colours swapped",
    metrics=METRICS,
    settings={"tie_rule": "half"},
    present=locate.present,
    load=lambda root: locate.paired(root, "attribute"),
    score=score_pairs,
)

scenes_relations = Task(
    name="scenes-relations",
    version=1,
    kind="pairs",
    summary="true caption against the same with two objects swapped",
    metrics=METRICS,
    settings={"tie_rule": "half"},
    present=locate.present,
    load=lambda root: locate.paired(root, "relation"),
    score=score_pairs,
)
