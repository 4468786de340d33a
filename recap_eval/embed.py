"""Images and texts to unit embeddings: decoding, batching, precision of scores, and each distinct thing only once.

An `Embedder` lives as long as one model is measured, so tasks on the same images share one pass over them; a store on disk
shares them between runs (store.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recap_eval.console import progress_bar
from recap_eval.data.digests import Digests
from recap_eval.data.items import ImageItem
from recap_eval.decoding import prepared
from recap_eval.errors import DataError
from recap_eval.models.base import DualEncoder
from recap_eval.store import NoStore, Store, part_of

if TYPE_CHECKING:
    import torch

MANY = 16  # so many different texts are not all made of unknown words
ON_CPU, ON_GPU = 64, 256  # images per forward pass; benchmarks/clip_eval.py tells the speed at 16, 32 and 64
TOKENS = 77  # `batch_size` texts of so many tokens fill a forward pass; of shorter ones, more


@dataclass(frozen=True)
class ImageEmbeddings:
    """Embeddings of the images that could be read.

    Args:
        vectors: (K, D) unit rows, float32.
        kept: (K,) which images they are: indices into the images asked for; all of them unless bad ones were skipped.
    """

    vectors: torch.Tensor
    kept: list[int]


@dataclass(frozen=True)
class TextEmbeddings:
    """Embeddings of distinct texts.

    Args:
        vectors: (U, D) unit rows, float32, one per distinct text.
        row: (N,) row of each text asked for.
    """

    vectors: torch.Tensor
    row: torch.Tensor

    @property
    def each(self) -> torch.Tensor:
        """(N, D) one row per text asked for."""
        return self.vectors[self.row]


class Embedder:
    """Embeds with one model, remembering what it has embedded.

    Args:
        model: The model.
        batch_size: Images, or texts of full length, per forward pass, more of shorter texts; None for what suits the device.
        skip_bad: Leave out images that cannot be decoded, and record them in `bad`, instead of stopping.
        progress: Show a progress bar.
        store: Where embeddings are kept between runs.
        digests: What remembers the images' digests.
    """

    def __init__(
        self,
        model: DualEncoder,
        batch_size: int | None = None,
        skip_bad: bool = False,
        progress: bool = True,
        store: Store | NoStore | None = None,
        digests: Digests | None = None,
    ) -> None:
        self.model, self.skip_bad, self.progress = model, skip_bad, progress
        self.batch_size = batch_size or (ON_CPU if model.device == "cpu" else ON_GPU)
        self.bad: dict[str, str] = {}
        self.digests = digests or Digests(progress=progress)
        self._store = store or NoStore()
        self._unreadable: dict[str, str] = {}
        self._lengths: dict[str, int] = {}

    def images(self, items: Sequence[ImageItem]) -> ImageEmbeddings:
        """Embed images.

        Raises:
            DataError: An image is unreadable and `skip_bad` is off; or the model's embeddings are not finite or constant.
        """
        digests = self.digests.of(items)
        self._embed_images(dict(zip(digests, items, strict=True)))
        lost = {item.where: digest for item, digest in zip(items, digests, strict=True) if digest in self._unreadable}
        self.bad |= {where: self._unreadable[digest] for where, digest in lost.items()}
        kept = [i for i, digest in enumerate(digests) if digest not in self._unreadable]
        if not kept:
            raise DataError(f"None of {len(items)} images can be read.", f"The first: {next(iter(self.bad), 'none given')}")
        vectors = self._store.rows("images", [digests[i] for i in kept])
        _check_spread(vectors, len({digests[i] for i in kept}), self.model.id.name, "images")
        return ImageEmbeddings(vectors, kept)

    def texts(self, texts: Sequence[str]) -> TextEmbeddings:
        """Embed texts, each distinct one once, batched by length so that little padding is computed.

        Raises:
            DataError: The model's embeddings are not finite, or it embeds many texts alike.
        """
        import torch

        distinct = list(dict.fromkeys(texts))
        self._embed_texts(distinct)
        row = {text: i for i, text in enumerate(distinct)}
        vectors = self._store.rows("texts", distinct)
        if len(distinct) >= MANY:
            _check_spread(vectors, len(distinct), self.model.id.name, "texts")
        return TextEmbeddings(vectors, torch.tensor([row[text] for text in texts]))

    def fill(self, items: Sequence[ImageItem], texts: Sequence[str], shard: tuple[int, int]) -> None:
        """Embed one part of images and texts into the store, for a run that scores them all later.

        Args:
            items: All images.
            texts: All texts.
            shard: Which part of how many, from 0: each image and text belongs to one, by its content.
        """
        digests = self.digests.of(items)
        self._embed_images({d: item for d, item in zip(digests, items, strict=True) if part_of(d, shard[1]) == shard[0]})
        self._embed_texts([text for text in dict.fromkeys(texts) if part_of(text, shard[1]) == shard[0]])

    def _embed_images(self, wanted: dict[str, ImageItem]) -> None:
        known = self._store.known("images", list(wanted))
        todo = [(digest, item) for digest, item in wanted.items() if digest not in known and digest not in self._unreadable]
        batches = (todo[start : start + self.batch_size] for start in range(0, len(todo), self.batch_size))
        with self._keeping(), self._bar(len(todo), "images") as bar:
            for part, images in prepared(batches, self._load, self.model.device):
                good = [(digest, image) for (digest, _), image in zip(part, images, strict=True) if image is not None]
                if good:
                    batch = self.model.pixels.batch([image for _, image in good], self.model.device)
                    vectors = _unit(self.model.encode_images(batch), self.model.id.name)
                    self._store.add("images", [digest for digest, _ in good], vectors)
                bar.update(len(part))

    @contextmanager
    def _keeping(self) -> Iterator[None]:
        """Write what was embedded, also when it ends by an error or by Ctrl-C."""
        try:
            yield
        finally:
            self._store.flush()

    def _load(self, job: tuple[str, ImageItem]) -> Any:
        digest, item = job
        try:
            return self.model.pixels.load(item.read_image(), item.where, item.box)
        except DataError as error:
            if not self.skip_bad:
                raise
            self._unreadable[digest] = error.what
            return None

    def _embed_texts(self, distinct: list[str]) -> None:
        known = self._store.known("texts", distinct)
        todo = [text for text in distinct if text not in known]
        lengths = dict(zip(todo, self.lengths(todo), strict=True))
        todo.sort(key=lambda text: (lengths[text], text))
        with self._keeping(), self._bar(len(todo), "texts") as bar:
            start = 0
            while start < len(todo):
                batch = todo[start : start + self._texts_a_pass(lengths[todo[start]])]
                self._store.add("texts", batch, _unit(self.model.encode_texts(batch), self.model.id.name))
                bar.update(len(batch))
                start += len(batch)

    def _texts_a_pass(self, shortest: int) -> int:
        """Return how many texts fill a forward pass: more of short ones, in a tower that can leave out their padding."""
        if not self.model.trims:
            return self.batch_size
        return max(self.batch_size, self.batch_size * TOKENS // (shortest + 2))

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has uncut, special ones included."""
        todo = [text for text in dict.fromkeys(texts) if text not in self._lengths]
        if todo:
            self._lengths.update(zip(todo, self.model.lengths(todo), strict=True))
        return [self._lengths[text] for text in texts]

    def truncation(self, texts: Sequence[str]) -> dict[str, float]:
        """Return the share of texts longer than the model's context, which were cut; nothing if the model does not say."""
        if not self.model.context_length:
            return {}
        lengths = self.lengths(texts)
        return {"truncated_share": sum(length > self.model.context_length for length in lengths) / max(1, len(lengths))}

    def read(self, texts: Sequence[str]) -> dict[int, int]:
        """Return by place of each text that the model cuts how many of its characters it reads, in whole words."""
        limit = self.model.context_length
        if not limit:
            return {}
        cut = [place for place, length in enumerate(self.lengths(texts)) if length > limit]
        return dict(zip(cut, read_characters([texts[place] for place in cut], self.model.lengths, limit), strict=True))

    def _bar(self, total: int, what: str) -> Any:
        return progress_bar(total, f"  {what}", "it", disable=not self.progress or total == 0)


