"""From the plan to batches: reads, decodes, crops and tokenises ahead of the training step."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from recap_eval.data.shards import Sample
from recap_eval.errors import DataError
from recap_eval.hashrand import Draws, text_key
from recap_eval.models.pixels import decode_image
from recap_train.mixing import MixCount
from recap_train.plan import Plan

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

AHEAD = 4  # batches prepared ahead of the step
MEMORY = 512 << 20  # bytes of decoded images, and as many of token ids, that are kept for the next epoch
CROP = text_key("crop")


@dataclass
class Ledger:
    """What was seen: the mix as it came out, and the samples that could not be read.

    Args:
        mix: Captions shown and missing.
        bad: Reason by image, of samples left out.
    """

    mix: MixCount = field(default_factory=MixCount)
    bad: dict[str, str] = field(default_factory=dict)

    def add(self, other: Ledger) -> None:
        """Add what another ledger counted."""
        self.mix.add(other.mix)
        self.bad |= other.bad


@dataclass(frozen=True)
class Batch:
    """What one step trains on.

    Args:
        pixels: (B, 3, S, S) uint8; B is smaller than asked for where samples were unreadable.
        tokens: (B, L) token ids.
        ledger: What is in this batch; counted when the step is done, not when the batch is prepared.
    """

    pixels: torch.Tensor
    tokens: torch.Tensor
    ledger: Ledger


def random_crop(image: Image, size: int, min_area: float, draws: Draws, resample: str = "bicubic") -> Image:
    """Cut out a random part of at least `min_area` of the image, of aspect 3:4 to 4:3, and resize it to size x size.

    At `min_area` 1 the image's central square is taken. The draws are a function of what they are for, so a resumed run
    crops alike (the distribution is torchvision's RandomResizedCrop).
    """
    from PIL import Image as pil

    width, height = image.size
    side = min(width, height)
    box = ((width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2)
    if min_area < 1:
        box = _crop_box(width, height, min_area, draws) or box
    return image.resize((size, size), pil.Resampling[resample.upper()], box=box)


def _crop_box(width: int, height: int, min_area: float, draws: Draws) -> tuple[float, float, float, float] | None:
    for _ in range(10):
        area = width * height * (min_area + (1 - min_area) * draws.bits() / 2**64)
        aspect = (3 / 4) * (16 / 9) ** (draws.bits() / 2**64)
        wide, high = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
        if 0 < wide <= width and 0 < high <= height:
            left, top = draws.below(width - wide + 1), draws.below(height - high + 1)
            return left, top, left + wide, top + high
    return None


class Memo:
    """Remembers arrays by key until it is full; what does not fit is made anew each time.

    Args:
        limit: Bytes it may hold.
    """

    def __init__(self, limit: int) -> None:
        self._limit, self._held = limit, 0
        self._known: dict[object, np.ndarray] = {}

    def get(self, key: object) -> np.ndarray | None:
        """Return what was put under a key, or None."""
        return self._known.get(key)

    def put(self, key: object, array: np.ndarray) -> np.ndarray:
        """Remember an array if there is room, and return it."""
        if self._held + array.nbytes <= self._limit:
            self._known[key] = array
            self._held += array.nbytes
        return array


@dataclass(frozen=True)
class Feed:
    """Everything that turns positions into batches.

    Args:
        samples: (N) samples.
        captions: (N) pairs of original caption and recaption.
        plan: What is seen when.
        tokenize: Texts to (B, L) ids.
        image_size: Pixels a side.
        crop_min_area: See `random_crop`.
        skip_bad: Leave out unreadable images, counted, instead of stopping.
        resample: "bicubic" or "bilinear".
        seen_images: Decoded images, kept where no random crop changes them between epochs.
        seen_texts: Token ids.
    """

    samples: list[Sample]
    captions: list[tuple[str, str]]
    plan: Plan
    tokenize: Callable[[list[str]], torch.Tensor]
    image_size: int
    crop_min_area: float
    skip_bad: bool
    resample: str = "bicubic"
    seen_images: Memo = field(default_factory=lambda: Memo(MEMORY))
    seen_texts: Memo = field(default_factory=lambda: Memo(MEMORY))

    def batch(self, start: int, stop: int) -> Batch:
        """Make the batch of positions [start, stop).

        Raises:
            DataError: An image is unreadable and `skip_bad` is off, or the whole batch is.
        """
        import torch

        visit = self.plan.visit(start, stop)
        pixels, texts, ledger = [], [], Ledger()
        for index, epoch, original in zip(visit.index, visit.epoch, visit.original, strict=True):
            image = self._image(int(index), int(epoch), ledger)
            if image is not None:
                pixels.append(image)
                texts.append(ledger.mix.choose(self.captions[index], bool(original), self.plan.mix.pure))
        if not pixels:
            raise DataError(f"No image of samples {start}-{stop} can be read.", "Check the shards.")
        return Batch(torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2), self._tokens(texts), ledger)

    def _tokens(self, texts: list[str]) -> torch.Tensor:
        import torch

        new = [text for text in dict.fromkeys(texts) if self.seen_texts.get(text) is None]
        made = dict(zip(new, self.tokenize(new).numpy().astype(np.int32), strict=True)) if new else {}
        for text, ids in made.items():
            self.seen_texts.put(text, ids)
        rows = [made[text] if text in made else self.seen_texts.get(text) for text in texts]
        return torch.from_numpy(np.stack(rows)).long()  # type: ignore[arg-type]

    def _image(self, index: int, epoch: int, ledger: Ledger) -> np.ndarray | None:
        sample = self.samples[index]
        known = self.seen_images.get(index)
        if known is not None:
            return known
        try:
            image = decode_image(sample.read_image(), sample.where)
        except DataError as error:
            if not self.skip_bad:
                raise
            ledger.bad[sample.where] = error.what
            return None
        draws = Draws(self.plan.seed, CROP, int(self.plan.keys[index]), epoch)
        pixels = np.asarray(random_crop(image, self.image_size, self.crop_min_area, draws, self.resample))
        return self.seen_images.put(index, pixels) if self.crop_min_area >= 1 else pixels


def batches_ahead(feed: Feed, starts: range) -> Iterator[Batch]:
    """Yield the batches that begin at `starts`, prepared by a thread ahead of their use.

    Args:
        feed: What makes the batches.
        starts: First position of each batch; its step is the batch size.

    Raises:
        DataError: What went wrong in the thread is raised here.
    """
    ready: queue.Queue[Batch | BaseException | None] = queue.Queue(maxsize=AHEAD)
    stopped = threading.Event()

    def hand_over(thing: Batch | BaseException | None) -> None:
        while not stopped.is_set():
            try:
                return ready.put(thing, timeout=0.2)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for start in starts:
                if stopped.is_set():
                    return
                hand_over(feed.batch(start, start + starts.step))
            hand_over(None)
        except BaseException as error:  # noqa: BLE001 - handed to the consumer, which raises it
            hand_over(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while (thing := ready.get()) is not None:
            if isinstance(thing, BaseException):
                raise thing
            yield thing
    finally:
        stopped.set()
        thread.join()
