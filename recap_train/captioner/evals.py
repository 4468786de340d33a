"""Measuring a captioner on the way: what it says of scenes of the validation split, held against them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap_eval.artifact import find_artifact
from recap_eval.data.scenes.locate import scenes_folder
from recap_train.captioner.describe import describe, scene_samples, write_captions
from recap_train.evals import Evals, InTraining

if TYPE_CHECKING:
    from recap_train.captioner.whole import Describe, Speaker
    from recap_train.loop import Loop
    from recap_train.run import Run
    from recap_train.states import State

CAPTIONS = "captions.parquet"
FIGURES = ("f1", "truth", "recall", "hallucination", "all_true")


def truth_words(captions: Path, data: Path, split: str, name: str) -> list[str]:
    """Return the words of `recap-eval` that hold captions of scenes against the truth, without where results go."""
    truth = scenes_folder(data) / f"{split}.parquet"
    words = ["captions", "--captions", str(captions), "--column", "re_caption", "--truth", str(truth), "--name", name]
    return [*words, "--metrics", "length,truth"]


def measure(folder: Path, data: Path) -> list[str]:
    """Let a finished captioner describe the test split of scenes; returns the words of `recap-eval` that measure it."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    artifact = find_artifact(folder)
    assert artifact is not None
    model, processor = AutoModelForImageTextToText.from_pretrained(folder).eval(), AutoProcessor.from_pretrained(folder)
    samples = scene_samples(data, "test")
    images = [sample.read_image() for sample in samples]
    captions = describe(model, processor, images, artifact.made["prompt"], artifact.made["caption_tokens"])
    place = folder.with_name(f"{folder.name}-captions") / "test.parquet"
    place.parent.mkdir(parents=True, exist_ok=True)
    write_captions(place, [sample.key for sample in samples], captions)
    return truth_words(place, data, "test", artifact.name)


@dataclass(frozen=True)
class CaptionerSubject:
    """A captioner of scenes.

    Args:
        speaker: Its parts; the model is the one that is trained.
        data: Folder of scenes.
        limit: Scenes that it describes.
    """

    speaker: Speaker
    data: Path
    limit: int
    kind: str = "captioner"

    def weights(self, loop: Loop) -> State:
        """Return the weights so far: the average where there is one."""
        return loop.average.weights() if loop.average else loop.spread.weights()

    def write(self, folder: Path, weights: State) -> list[str]:
        """Write the captioner and what it says."""
        files, config = self.speaker.write(folder, weights), self.speaker.recipe.model_cfg
        samples = scene_samples(self.data, "val", self.limit)
        images = [sample.read_image() for sample in samples]
        model = self.speaker.loaded(weights).eval()
        captions = describe(model, self.speaker.processor, images, config["prompt"], config["caption_tokens"])
        write_captions(folder / CAPTIONS, [sample.key for sample in samples], captions)
        return [*files, CAPTIONS]

    def words(self, folder: Path, evals: Evals) -> list[str]:
        """Return the command."""
        return [*truth_words(folder / CAPTIONS, self.data, "val", folder.name), "--no-cache"]

    def metrics(self, told: dict[str, Any]) -> dict[str, float]:
        """Return the figures of truth from what the command prints."""
        found = {name: one["value"] for outcome in told.values() for record in outcome["results"]
                 for name, one in record["metrics"].items()}  # fmt: skip
        return {name: float(found[name]) for name in FIGURES if name in found}

    def discard(self, folder: Path) -> None:
        """Delete the weights; captions and figures stay."""
        (folder / "model.safetensors").unlink(missing_ok=True)


@dataclass(frozen=True)
class SceneEvals:
    """What is measured on the way.

    Args:
        every: Samples from one measurement to the next.
        data: Folder of scenes.
        limit: Scenes that are described.
        keep: Keep the weights that were measured.
    """

    every: int
    data: Path
    limit: int
    keep: bool

    def hooks(self, run: Run, loop: Loop, speaker: Speaker, describe: Describe) -> tuple[InTraining, ...]:
        """Return the loop's hooks."""
        subject = CaptionerSubject(speaker, self.data, self.limit)
        return (InTraining(Evals(self.every, keep=self.keep), run.out, run.name, subject, loop, describe),)