def read_characters(texts: Sequence[str], lengths: Callable[[list[str]], list[int]], limit: int) -> list[int]:
    """Return how many characters of each text fit into a context, in whole words: by bisection, all texts at once.

    Args:
        texts: (N) texts.
        lengths: Tells how many tokens each of some texts has, special ones included.
        limit: Tokens that a context holds.
    """
    ends = [[0, *(word.end() for word in re.finditer(r"\S+", text))] for text in texts]
    fits, open_ = [0] * len(texts), [len(own) - 1 for own in ends]  # words that fit, words that may
    while todo := [i for i in range(len(texts)) if fits[i] < open_[i]]:
        middle = {i: (fits[i] + open_[i] + 1) // 2 for i in todo}
        found = lengths([texts[i][: ends[i][middle[i]]] for i in todo])
        for i, length in zip(todo, found, strict=True):
            if length <= limit:
                fits[i] = middle[i]
            else:
                open_[i] = middle[i] - 1
    return [own[fit] for own, fit in zip(ends, fits, strict=True)]


def _unit(features: torch.Tensor, name: str) -> torch.Tensor:
    import torch

    vectors = torch.nn.functional.normalize(features.float(), dim=-1).cpu()
    if not bool(torch.isfinite(vectors).all()):
        raise DataError(f"{name} gives embeddings that are not finite.", "Check its weights, or try --precision fp32.")
    return vectors


def _check_spread(vectors: torch.Tensor, distinct: int, name: str, what: str) -> None:
    """Refuse a model that embeds everything alike: its choices would all be ties, and peers score it 100 % or 0 %."""
    if distinct > 1 and bool((vectors - vectors[0]).abs().max() == 0):
        raise DataError(f"{name} embeds all {distinct} {what} alike.", "Check that its weights are trained and loaded.")
