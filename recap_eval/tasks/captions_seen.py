"""Captions held against their images by a dual encoder: cosines, and the shares that two captions of one image take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from recap_eval.captions.pictured import Views
from recap_eval.errors import DataError
from recap_eval.metrics.two_way import softmax_share, wins
from recap_eval.tasks.base import ItemScores, Scores
from recap_eval.tasks.captions import Given
from recap_eval.tasks.captions_truth import rank_by_truth

if TYPE_CHECKING:
    import numpy as np

    from recap_eval.embed import Embedder
    from recap_eval.judge.rating import Config

CHUNK = 4096  # rows whose embeddings are looked up at a time


class Sight:
    """A sample of rows as one dual encoder sees it; each column is looked at once.

    Args:
        views: The sample with its images.
        embedder: The model, which keeps what it embedded.
    """

    def __init__(self, views: Views, embedder: Embedder) -> None:
        self.views, self.embedder = views, embedder
        self._cosines: dict[str, np.ndarray] = {}

    def fill(self, shard: tuple[int, int] = (0, 1)) -> None:
        """Embed images and captions, or one part of them, into the store.

        Raises:
            DataError: An image is unreadable and bad ones are not to be left out; or the model's embeddings are void.
        """
        texts = [text for column in self.views.columns for text in self.views.column(column) if text is not None]
        self.embedder.fill([self.views.images[place] for place in self.views.as_stored], texts, shard)

    @cached_property
    def readable(self) -> np.ndarray:
        """(N,) whether each image could be read."""
        import numpy as np

        self.fill()
        found = np.zeros(len(self.views), dtype=bool)
        found[self.embedder.images(self.views.images).kept] = True
        return found

    def cosines(self, column: str) -> np.ndarray:
        """Return (N,) cosines of a column's captions with their images, NaN where there is no caption or no readable image."""
        if column not in self._cosines:
            self._cosines[column] = self._look(self.views.column(column))
        return self._cosines[column]

    def _look(self, texts: Sequence[str | None]) -> np.ndarray:
        import numpy as np

        found = np.full(len(texts), np.nan)
        places = [place for place, text in enumerate(texts) if text is not None and self.readable[place]]
        for start in range(0, len(places), CHUNK):
            some = places[start : start + CHUNK]
            images = self.embedder.images([self.views.images[place] for place in some]).vectors
            captions = self.embedder.texts([texts[place] or "" for place in some]).each
            found[some] = (images * captions).sum(dim=1).double().numpy()
        return found

    def cut(self, column: str) -> np.ndarray | None:
        """Return (N,) whether the model cuts each caption, NaN where there is none; None if it does not say."""
        import numpy as np

        limit, texts = self.embedder.model.context_length, self.views.column(column)
        if not limit:
            return None
        lengths = self.embedder.lengths([text or "" for text in texts])
        cut = [length > limit for length in lengths]
        return np.where([text is None for text in texts], np.nan, np.array(cut, dtype=np.float64))

    @property
    def bad(self) -> dict[str, str]:
        """What is wrong with the images that were left out."""
        return {image.where: self.embedder.bad[image.where] for image in self.views.images if image.where in self.embedder.bad}


@dataclass(frozen=True)
class Pictures:
    """What families that look at images need.

    Args:
        views: The sample with its images, of the size of the larger one.
        sights: What models see of theirs, by the user's word for the model.
        scorers: Which of these words are asked for, by the family's key.
        jury: The judge at work, or None.
        judged: Rows that the judge sees; None for all.
    """

    views: Views
    sights: dict[str, Sight] = field(default_factory=dict)
    scorers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    jury: Config | None = None
    judged: int | None = None

    @property
    def rated(self) -> Views:
        """The rows that the judge sees."""
        return self.views if self.judged is None else self.views.first(self.judged)


