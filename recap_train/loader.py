"""From the plan to batches: reads, decodes, crops and tokenises what the positions [start, stop) show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from recap_eval.data.shards import Sample
from recap_eval.errors import DataError
from recap_eval.hashrand import Draws, text_key
from recap_train.captions import Captions, Roles
from recap_train.crops import Crop, load_crop
from recap_train.ledger import Ledger
from recap_train.plan import Plan

if TYPE_CHECKING:
    import torch

MEMORY = 512 << 20  # bytes of decoded images, and as many of captions and of token ids, that are kept for the next epoch
STRING = 50  # bytes that Python needs for a string beside its letters
FEW = 32  # things that are not worth starting threads
CROP = text_key("crop")

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Batch:
    """What one step trains on.

    Args:
        pixels: (B, 3, S, S) uint8; B is smaller than asked for where samples were unreadable.
        tokens: (B, L) token ids.
        ledger: What is in this batch; counted when the step is done, not when the batch is prepared.
        keys: (B,) uint64 `text_key` of each sample's key.
        epochs: (B,) int64 epoch of each.
    """

    pixels: torch.Tensor
    tokens: torch.Tensor
    ledger: Ledger
    keys: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.uint64))
    epochs: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def pin_memory(self) -> Batch:
        """Return the batch in memory that a GPU can fetch by itself; torch's loader calls this."""
        return replace(self, pixels=self.pixels.pin_memory(), tokens=self.tokens.pin_memory())


class Samples(Protocol):
    """Samples by number, such as a `ShardSet`."""

    def __len__(self) -> int: ...

    def sample(self, index: int, /) -> Sample:
        """Return one sample, its texts read.

        Raises:
            DataError: It cannot be read.
        """


class Batches(Protocol):
    """What makes the batch of any positions: a pure function of them."""

    def batch(self, start: int, stop: int) -> Any:
        """Make the batch of positions [start, stop); an empty one if none of its samples can be read.

        Returns:
            What the objective takes: a `Batch`, or something else with its `keys`, `ledger` and `pin_memory`.
        """

    def for_worker(self, workers: int) -> Batches:
        """Return the same with one worker's share of the memory."""


class Memo:
    """Remembers things by key until it is full; what does not fit is made anew each time.

    Args:
        limit: Bytes it may hold.
    """

    def __init__(self, limit: int) -> None:
        self._limit, self._held = limit, 0
        self._known: dict[object, Any] = {}

    def get(self, key: object) -> Any:
        """Return what was put under a key, or None."""
        return self._known.get(key)

    def put(self, key: object, thing: Any, size: int | None = None) -> Any:
        """Remember an array, or anything of `size` bytes, if there is room; and return it."""
        size = thing.nbytes if size is None else size
        if self._held + size <= self._limit:
            self._known[key] = thing
            self._held += size
        return thing


class CaptionReader:
    """The captions of samples by number, remembered as far as they fit.

    Args:
        samples: The data set.
        roles: Where their captions are.
        memory: Bytes that may be remembered.
    """

    def __init__(self, samples: Samples, roles: Roles, memory: int = MEMORY) -> None:
        self.samples, self.roles = samples, roles
        self._known = Memo(memory)

    def known(self, index: int) -> Captions | None:
        """Return a sample's captions if they are remembered."""
        found: Captions | None = self._known.get(index)
        return found

    def of(self, index: int, sample: Sample | None = None) -> Captions:
        """Return a sample's captions; `sample` is the sample if it is at hand.

        Raises:
            DataError: It cannot be read, or lacks a caption.
        """
        captions = self.known(index)
        if captions is None:
            captions = self.roles.of(index, sample or self.samples.sample(index))
            self._known.put(index, captions, sum(len(text.encode()) + STRING for text in captions.texts()))
        return captions


@dataclass(frozen=True)
class Miss:
    """A sample that is left out, and why."""

    where: str
    why: str


