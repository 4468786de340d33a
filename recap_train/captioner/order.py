"""In which order a stage is shown its rows: a pure function, so that a resumed run needs no state but its step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recap_eval.hashrand import permute_array, text_key

WINDOW = 50  # batches within which rows of like length are put together, as LLaVA-1.5 does
SHUFFLE, LIKE, BATCHES = text_key("shuffle"), text_key("like"), text_key("batches")


def order_of(n: int, seen: int, batch: int, seed: int, like: tuple[Sequence[int], Sequence[bool]] | None = None) -> np.ndarray:
    """Return (seen,) numbers of rows, epoch after epoch, each epoch every row once.

    Args:
        n: Rows.
        seen: Rows to show in all.
        batch: Rows of a batch over all devices.
        seed: The run's seed.
        like: (N) lengths, and (N) whether a row has an image: batches are then of one of both kinds and of like length.
    """
    epochs = -(-seen // n)
    parts = [_epoch(n, batch, seed, epoch, like) for epoch in range(epochs)]
    return np.concatenate(parts)[:seen] if parts else np.empty(0, dtype=np.int64)


def _epoch(
    n: int, batch: int, seed: int, epoch: int, like: tuple[Sequence[int], Sequence[bool]] | None
) -> np.ndarray:  # fmt: skip
    if like is None:
        return permute_array(np.arange(n), n, seed, SHUFFLE, epoch)
    lengths, shown = np.asarray(like[0]), np.asarray(like[1], dtype=bool)
    whole: list[np.ndarray] = []
    rest: list[np.ndarray] = []
    for kind in (True, False):
        rows = np.flatnonzero(shown == kind)
        rows = rows[permute_array(np.arange(len(rows)), len(rows), seed, LIKE, epoch, int(kind))] if len(rows) else rows
        for start in range(0, len(rows), WINDOW * batch):
            window = rows[start : start + WINDOW * batch]
            window = window[np.argsort(-lengths[window], kind="stable")]
            cut = len(window) // batch * batch
            whole += np.split(window[:cut], cut // batch) if cut else []
            rest.append(window[cut:])
    turn = permute_array(np.arange(len(whole)), len(whole), seed, BATCHES, epoch) if whole else np.empty(0, dtype=np.int64)
    return np.concatenate([*(whole[number] for number in turn), *rest])  # what fills no batch comes last, mixed
