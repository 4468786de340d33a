"""Images decoded in threads, batch by batch, ahead of the model that takes them: shared by embedding and feature extraction."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

SHARE = 4  # images that a thread takes at a time: handing over one by one costs as much as decoding a tenth of it
AHEAD = 3  # batches prepared while a GPU works; on a CPU decoding ahead only takes cores from the model


def prepared(batches: Iterable[Sequence[T]], load: Callable[[T], Any], device: str) -> Iterator[tuple[Sequence[T], list[Any]]]:
    """Yield each batch with what `load` makes of its members, in order; on a GPU some batches ahead of the model.

    Args:
        batches: What is to be loaded; read as it is needed.
        load: Makes one member ready; called from several threads at once. What it raises is raised here.
        device: The device of the model that takes them.
    """
    ahead = AHEAD if device != "cpu" else 0
    waiting: deque[tuple[Sequence[T], list[Future[list[Any]]]]] = deque()

    def load_all(share: Sequence[T]) -> list[Any]:
        return [load(member) for member in share]

    with _pool(_workers(device)) as pool:
        try:
            for batch in batches:
                shares = [batch[first : first + SHARE] for first in range(0, len(batch), SHARE)]
                waiting.append((batch, [pool.submit(load_all, share) for share in shares]))
                if len(waiting) > ahead:
                    yield _result(waiting.popleft())
            while waiting:
                yield _result(waiting.popleft())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # the pool's end waits


@contextmanager
def _pool(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Give threads that decode, each on one core.

    A thread in which torch works in parallel brings a team of its own, and as soon as there are more OpenMP threads than cores,
    their barriers sleep instead of spinning, and the model beside them waits for its own threads.
    """
    import torch

    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(workers, "decode", torch.set_num_threads, (1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)  # what a thread sets is also the start of threads to come


def _workers(device: str) -> int:
    import torch

    if device == "cpu":
        return 2 * torch.get_num_threads()  # they wait for files and for each other
    return max(1, len(os.sched_getaffinity(0)))


def _result(waiting: tuple[Sequence[T], list[Future[list[Any]]]]) -> tuple[Sequence[T], list[Any]]:
    batch, futures = waiting
    return batch, [image for future in futures for image in future.result()]
