"""Zero-shot classification: class names put into templates, embedded, averaged, compared with each image.

Radford et al. 2021 (arXiv 2103.00020), section 3.1.4: each prompt's embedding is normalised, the mean over templates is
normalised again, and the class with the highest cosine wins. Scores are compared in fp32; a tie counts by expectation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recap_eval.data.items import LabelledImages
from recap_eval.data.scenes import locate
from recap_eval.metrics.ranking import rank_right_items
from recap_eval.tasks.base import ItemScores, Metric, Scores, Task

if TYPE_CHECKING:
    import torch

    from recap_eval.embed import Embedder


def classifier(embedder: Embedder, classes: list[str], templates: tuple[str, ...]) -> torch.Tensor:
    """Return (C, D) unit class embeddings: the mean over templates of unit prompt embeddings, normalised."""
    import torch

    prompts = [template.format(name) for name in classes for template in templates]
    each = embedder.texts(prompts).each.reshape(len(classes), len(templates), -1)
    return torch.nn.functional.normalize(each.mean(dim=1), dim=-1)


def score_zero_shot(embedder: Embedder, data: LabelledImages) -> Scores:
    """Return acc1 and acc5 per image."""
    import torch

    images = embedder.images(data.images)
    weights = classifier(embedder, data.classes, data.templates)
    labels = torch.tensor([data.labels[i] for i in images.kept])
    ranks = rank_right_items(images.vectors, weights, labels, torch.arange(len(data.classes)))
    keys = [data.images[i].key for i in images.kept]
    metrics = {f"acc{k}": ItemScores(keys, keys, ranks.hit_at(k)) for k in (1, 5)}
    prompts = [template.format(name) for name in data.classes for template in data.templates]
    extra = {"tie_share": ranks.tie_share, "truncated_share": embedder.truncated_share(prompts)}
    return Scores(metrics, extra)


def _metrics(classes: int) -> tuple[Metric, ...]:
    return (Metric("acc1", "acc@1", 1 / classes), Metric("acc5", "acc@5", 5 / classes))


scenes_zeroshot = Task(
    name="scenes-zeroshot",
    version=1,
    kind="zero-shot",
    summary="64 classes: colour and shape of the main object; 7 templates averaged",
    metrics=_metrics(64),
    settings={"templates": "scenes-7", "tie_rule": "expectation"},
    present=locate.present,
    load=locate.labelled,
    score=score_zero_shot,
)
