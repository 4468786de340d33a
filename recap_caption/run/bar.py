"""The progress bar over a whole run, whoever works on it."""

from __future__ import annotations

import time
from typing import Any

from recap_caption.run.generation import Generation
from recap_caption.run.progress import Survey
from recap_caption.run.record import Run
from recap_eval.console import progress_bar

EVERY, SHARE = 2.0, 0.05  # seconds between looks; share of the time that looks may take: many shards, many workers, slow disks


class Bar:
    """The bar.

    Args:
        run: The run.
        generation: What is being made.
    """

    def __init__(self, run: Run, generation: Generation) -> None:
        self._survey = Survey(run, generation)
        self._next = 0.0
        found = self._survey.look()
        unit = "image" if len(run.asking.questions) == 1 else "caption"
        self._bar: Any = progress_bar(
            found.rows, run.folder.root.name, unit, initial=found.done, disable=False, unit_scale=True
        )

    def show(self) -> None:
        """Draw it, if it is time to."""
        began = time.monotonic()
        if began < self._next:
            return
        found = self._survey.look()
        self._next = began + max(EVERY, (time.monotonic() - began) / SHARE)
        failed = sum(sum(worker["failures"].values()) for worker in found.workers)
        self._bar.total = found.rows
        self._bar.set_postfix_str(
            f"{found.token_rate:,.0f} tokens/s, {found.committed:,}/{found.parts:,} shards, {failed:,} failed, "
            f"{len(found.workers)} workers", refresh=False,
        )  # fmt: skip
        self._bar.update(max(0, found.done - self._bar.n))

    def close(self) -> None:
        """Take it away."""
        self._bar.close()
