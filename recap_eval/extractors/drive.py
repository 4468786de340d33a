"""The loop from images to features: decoding in threads, batches, what is known already, what cannot be read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recap_eval.console import progress_bar
from recap_eval.data.digests import Digests
from recap_eval.data.items import ImageItem
from recap_eval.decoding import prepared
from recap_eval.errors import DataError
from recap_eval.extractors.base import Extractor
from recap_eval.extractors.kept import KIND, FeatureStore

if TYPE_CHECKING:
    import torch

ON_CPU, ON_GPU = 32, 256  # images per forward pass
LARGEST = 1024  # rows handed over at once: so many known ones may lie between two that are not


@dataclass(frozen=True)
class _Job:
    item: ImageItem
    digest: str
    known: bool


class FeatureReader:
    """Reads features of images.

    Args:
        extractor: The extractor.
        store: Where features are kept between runs, or None.
        digests: What remembers the images' digests; asked only if there is a store.
        batch_size: Images per forward pass; None for what suits the device.
        skip_bad: Leave out images that cannot be decoded, and record them in `bad`, instead of stopping.
        progress: Show a progress bar with rate and remaining time.

    Attributes:
        bad: What is wrong, by file, with the images that were left out.
        computed: How many features were not known already.
    """

    def __init__(
        self,
        extractor: Extractor,
        store: FeatureStore | None = None,
        digests: Digests | None = None,
        batch_size: int | None = None,
        skip_bad: bool = False,
        progress: bool = True,
    ) -> None:
        self.extractor, self.skip_bad, self.progress, self._store = extractor, skip_bad, progress, store
        self.batch_size = batch_size or (ON_CPU if extractor.device == "cpu" else ON_GPU)
        self.bad: dict[str, str] = {}
        self.computed = 0
        self._digests = digests or Digests(progress=progress)

    def read(self, items: Sequence[ImageItem]) -> Iterator[tuple[list[str], torch.Tensor]]:
        """Yield keys and (B, D) float32 features of images, in their order, at most `LARGEST` at a time.

        Raises:
            DataError: There are no images; one cannot be read and `skip_bad` is off; none can be read; features are not finite.
        """
        if not items:
            raise DataError("There are no images to extract features of.", "Check the folder.")
        jobs, seen = self._jobs(items), 0
        known = sum(job.known for job in jobs)
        try:
            with progress_bar(len(jobs), f"  {self.extractor.name}", "img", initial=known, disable=not self.progress) as bar:
                for batch, images in prepared(self._batches(jobs), self._load, self.extractor.device):
                    keys, features = self._features(batch, images)
                    seen += len(keys)
                    bar.update(sum(not job.known for job in batch))
                    if keys:
                        yield keys, features
        finally:
            if self._store is not None:
                self._store.flush()
        if not seen:
            raise DataError(f"None of {len(items)} images can be read.", f"The first: {next(iter(self.bad.values()))}")

    def _jobs(self, items: Sequence[ImageItem]) -> list[_Job]:
        if self._store is None:
            return [_Job(item, "", False) for item in items]
        digests = self._digests.of(items)
        known = self._store.known(KIND, digests)
        return [_Job(item, digest, digest in known) for item, digest in zip(items, digests, strict=True)]

    def _batches(self, jobs: list[_Job]) -> Iterator[list[_Job]]:
        """Yield runs of images of which a forward pass is to be computed; known ones ride along."""
        batch: list[_Job] = []
        todo = 0
        for job in jobs:
            batch.append(job)
            todo += not job.known
            if todo == self.batch_size or len(batch) == LARGEST:
                yield batch
                batch, todo = [], 0
        if batch:
            yield batch

    def _load(self, job: _Job) -> Any:
        """Return a decoded image; None for one that is known or bad."""
        if job.known:
            return None
        try:
            return self.extractor.load(job.item.read_image(), job.item.where)
        except DataError as error:
            if not self.skip_bad:
                raise
            self.bad[job.item.where] = error.what
            return None

    def _features(self, batch: Sequence[_Job], images: list[Any]) -> tuple[list[str], torch.Tensor]:
        import torch

        kept = [i for i, job in enumerate(batch) if job.known or images[i] is not None]
        features = torch.empty(len(kept), self.extractor.dim)
        fresh = [row for row, i in enumerate(kept) if not batch[i].known]
        old = [row for row, i in enumerate(kept) if batch[i].known]
        if fresh:
            features[fresh] = self._compute([batch[kept[row]] for row in fresh], [images[kept[row]] for row in fresh])
        if old and self._store is not None:
            features[old] = self._store.rows(KIND, [batch[kept[row]].digest for row in old])
        return [batch[i].item.key for i in kept], features

    def _compute(self, jobs: list[_Job], images: list[Any]) -> torch.Tensor:
        features = self.extractor.features(images)
        wrong = (~features.isfinite().all(dim=1)).nonzero().flatten().tolist()
        if wrong:
            what = f"{self.extractor.name} gives features that are not finite, first of {jobs[wrong[0]].item.where}."
            raise DataError(what, "Check its weights, or try --precision fp32.")
        self.computed += len(jobs)
        if self._store is not None:
            self._store.add(KIND, [job.digest for job in jobs], features)
        return features
