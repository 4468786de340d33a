"""Two-way choices between a true caption and one made of the same words, as in ARO (Yuksekgonul et al. 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from recap_eval.data.items import CaptionPairs
from recap_eval.errors import DataError
from recap_eval.metrics.choice import prefers_true
from recap_eval.metrics.macro import macro_values
from recap_eval.tasks.base import ItemScores, Metric, Scores

if TYPE_CHECKING:
    from recap_eval.embed import Embedder
    from recap_eval.tasks.catalog import Row


def score_pairs(
    embedder: Embedder,
    data: CaptionPairs,
    macro_from: int = 0,
    kinds: Sequence[str] = (),
    macro_without: Sequence[str] = (),
) -> Scores:
    """Return per pair whether the true caption is closer to the image; half at a tie.

    Args:
        embedder: The model.
        data: The pairs.
        macro_from: Least number of cases of a kind that counts in the macro average; 0 for none.
        kinds: Kinds of pairs that get a figure of their own.
        macro_without: Kinds that do not count in the macro average, if the data has them.

    Raises:
        DataError: A kind has no case, or none has enough for the macro average.
    """
    import numpy as np

    images = embedder.images(data.images)
    place = {old: new for new, old in enumerate(images.kept)}
    kept = [number for number, row in enumerate(data.rows) if row[0] in place]
    rows = [data.rows[number] for number in kept]
    texts = [text for _, true, false in rows for text in (true, false)]
    each = embedder.texts(texts).each.reshape(len(rows), 2, -1)
    scores = (each * images.vectors[[place[image] for image, _, _ in rows]][:, None]).sum(dim=-1).numpy()
    values = prefers_true(scores[:, 0], scores[:, 1])
    clusters = [data.images[image].key for image, _, _ in rows]
    items = [f"{key}#{number}" for key, number in zip(clusters, kept, strict=True)]
    given = [None if value == 1 else false for value, (_, _, false) in zip(values, rows, strict=True)]
    whole = ItemScores(items, clusters, values, given)
    extra = {
        "tie_share": float((values == 0.5).mean()),
    } | embedder.truncation(texts)
    groups = np.asarray([data.groups[number] for number in kept] if data.groups else [""] * len(kept))
    if absent := [kind for kind in kinds if kind not in groups]:
        raise DataError(f"No pair is of kind {absent[0]!r}.", "Measure the whole data set, without --limit.")
    found = {"acc": whole} | {f"acc:{kind}": whole.part(np.flatnonzero(groups == kind).tolist()) for kind in kinds}
    if macro_from:
        names, sizes = np.unique(groups, return_counts=True)
        enough = (sizes >= macro_from) & ~np.isin(names, list(macro_without))
        if not enough.any():
            raise DataError(f"No kind of pair has {macro_from} cases.", "Measure the whole data set, without --limit.")
        counted = np.flatnonzero(np.isin(groups, names[enough])).tolist()
        part = whole.part(counted)
        found["macro"] = replace(part, values=macro_values(part.values, groups[counted].tolist()), given=None)
        extra["macro_kinds"] = float(enough.sum())
    return Scores(found, extra)


def metrics(row: Row) -> tuple[Metric, ...]:
    """Return what a pairs task measures: the macro average first where there is one, then the plain one, then each kind."""
    macro = (Metric("macro", "macro accuracy", 0.5),) if row.macro_from else ()
    return (*macro, Metric("acc", "accuracy", 0.5), *(Metric(f"acc:{name}", name, 0.5) for name in row.groups))
