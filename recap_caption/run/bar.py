"""The progress bar over a whole run, whoever works on it."""

from __future__ import annotations

import time
from typing import Any

from recap_caption.run.generation import Generation
from recap_caption.run.progress import Survey
from recap_caption.run.record import Run
from recap_eval.console import progress_bar

EVERY = 2.0  # seconds between looks


class Bar:
    """The bar.

    Args:
        run: The run.
        generation: What is being made.
    """

    def __init__(self, run: Run, generation: Generation) -> None:
        self._survey = Survey(run, generation)
        self._at = 0.0
        found = self._survey.look()
        unit = "image" if len(run.asking.questions) == 1 else "caption"
        self._bar: Any = progress_bar(
            max(1, found.rows), run.folder.root.name, unit, initial=found.done, disable=False, unit_scale=True
        )

    def show(self) -> None:
        """Draw it, at most every other second."""
        if time.monotonic() - self._at < EVERY:
            return
        self._at = time.monotonic()
        found = self._survey.look()
        failed = sum(sum(worker["failures"].values()) for worker in found.workers)
        self._bar.total = max(1, found.rows)
        self._bar.set_postfix_str(
            f"{found.token_rate:,.0f} tokens/s, {found.committed:,}/{found.parts:,} shards, {failed:,} failed, "
            f"{len(found.workers)} workers", refresh=False,
        )  # fmt: skip
        self._bar.update(max(0, found.done - self._bar.n))

    def close(self) -> None:
        """Take it away."""
        self._bar.close()
