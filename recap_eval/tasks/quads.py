"""Two images and two captions to be matched crosswise, as in Winoground: text, image and group score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from recap_eval.data.items import CaptionQuads
from recap_eval.errors import DataError
from recap_eval.metrics.quads import GROUP_CHANCE, IMAGE_CHANCE, TEXT_CHANCE, has_tie, quad_scores
from recap_eval.tasks.base import ItemScores, Metric, Scores

if TYPE_CHECKING:
    import numpy as np

    from recap_eval.embed import Embedder
    from recap_eval.tasks.catalog import Row

WAYS = (("group", GROUP_CHANCE), ("text", TEXT_CHANCE), ("image", IMAGE_CHANCE))


def score_quads(embedder: Embedder, data: CaptionQuads, kinds: Sequence[str] = ()) -> Scores:
    """Return per case the text, image and group score; a case with an unreadable image is left out.

    Args:
        embedder: The model.
        data: The cases.
        kinds: Kinds of cases that get figures of their own.

    Raises:
        DataError: No case has both its images, or a kind has no case.
    """
    images = embedder.images(data.images)
    place = {old: new for new, old in enumerate(images.kept)}
    kept = [case for case in range(len(data.captions)) if 2 * case in place and 2 * case + 1 in place]
    if not kept:
        raise DataError("No case has both its images.", "Measure the whole data set, or mend its images.")
    texts = [text for case in kept for text in data.captions[case]]
    seen = images.vectors[[place[2 * case + side] for case in kept for side in (0, 1)]].reshape(len(kept), 2, 1, -1)
    said = embedder.texts(texts).each.reshape(len(kept), 1, 2, -1)
    scores = (seen * said).sum(dim=-1).numpy()
    keys = [data.images[2 * case].key for case in kept]
    items = [f"{key}#{case}" for key, case in zip(keys, kept, strict=True)]
    given = _given(scores, data, kept)
    whole = {way: ItemScores(items, keys, values, given[way]) for way, values in quad_scores(scores).items()}
    extra = {
        "tie_share": float(has_tie(scores).mean()),
    } | embedder.truncation(texts)
    found = {way: whole[way] for way, _ in WAYS}
    for kind in kinds:
        chosen = [number for number, case in enumerate(kept) if data.groups and data.groups[case] == kind]
        if not chosen:
            raise DataError(f"No case is of kind {kind!r}.", "Measure the whole data set, without --limit.")
        found |= {f"{way}:{kind}": whole[way].part(chosen) for way, _ in WAYS}
    return Scores(found, extra)


def _given(scores: np.ndarray, data: CaptionQuads, kept: list[int]) -> dict[str, list[str | None]]:
    """Return per case what was not put below the right one: captions for images, images for captions, and both."""
    text: list[str | None] = []
    image: list[str | None] = []
    for case, score in zip(kept, scores, strict=True):
        keys, captions = [data.images[2 * case + side].key for side in (0, 1)], data.captions[case]
        wrong = [side for side in (0, 1) if score[side, side] <= score[side, 1 - side]]
        text.append("; ".join(f"{keys[side]}: {captions[1 - side]}" for side in wrong) or None)
        wrong = [side for side in (0, 1) if score[side, side] <= score[1 - side, side]]
        image.append("; ".join(f"{captions[side]}: {keys[1 - side]}" for side in wrong) or None)
    both = ["; ".join(filter(None, pair)) or None for pair in zip(text, image, strict=True)]
    return {"text": text, "image": image, "group": both}


def metrics(row: Row) -> tuple[Metric, ...]:
    """Return what a quads task measures: group, text and image score, then each kind's."""
    whole = tuple(Metric(way, f"{way} score", chance) for way, chance in WAYS)
    return whole + tuple(Metric(f"{way}:{kind}", f"{way}, {kind}", chance) for kind in row.groups for way, chance in WAYS)