def over_threads(work: Callable[[T], R], things: Sequence[T]) -> list[R]:
    """Return what `work` makes of each thing, by as many threads as torch computes with: they are idle meanwhile."""
    import torch

    threads = torch.get_num_threads()
    if threads == 1 or len(things) < FEW:
        return [work(thing) for thing in things]
    size = -(-len(things) // (4 * threads))  # in shares: handing over things one by one costs as much as small ones take
    shares = [things[start : start + size] for start in range(0, len(things), size)]
    with ThreadPoolExecutor(threads) as pool:
        return [made for share in pool.map(lambda share: [work(thing) for thing in share], shares) for made in share]


@dataclass(frozen=True)
class Feed:
    """Everything that turns positions into batches.

    Args:
        captions: The data set and its captions.
        plan: What is seen when.
        tokenize: Texts to (B, L) ids.
        crop: How images become squares.
        skip_bad: Leave out unreadable samples, counted, instead of stopping.
        memory: Bytes of images, and as many of token ids, that are kept for the next epoch.
    """

    captions: CaptionReader
    plan: Plan
    tokenize: Callable[[list[str]], torch.Tensor]
    crop: Crop
    skip_bad: bool
    memory: int = MEMORY
    _images: Memo = field(init=False, repr=False)
    _texts: Memo = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("_images", "_texts"):
            object.__setattr__(self, name, Memo(self.memory))

    def for_worker(self, workers: int) -> Feed:
        """Return the same with one worker's share of the memory."""
        return replace(self, memory=self.memory // workers)

    def batch(self, start: int, stop: int) -> Batch:
        """Make the batch of positions [start, stop); see `Batches.batch`.

        Raises:
            DataError: A sample is unreadable and `skip_bad` is off.
        """
        import torch

        visit, ledger, size = self.plan.visit(start, stop), Ledger(), self.crop.size
        pixels = np.empty((stop - start, size, size, 3), dtype=np.uint8)
        captions: list[Captions] = []
        kept: list[int] = []
        wanted = list(zip(visit.index.tolist(), visit.keys.tolist(), visit.epoch.tolist(), strict=True))
        for row, found in enumerate(over_threads(self._one, wanted)):
            if isinstance(found, Miss):
                ledger.miss(found.where, found.why)
                continue
            pixels[len(kept)] = found[0] if self.crop.random else self._images.put(wanted[row][0], found[0])
            captions.append(found[1])
            kept.append(row)
        ledger.seen = len(kept)
        images = torch.from_numpy(pixels[: len(kept)]).permute(0, 3, 1, 2)
        texts = self.plan.mix.show(captions, visit.choices.take(kept), ledger.mix)
        return Batch(images, self._tokens(texts), ledger, visit.keys[kept], visit.epoch[kept])

    def _one(self, wanted: tuple[int, int, int]) -> tuple[np.ndarray, Captions] | Miss:
        """Return pixels and captions of a sample (its number, key and epoch), or why it is left out."""
        index, key, epoch = wanted
        pixels, captions = self._images.get(index), self.captions.known(index)
        if pixels is not None and captions is not None:
            return pixels, captions
        where = f"sample {index}"
        try:
            sample = self.captions.samples.sample(index)
            where = sample.where
            captions = self.captions.of(index, sample)
            if pixels is None:
                pixels = load_crop(sample.read_image(), where, self.crop, Draws(self.plan.seed, CROP, key, epoch))
        except DataError as error:
            if not self.skip_bad:
                raise
            return Miss(where, error.what)
        return pixels, captions

    def _tokens(self, texts: list[str]) -> torch.Tensor:
        import torch

        if not texts:
            return self.tokenize([""])[:0].long()
        new = [text for text in dict.fromkeys(texts) if self._texts.get(text) is None]
        made = dict(zip(new, self.tokenize(new).numpy().astype(np.int32), strict=True)) if new else {}
        for text, ids in made.items():
            self._texts.put(text, ids, ids.nbytes + len(text) + STRING)
        rows = [made[text] if text in made else self._texts.get(text) for text in texts]
        return torch.from_numpy(np.stack(rows)).long()
