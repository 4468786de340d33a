"""Images and texts to unit embeddings: decoding, batching, and each distinct thing only once.

An `Embedder` lives as long as one model is measured, so tasks on the same images share one pass over them.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recap_eval.console import progress_bar
from recap_eval.data.digests import Digests
from recap_eval.data.items import ImageItem
from recap_eval.errors import DataError
from recap_eval.models.base import DualEncoder

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image


MANY = 16  # so many different texts are not all made of unknown words


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


def decode_image(payload: bytes, where: str) -> Image:
    """Decode an image to RGB.

    Raises:
        DataError: It is not a whole image; the message names it.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(io.BytesIO(payload)).convert("RGB")
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{where} is not a readable image ({error}).", "Replace it, or count and leave out bad images: --skip-bad"
        ) from error


class Embedder:
    """Embeds with one model, remembering what it has embedded.

    Args:
        model: The model.
        batch_size: Images, or texts, per forward pass.
        skip_bad: Leave out images that cannot be decoded, and record them in `bad`, instead of stopping.
        progress: Show a progress bar.
    """

    def __init__(self, model: DualEncoder, batch_size: int = 64, skip_bad: bool = False, progress: bool = True) -> None:
        self.model, self.batch_size, self.skip_bad, self.progress = model, batch_size, skip_bad, progress
        self.bad: dict[str, str] = {}
        self.digests = Digests(progress=progress)
        self._images: dict[str, torch.Tensor] = {}
        self._unreadable: dict[str, str] = {}
        self._texts: dict[str, torch.Tensor] = {}

    def images(self, items: Sequence[ImageItem]) -> ImageEmbeddings:
        """Embed images.

        Raises:
            DataError: An image is unreadable and `skip_bad` is off; or the model's embeddings are not finite or constant.
        """
        import torch

        digests = self.digests.of(items)
        known = self._images.keys() | self._unreadable.keys()
        self._embed_images(
            [(digest, item) for digest, item in dict(zip(digests, items, strict=True)).items() if digest not in known]
        )
        lost = {item.where: digest for item, digest in zip(items, digests, strict=True) if digest in self._unreadable}
        self.bad |= {where: self._unreadable[digest] for where, digest in lost.items()}
        kept = [i for i, digest in enumerate(digests) if digest in self._images]
        if not kept:
            raise DataError(f"None of {len(items)} images can be read.", f"The first: {next(iter(self.bad), 'none given')}")
        vectors = torch.stack([self._images[digests[i]] for i in kept])
        _check_spread(vectors, len({digests[i] for i in kept}), self.model.id.name, "images")
        return ImageEmbeddings(vectors, kept)

    def _embed_images(self, todo: list[tuple[str, ImageItem]]) -> None:
        import torch

        with self._bar(len(todo), "images") as bar:
            for start in range(0, len(todo), self.batch_size):
                ready = [(digest, self._pixels(digest, item)) for digest, item in todo[start : start + self.batch_size]]
                good = [(digest, pixels) for digest, pixels in ready if pixels is not None]
                if good:
                    batch = torch.stack([pixels for _, pixels in good]).to(self.model.device)
                    vectors = _unit(self.model.encode_images(batch), self.model.id.name)
                    self._images.update(zip([digest for digest, _ in good], vectors, strict=True))
                bar.update(len(ready))

    def _pixels(self, digest: str, item: ImageItem) -> torch.Tensor | None:
        try:
            return self.model.preprocess(decode_image(item.read_image(), item.where))
        except DataError as error:
            if not self.skip_bad:
                raise
            self._unreadable[digest] = error.what
            return None

    def texts(self, texts: Sequence[str]) -> TextEmbeddings:
        """Embed texts, each distinct one once, batched by length so that little padding is computed.

        Raises:
            DataError: The model's embeddings are not finite.
        """
        import torch

        distinct = list(dict.fromkeys(texts))
        todo = [text for text in distinct if text not in self._texts]
        if todo:
            lengths = self.model.lengths(todo)
            todo = [text for _, text in sorted(zip(lengths, todo, strict=True))]
        with self._bar(len(todo), "texts") as bar:
            for start in range(0, len(todo), self.batch_size):
                batch = todo[start : start + self.batch_size]
                tokens = self.model.tokenize(batch).to(self.model.device)
                self._texts.update(zip(batch, _unit(self.model.encode_texts(tokens), self.model.id.name), strict=True))
                bar.update(len(batch))
        row = {text: i for i, text in enumerate(distinct)}
        vectors = torch.stack([self._texts[text] for text in distinct])
        if len(distinct) >= MANY:
            _check_spread(vectors, len(distinct), self.model.id.name, "texts")
        return TextEmbeddings(vectors, torch.tensor([row[text] for text in texts]))

    def truncated_share(self, texts: Sequence[str]) -> float:
        """Return the share of texts that are longer than the model's context, and so were cut."""
        lengths = self.model.lengths(list(texts))
        return sum(length > self.model.context_length for length in lengths) / max(1, len(lengths))

    def _bar(self, total: int, what: str) -> Any:
        return progress_bar(total, f"  {what}", "it", disable=not self.progress or total == 0)


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
