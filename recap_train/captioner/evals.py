"""Measuring a captioner, on the way and afterwards, by `recap-eval captioner`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap_train.evals import Evals, InTraining

if TYPE_CHECKING:
    from recap_train.captioner.whole import Describe, Speaker
    from recap_train.loop import Loop
    from recap_train.run import Run
    from recap_train.states import State

TASKS = "scenes-caption"
FIGURES = ("f1", "truth", "recall", "hallucination", "all_true")
BATCH = 64  # images that a small model describes at a time


def measuring(model: Path, data: Path, tasks: str) -> list[str]:
    """Return the words of `recap-eval` that measure a captioner, without where results go."""
    return ["captioner", "--model", str(model), "--data", str(data), "--tasks", tasks]


@dataclass(frozen=True)
class CaptionerSubject:
    """A captioner that is being trained.

    Args:
        speaker: Its parts.
        limit: Questions of each task; None for all.
    """

    speaker: Speaker
    limit: int | None
    kind: str = "captioner"

    def weights(self, loop: Loop) -> State:
        """Return the weights so far: the average where there is one."""
        return loop.average.weights() if loop.average else loop.spread.weights()

    def write(self, folder: Path, weights: State) -> list[str]:
        """Write the captioner."""
        return self.speaker.write(folder, weights)

    def words(self, folder: Path, evals: Evals) -> list[str]:
        """Return the command; what the captioner says is kept beside it."""
        assert evals.data is not None and evals.tasks is not None
        words = [*measuring(folder, evals.data, evals.tasks), "--answers", str(folder / "answers.sqlite")]
        words += [] if self.limit is None else ["--limit", str(self.limit)]
        return [*words, "--batch-size", str(BATCH), "--no-report"]

    def metrics(self, told: dict[str, Any]) -> dict[str, float]:
        """Return the figures to note from what the command prints."""
        records = [record for outcome in told.values() for record in outcome["results"]]
        found = {name: one["value"] for record in records for name, one in record["metrics"].items()}
        return {name: float(found[name]) for name in FIGURES if name in found}

    def discard(self, folder: Path) -> None:
        """Delete the weights; what it said stays."""
        (folder / "model.safetensors").unlink(missing_ok=True)


@dataclass(frozen=True)
class OnTheWay:
    """What is measured on the way.

    Args:
        evals: When, which tasks, on what.
        limit: Questions of each task; None for all.
    """

    evals: Evals
    limit: int | None

    def hooks(self, run: Run, loop: Loop, speaker: Speaker, describe: Describe) -> tuple[InTraining, ...]:
        """Return the loop's hooks."""
        return (InTraining(self.evals, run.out, run.name, CaptionerSubject(speaker, self.limit), loop, describe),)