def looked(given: Given) -> Scores:
    """Score each caption's cosine with its image, and whether the model read all of it.

    Raises:
        DataError: No caption of the sample has a readable image; or see `Sight.fill`.
    """
    sight = sight_of(given)
    cosines, cut = sight.cosines(given.column), sight.cut(given.column)
    metrics = {"clip_cosine": _items(sight.views, cosines)}
    metrics |= {} if cut is None else {"truncated": _items(sight.views, cut)}
    told = facts(sight.views, given.column)
    if given.truth is not None:
        told |= rank_by_truth(given.truth, sight.views, given.column, metrics["clip_cosine"])
    absent = () if cut is not None else ("truncated",)
    return Scores(
        metrics, told, warnings=warnings(sight.views) + _bias(sight), absent=absent,
        unrated=_without(sight.views, metrics["clip_cosine"]), bad=sight.bad,
    )  # fmt: skip


def shared(given: Given) -> Scores:
    """Score what share of an image each caption takes from the other column's, by softmax and by wins.

    Raises:
        DataError: No row of the sample has both captions and a readable image; or see `Sight.fill`.
    """
    sight = sight_of(given)
    other = next(name for name in sight.views.columns if name != given.column)
    ours, theirs = sight.cosines(given.column), sight.cosines(other)
    metrics = {
        "clip_share_softmax": _items(sight.views, softmax_share(ours, theirs)),
        "clip_win_rate": _items(sight.views, _both(wins(ours, theirs), ours, theirs)),
    }
    told = facts(sight.views, given.column) | {"pairs": float(len(metrics["clip_win_rate"].items))}
    unrated = _without(sight.views, metrics["clip_win_rate"])
    return Scores(metrics, told, warnings=warnings(sight.views) + _bias(sight), unrated=unrated, bad=sight.bad)


def sight_of(given: Given) -> Sight:
    """Return what a model sees of the sample."""
    assert isinstance(given.sight, Sight)
    return given.sight


def _both(values: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    import numpy as np

    return np.where(np.isnan(ours) | np.isnan(theirs), np.nan, values)


def _items(views: Views, values: np.ndarray) -> ItemScores:
    """Return the values that are there, by item."""
    import numpy as np

    there = np.flatnonzero(~np.isnan(values)).tolist()
    if not there:
        raise DataError(
            f"None of {len(views):,} rows has its image and the captions that are needed.",
            "Draw more: --sample N, or other --images",
        )
    names, clusters = views.names, views.clusters
    return ItemScores([names[place] for place in there], [clusters[place] for place in there], values[there])


def _without(views: Views, found: ItemScores) -> tuple[str, ...]:
    """Return the items of a sample that have no value: a caption is missing."""
    there = set(found.items)
    return tuple(name for name in views.names if name not in there)


def facts(views: Views, column: str) -> dict[str, float]:
    """Return what a result tells of the sample: what became of the rows, and how many have no caption."""
    lost = sum(text is None for text in views.column(column))
    return views.facts() | {"sample": float(len(views)), "without_caption": float(lost)}


def warnings(views: Views) -> tuple[str, ...]:
    """Return what stands against reading figures of a sample as those of all rows."""
    lost = views.tally.rows - views.tally.joined
    told = [f"{lost:,} of {views.tally.rows:,} rows have no image at hand: figures are of the others."] if lost else []
    if views.differ:
        others = f"{views.differ:,} of {len(views):,} images have another sha256 than their rows state"
        told.append(f"{others}: resized since, as img2dataset does, or others.")
    return tuple(told)


def _bias(sight: Sight) -> tuple[str, ...]:
    """Say of a model that was trained on a mix of captions that it likes those best which it was trained on."""
    id = sight.embedder.model.id
    if "p_original" not in id.meta:
        return ()
    share = 100 * float(id.meta["p_original"])
    mix = f"{share:g} % original captions and {100 - share:g} % recaptions"
    return (f"{id.name} was trained on {mix}: it favours the kind of caption that it was trained on.",)
