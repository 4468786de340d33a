"""Measuring a model while it is trained: its weights so far as an artifact, and `recap-eval` on it.

The measurement is a process of its own that reads files, so it changes nothing in the training, and its failure is told and
trained past. What is measured is noted beside the artifact, so that a resumed run measures nothing twice.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from recap_eval.artifact import SEEN, TOTAL, write_artifact
from recap_eval.console import warn
from recap_eval.errors import DataError
from recap_eval.files import digest_json, read_json, write_json
from recap_eval.provenance import run_record
from recap_train.parallel import alone_environment
from recap_train.weights import WEIGHTS, write_weights

if TYPE_CHECKING:
    from recap_train.ledger import Ledger
    from recap_train.loop import Loop, Progress
    from recap_train.states import State

FOLDER, DONE = "evals", "evaluated.json"
POLL = 0.2  # seconds between looks at a measurement that runs
PATIENCE = 10.0  # seconds that a measurement has to end when it is asked to


@dataclass(frozen=True)
class Evals:
    """What is measured on the way.

    Args:
        every: Samples from one measurement to the next.
        tasks: Tasks and suites as `recap-eval clip --tasks` takes them; None for all whose data is there.
        data: Where their data is; None for recap-eval's default.
        keep: Keep the weights that were measured.
        leaderboards: Where results go, which is where the finished model's go; None for a folder of the run's own.
    """

    every: int
    tasks: str | None = None
    data: Path | None = None
    keep: bool = False
    leaderboards: Path | None = None


class Subject(Protocol):
    """What is measured on the way: how weights become an artifact, and which command measures it."""

    @property
    def kind(self) -> str:
        """The artifact's kind."""

    def weights(self, loop: Loop) -> State:
        """Return the weights to measure; all processes call it, the first one gets them."""

    def write(self, folder: Path, weights: State) -> list[str]:
        """Write all files of the artifact; returns their names."""

    def words(self, folder: Path, evals: Evals) -> list[str]:
        """Return what follows `recap-eval`, without where results go."""

    def metrics(self, told: dict[str, Any]) -> dict[str, float]:
        """Return the figures to note from what the command prints."""

    def discard(self, folder: Path) -> None:
        """Delete the weights."""


@dataclass(frozen=True)
class ClipSubject:
    """A CLIP model.

    Args:
        out: The run's folder.
        files: Config and tokenizer in it.
    """

    out: Path
    files: list[str]
    kind: str = "clip"

    def weights(self, loop: Loop) -> State:
        """Return the weights so far."""
        return loop.spread.weights()

    def write(self, folder: Path, weights: State) -> list[str]:
        """Write config, tokenizer and weights."""
        for name in self.files:
            shutil.copyfile(self.out / name, folder / name)
        write_weights(folder, weights)
        return [*self.files, WEIGHTS]

    def words(self, folder: Path, evals: Evals) -> list[str]:
        """Return the command."""
        words = ["clip", "--model", str(folder), "--no-report", "--no-cache"]
        words += ["--tasks", evals.tasks] if evals.tasks else []
        return words + (["--data", str(evals.data)] if evals.data else [])

    def metrics(self, told: dict[str, Any]) -> dict[str, float]:
        """Return the first metric of each task."""
        return primary_metrics(told)

    def discard(self, folder: Path) -> None:
        """Delete the weights."""
        (folder / WEIGHTS).unlink(missing_ok=True)


