"""The run: batch after batch, each image written before its row, so that a kill at any moment costs one batch.

What is done is known by its rows. A batch of which anything is missing is made again as a whole, and only what was
missing is written: an image has the neighbours in its forward pass that it has in an uninterrupted run.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recap_eval.console import progress_bar
from recap_eval.errors import DataError
from recap_eval.generate.base import ImageModel, Picture
from recap_eval.generate.folder import FORMATS, State, claim, new_row, read_state, write_image
from recap_eval.generate.manifest import Made, Part, open_part
from recap_eval.generate.plan import Item, batches, plan
from recap_eval.generate.prompts import PromptSet

WRITERS = 4
PATIENCE = 8  # failures in a row, and nothing made, after which the rest is not tried
FAILURES = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError, RuntimeWarning)


@dataclass(frozen=True)
class Job:
    """What is to be made.

    Args:
        out: The folder.
        prompts: The prompts.
        samples: Images a prompt.
        seed: The run's seed.
        form: "png", "jpg" or "webp".
        batch_size: Images a forward pass; None for what suits the device.
    """

    out: Path
    prompts: PromptSet
    samples: int = 1
    seed: int = 0
    form: str = "png"
    batch_size: int | None = None

    def items(self) -> list[Item]:
        """Return all images to be made."""
        return plan(self.prompts, self.samples, self.seed, f".{self.form}")

    def identity(self, model: ImageModel) -> dict[str, Any]:
        """Return everything the images depend on."""
        mine = {"seed": self.seed, "samples": self.samples, "format": self.form}
        return {"prompts": self.prompts.fingerprint, **mine, "file": FORMATS[self.form], **model.identity}


@dataclass(frozen=True)
class Progress:
    """What one process did.

    Args:
        made: Images made now.
        found: Images of its share that were there before.
        failed: Rows of its share that failed now.
        seconds: What making took.
    """

    made: int
    found: int
    failed: list[Made]
    seconds: float


def generate_images(model: ImageModel, job: Job, shard: tuple[int, int] | None = None, progress: bool = True) -> Progress:
    """Make what is missing of a run, or of one part of it.

    Args:
        model: The model; its weights are loaded only if something is missing.
        job: What is to be made.
        shard: Which part of how many, from 0; None for all.
        progress: Show progress on standard error.

    Raises:
        UserError: The folder holds another run, or another process works on this part.
        DataError: The disk is full, the model cannot be loaded, or nothing but failures came of it.
    """
    run = claim(job.out, job.identity(model))
    items = job.items()
    size = job.batch_size or (4 if model.device in ("cpu", "own") else 16)
    with open_part(job.out, shard) as part:
        state = read_state(job.out, items)
        share = batches(items, size, shard)
        missing = [batch for batch in share if any(item.key not in state.done for item in batch)]
        total, found = sum(map(len, share)), sum(item.key in state.done for batch in share for item in batch)
        worker = _Worker(model, job, part, (run, state))
        start = time.perf_counter()
        with progress_bar(total, "images", "img", initial=found, disable=not progress or not missing) as bar:
            for batch in missing:
                bar.update(worker.run(batch))
    return Progress(worker.made, found, worker.failed, time.perf_counter() - start)


class _Worker:
    """Makes batches and keeps count."""

    def __init__(self, model: ImageModel, job: Job, part: Part, standing: tuple[str, State]) -> None:
        self._model, self._job, self._part = model, job, part
        self._run, self._state = standing
        self.made = 0
        self.failed: list[Made] = []

    def run(self, batch: list[Item]) -> int:
        """Make a batch and write what of it was missing; returns how many rows were added."""
        start = time.perf_counter()
        pictures = self._attempt(batch)
        seconds = (time.perf_counter() - start) / len(batch)
        cuts = self._model.cuts([item.prompt.text for item in batch])
        made = zip(batch, pictures, cuts, strict=True)
        missing = [one for one in made if one[0].key not in self._state.done]

        def write(one: tuple[Item, Picture | str, list[str]]) -> Made:
            return self._made(one[0], one[1], one[2], seconds, len(batch))

        with ThreadPoolExecutor(WRITERS) as pool:  # compressing leaves the interpreter free
            rows = list(pool.map(write, missing))
        self._part.add(rows)
        self.failed += (bad := [made for made in rows if made.row.error])
        self.made += len(rows) - len(bad)
        if not self.made and len(self.failed) >= PATIENCE:
            raise DataError(
                f"The first {len(self.failed)} images all failed; the last: {self.failed[-1].row.error}",
                "Mend what it says; the same command then goes on.",
            )
        return len(rows)

    def _made(self, item: Item, picture: Picture | str, cut: list[str], seconds: float, size: int) -> Made:
        if isinstance(picture, str):
            row = new_row(item, error=picture, cut_by=cut)
        else:
            facts = write_image(self._job.out, item, picture.image, self._job.form)
            row = new_row(item, **facts, cut_by=cut, blanked=picture.blanked)
        return Made(row, self._run, round(seconds, 4), self._model.device, size)

    def _attempt(self, batch: list[Item]) -> Sequence[Picture | str]:
        """Make a batch; where it fails, make its images one by one, and give the reason in place of those that fail."""
        try:
            return self._make(batch)
        except FAILURES as error:
            if len(batch) == 1:
                return [f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"]
        return [self._attempt([item])[0] for item in batch]

    def _make(self, batch: list[Item]) -> list[Picture]:
        import torch

        try:
            return self._model.generate([item.prompt.text for item in batch], [item.seed for item in batch])
        except torch.OutOfMemoryError as error:
            raise DataError(f"{len(batch)} images at once do not fit into memory.", "Take fewer: --batch-size N") from error
