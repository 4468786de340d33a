"""Measuring a diffusion transformer on the way: its average so far as a pipeline, and a suite of `recap-eval t2i` on it.

The prompts are the first ones of the suite's sets, and the noise of each is a hash of its id: so the images of all
measurements, and of runs at other mixes, are of the same prompts from the same noise.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap_train.diffusion.pipeline import TRANSFORMER, write_pipeline
from recap_train.evals import Evals, InTraining

if TYPE_CHECKING:
    from recap_train.diffusion.encoded import Encoders
    from recap_train.diffusion.recipe import ImageRecipe
    from recap_train.diffusion.run import Describe
    from recap_train.loop import Loop
    from recap_train.run import Run
    from recap_train.states import State

IMAGES = "images"


def suite_words(suite: str, scorer: str | None, data: Path | None) -> list[str]:
    """Return what a suite's command says besides model, images and where results go."""
    words = ["--suite", suite]
    words += ["--scorer", scorer] if scorer and suite != "paper" else []
    return words + (["--data", str(data)] if data else [])


@dataclass(frozen=True)
class PipelineSubject:
    """A diffusion transformer.

    Args:
        recipe: Its recipe.
        encoders: What is in front of it.
        suite: See `suite_words`.
        limit: Prompts of each set; None for all.
    """

    recipe: ImageRecipe
    encoders: Encoders
    suite: list[str]
    limit: int | None
    kind: str = "diffusion"

    def weights(self, loop: Loop) -> State:
        """Return the average so far."""
        return loop.average.weights() if loop.average else loop.spread.weights()

    def write(self, folder: Path, weights: State) -> list[str]:
        """Write the pipeline."""
        return write_pipeline(folder, self.recipe, weights, self.encoders)

    def words(self, folder: Path, evals: Evals) -> list[str]:
        """Return the command."""
        images = ["--images", str(folder / IMAGES)]
        images += [] if self.limit is None else ["--limit", str(self.limit)]
        return ["t2i", "--model", str(folder), *self.suite, *images, "--no-cache"]

    def metrics(self, told: dict[str, Any]) -> dict[str, float]:
        """Return the suite's row of figures, as SET/METRIC: value."""
        return {f"{one['set']}/{one['metric']}": float(one["value"]) for one in told["row"] if "metric" in one}

    def discard(self, folder: Path) -> None:
        """Delete the network; images and figures stay."""
        shutil.rmtree(folder / TRANSFORMER, ignore_errors=True)


@dataclass(frozen=True)
class SuiteEvals:
    """What is measured on the way.

    Args:
        every: Samples from one measurement to the next.
        suite: See `suite_words`.
        limit: Prompts of each set; None for all.
        keep: Keep the weights that were measured.
        leaderboards: Where results go.
    """

    every: int
    suite: list[str]
    limit: int | None
    keep: bool
    leaderboards: Path

    def hooks(self, run: Run, loop: Loop, encoders: Encoders, describe: Describe) -> tuple[InTraining, ...]:
        """Return the loop's hooks."""
        from recap_train.diffusion.recipe import ImageRecipe

        assert isinstance(run.recipe, ImageRecipe)
        subject = PipelineSubject(run.recipe, encoders, self.suite, self.limit)
        evals = Evals(self.every, keep=self.keep, leaderboards=self.leaderboards)
        return (InTraining(evals, run.out, run.name, subject, loop, describe),)