@dataclass
class InTraining:
    """Measures where it is due; one of `Loop.hooks`.

    Args:
        evals: What to measure, and when.
        out: The run's folder.
        name: The run's name.
        subject: How weights become an artifact that is measured.
        loop: The run.
        describe: Samples seen and the ledger of all processes to how the weights were made.
    """

    evals: Evals
    out: Path
    name: str
    subject: Subject
    loop: Loop
    describe: Callable[[int, Ledger], dict[str, Any]]

    def __call__(self, progress: Progress, stop_wished: Callable[[], bool]) -> None:
        """Measure the weights if a measurement is due at this step and was not made; note its metrics in the log.

        All processes come here; the first one measures, and the others wait for it.
        """
        seen, world = progress.step * self.loop.schedule.batch_size, self.loop.world
        if not self._due(progress.step):
            return
        made = self.describe(seen, self.loop.whole_ledger(progress))
        made |= {"identity": digest_json([made["identity"], seen]), TOTAL: made[SEEN] + self.loop.seen - seen}
        folder = self.out / FOLDER / f"samples-{seen}"
        metrics = self._known(folder, made["identity"])
        if world.total(metrics is None)[0]:
            weights = self.subject.weights(self.loop)
            metrics = self._measure(folder, made, weights, progress, stop_wished) if world.main else None
            world.wait()
        if metrics is not None and not any("eval" in entry and entry["samples"] == seen for entry in progress.log):
            progress.log.append({"step": progress.step, "samples": seen, "eval": metrics})

    def _due(self, step: int) -> bool:
        """True at the first step behind a multiple of `every`; not at the end, where the finished model is measured."""
        size, every = self.loop.schedule.batch_size, self.evals.every
        return step < self.loop.schedule.steps and step * size // every > (step - 1) * size // every

    def _known(self, folder: Path, identity: str) -> dict[str, float] | None:
        try:
            note = read_json(folder / DONE)
        except DataError:  # none there, or damaged: it is measured again
            return None
        return dict(note["metrics"]) if note["identity"] == identity else None

    def _measure(
        self, folder: Path, made: dict[str, Any], weights: State, progress: Progress, stop_wished: Callable[[], bool]
    ) -> dict[str, float] | None:
        try:
            self._write(folder, made, weights, progress)
            metrics = self._run(folder, stop_wished)
        except (DataError, OSError) as error:
            warn(f"no measurement after {made['samples_seen']} samples: {error}. The training goes on.")
            metrics = None
        if metrics is not None:
            write_json(folder / DONE, {"identity": made["identity"], "metrics": metrics})
        if not self.evals.keep:
            self.subject.discard(folder)
        return metrics

    def _write(self, folder: Path, made: dict[str, Any], weights: State, progress: Progress) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        files = self.subject.write(folder, weights)
        name = f"{self.name}@{made['samples_seen']}"
        write_artifact(folder, self.subject.kind, name, files, made, run_record(progress.seconds))

    def _run(self, folder: Path, stop_wished: Callable[[], bool]) -> dict[str, float] | None:
        """Run the measurement; None if it was broken off because the training is to stop."""
        words = self.subject.words(folder, self.evals)
        words += ["--out", str(self.evals.leaderboards or self.out / FOLDER / "leaderboards"), "--json"]
        with tempfile.TemporaryFile() as told, tempfile.TemporaryFile() as errors:
            command = [sys.executable, "-m", "recap_eval.cli", *words]
            # a session of its own, so that Ctrl-C asks us and not it
            process = subprocess.Popen(command, stdout=told, stderr=errors, env=alone_environment(), start_new_session=True)
            if not _ended(process, stop_wished):
                return None
            return self._read(process.returncode, told, errors, words)

    def _read(self, code: int, told: IO[bytes], errors: IO[bytes], words: list[str]) -> dict[str, float]:
        told.seek(0)
        errors.seek(0)
        lines = [line for line in errors.read().decode(errors="replace").splitlines() if line.startswith("error:")]
        try:
            found = json.loads(told.read() or b"null")
        except json.JSONDecodeError:
            found = None
        if not found:
            why = lines[-1] if lines else f"it ended with code {code}"
            raise DataError(f"recap-eval {' '.join(words)}: {why}", "Give that command by hand to see why.")
        if code:
            warn(f"a measurement is not whole: {'; '.join(lines) or f'code {code}'}. The training goes on.")
        return self.subject.metrics(found)


def primary_metrics(told: dict[str, Any]) -> dict[str, float]:
    """Return the first metric of each task from what `recap-eval clip --json` prints, as TASK/METRIC: value."""
    metrics = {}
    for outcome in told.values():
        for record in outcome["results"]:
            name = next(iter(record["metrics"]))
            metrics[f"{record['task']['name']}/{name}"] = float(record["metrics"][name]["value"])
    return metrics


def _ended(process: subprocess.Popen[bytes], stop_wished: Callable[[], bool]) -> bool:
    """Wait for a process; end it, and return False, if the training is asked to stop before."""
    try:
        while process.poll() is None:
            if stop_wished():
                return False
            time.sleep(POLL)
        return True
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
