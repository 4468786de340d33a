"""The training loop: optimiser, schedule, progress, checkpoints, and a stop that loses nothing. It knows no model."""

from __future__ import annotations

import contextlib
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from recap_eval.console import progress_bar
from recap_eval.errors import DataError
from recap_eval.files import write_text
from recap_eval.signals import Stopped, Wishes, stop_signals
from recap_train import checkpoint
from recap_train.ledger import Ledger
from recap_train.loader import Batch
from recap_train.meter import Meter
from recap_train.parallel import World, local
from recap_train.schedule import Schedule, make_optimizer
from recap_train.states import Average, Spread

if TYPE_CHECKING:
    import numpy as np
    import torch

LOG = "log.jsonl"
LOG_EVERY = 50  # steps


@dataclass
class Progress:
    """Where a run stands.

    Args:
        step: Steps done.
        ledger: What was seen in them; among several processes, each has its own part, and a checkpoint the whole.
        seconds: Wall time spent in them, over all sessions.
        waited: Part of that spent waiting for data.
        log: One entry every LOG_EVERY steps, and one a measurement on the way.
    """

    step: int = 0
    ledger: Ledger = field(default_factory=Ledger)
    seconds: float = 0.0
    waited: float = 0.0
    log: list[dict[str, Any]] = field(default_factory=list)


Hook = Callable[[Progress, Callable[[], bool]], None]


class Objective(Protocol):
    """What is trained: how a batch becomes gradients."""

    def backward(self, batch: Any, step: int) -> torch.Tensor:
        """Add the batch's gradients to the weights', and return its loss, whose mean over processes is the batch's."""

    def after_step(self) -> None:
        """Do what follows an optimiser step, such as keeping a weight within its bounds."""

    def facts(self) -> dict[str, float]:
        """Return what the log tells beside the loss; called by all processes alike."""

    def flops(self, batch: Any) -> float:
        """Return the operations that training on one sample of the batch takes."""


@dataclass
class Loop:
    """A run: what is trained, on which data, and where its state is kept.

    Args:
        spread: The module that is trained in place, as this process holds it.
        objective: Batch to gradients.
        batches: First positions of the batches to what this process sees of them.
        schedule: Length and optimiser.
        folder: Where checkpoint and log go.
        identity: Digest of everything the run depends on.
        world: The processes of the run.
        average: Moving average of the weights, or None.
        meter: Measures speed.
        board: TensorBoard's writer, made for the step at which the run goes on; or None.
        hooks: Called by all processes alike after each step, and once where a run goes on, with its progress and the question
            whether it is asked to stop. They may add to the log; the time they take is no training time. A run that was
            killed calls them again for the steps since its last checkpoint.
        name_of: Sample keys to names that a user knows, for messages.
        max_bad: Largest share of samples that may be left out, see `Ledger.check`.
    """

    spread: Spread
    objective: Objective
    batches: Callable[[range], Iterator[Batch]]
    schedule: Schedule
    folder: Path
    identity: str
    world: World = field(default_factory=World)
    average: Average | None = None
    meter: Meter = field(default_factory=Meter)
    board: Callable[[int], Any] | None = None
    hooks: tuple[Hook, ...] = ()
    name_of: Callable[[np.ndarray], list[str]] = lambda keys: [f"{int(key):016x}" for key in keys]
    max_bad: float = 1.0

    def __post_init__(self) -> None:
        self.optimizer = make_optimizer(self.spread.module, self.schedule)
        self._writer: Any = None

    @property
    def seen(self) -> int:
        """Samples that the whole run sees."""
        return self.schedule.steps * self.schedule.batch_size

    def run(self) -> Progress:
        """Train to the end, going on where an earlier call stopped.

        Returns:
            Where the run stands, with the ledger of all processes.

        Raises:
            Stopped: A signal asked for it; the state is saved.
            DataError: The loss is not finite, or data is unreadable; the last checkpoint is intact.
        """
        progress = self._restore()
        size = self.schedule.batch_size
        batches = self.batches(range(progress.step * size, self.schedule.steps * size, size))
        self._writer = self.board(progress.step) if self.board and self.world.main else None
        with stop_signals(self.world.size > 1) as wishes, contextlib.closing(batches) as ahead:  # type: ignore[type-var]
            self._steps(progress, ahead, wishes)
        progress.ledger = self._save(progress)  # so that nothing that comes after can cost the training
        return progress

    def _steps(self, progress: Progress, batches: Iterator[Batch], wishes: Wishes) -> None:
        schedule = self.schedule
        total, done = self.seen, progress.step * schedule.batch_size
        hidden = {"disable": True} if not self.world.main else {}
        if progress.step:
            self._call_hooks(progress, wishes)
        saved = time.perf_counter()
        with progress_bar(total, "train", "sample", initial=done, unit_scale=True, **hidden) as bar:
            while progress.step < schedule.steps:
                start = time.perf_counter()
                batch = next(batches)
                waited = time.perf_counter() - start
                start += self._weigh(batch, bar)
                due = self.world.main and time.perf_counter() - saved > schedule.save_seconds
                loss, asked, save = self._agreed(self._step(progress.step, batch), wishes, due)
                self._check(loss, progress.step, batch)
                self._count(progress, batch, time.perf_counter() - start, waited)
                self._note(progress, loss, bar)
                asked = self._call_hooks(progress, wishes) or asked
                save = save or schedule.keeps(progress.step)
                if asked or save or progress.step == schedule.steps:
                    self._check_weights(progress.step)
                if asked:
                    self._save(progress)
                    raise Stopped(f"stopped at step {progress.step} of {schedule.steps}", asked.interrupt)
                if save:
                    self._try_save(progress)
                    saved = time.perf_counter()

    def _weigh(self, batch: Batch, bar: Any) -> float:
        """Count the work that a sample is, once; returns the seconds it took, which are no training."""
        if self.meter.flops is not None:
            return 0.0
        begun = time.perf_counter()
        self.meter.flops = self.objective.flops(batch)
        if self.world.main:
            bar.write(self.meter.describe(), file=sys.stderr)
        return time.perf_counter() - begun

    def _step(self, step: int, batch: Batch) -> float:
        import torch

        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.lr_at(step)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.objective.backward(batch, step)
        if self.schedule.grad_clip is not None:
            torch.nn.utils.clip_grad_norm_(self.spread.module.parameters(), self.schedule.grad_clip)
        self.optimizer.step()
        self.objective.after_step()
        if self.average is not None:
            self.average.update()
        return loss.item()  # after all is launched: on a GPU this waits for the step

    def _agreed(self, loss: float, wishes: Wishes, due: bool) -> tuple[float, Wishes, bool]:
        """Return the whole batch's loss, and what any process was asked for, so that all stop and save at the same step."""
        total, term, interrupt, save = self.world.total(loss, wishes.term, wishes.interrupt, due)
        return total / self.world.size, Wishes(term > 0, interrupt > 0), save > 0

    def _call_hooks(self, progress: Progress, wishes: Wishes) -> Wishes:
        """Call the hooks; returns what was asked for by their end, which may be minutes later."""
        for hook in self.hooks:
            hook(progress, wishes.__bool__)
        return self._agreed(0.0, wishes, False)[1] if self.hooks else Wishes()

    def _check(self, loss: float, step: int, batch: Batch) -> None:
        if math.isfinite(loss):
            return
        names = ", ".join(self.name_of(batch.keys[:3]))
        raise DataError(
            f"The loss is {loss} at step {step}, whose batch begins with the samples {names}.",
            "The last checkpoint is intact. Look at these samples, or lower the learning rate.",
        )

    def _count(self, progress: Progress, batch: Batch, seconds: float, waited: float) -> None:
        progress.step += 1
        progress.ledger.add(batch.ledger)
        progress.ledger.check(self.max_bad)
        progress.seconds, progress.waited = progress.seconds + seconds, progress.waited + waited
        self.meter.add(self.schedule.batch_size, seconds, waited)

    def _note(self, progress: Progress, loss: float, bar: Any) -> None:
        bar.update(self.schedule.batch_size)
        if progress.step % LOG_EVERY and progress.step != self.schedule.steps:
            return
        entry = {"step": progress.step, "samples": progress.step * self.schedule.batch_size, "loss": loss}
        entry |= {"lr": self.schedule.lr_at(progress.step - 1), "seconds": round(progress.seconds, 2)}
        entry |= self.objective.facts() | self.meter.read()
        entry |= {"failed": progress.ledger.failed} if progress.ledger.failed else {}
        progress.log.append(entry)
        shown = {"loss": f"{loss:.3f}", "wait": f"{entry['data_wait_share']:.0%}", "GiB": f"{entry['peak_memory_gib']:.1f}"}
        bar.set_postfix(shown | ({"mfu": f"{entry['mfu']:.1%}"} if "mfu" in entry else {}))
        for name in entry.keys() - {"step", "samples", "seconds"} if self._writer else ():
            self._writer.add_scalar(f"train/{name}", entry[name], progress.step)

    def _write_log(self, progress: Progress) -> None:
        """Write the whole log: it is what the checkpoint holds, so a killed run neither repeats nor lacks a line."""
        write_text(self.folder / LOG, "".join(json.dumps(entry) + "\n" for entry in progress.log))

    def _check_weights(self, step: int) -> None:
        """Refuse to save weights that no step could go on from (a finite loss may have had gradients that were not)."""
        import torch

        bad = sum(not bool(torch.isfinite(local(weight.detach())).all()) for weight in self.spread.module.parameters())
        if self.world.total(bad)[0]:
            raise DataError(
                f"{bad} weights are not finite after step {step}.",
                "The last checkpoint is intact. Lower the learning rate, or give the recipe a grad_clip.",
            )

    def _save(self, progress: Progress) -> Ledger:
        """Save; returns the ledger of all processes."""
        begun = time.perf_counter()
        ledger = self.whole_ledger(progress)
        state = {"format": checkpoint.FORMAT, "identity": self.identity, "model": self.spread.weights()}
        state |= {"optimizer": self.spread.optimizer(self.optimizer)}
        state |= {"average": self.average.weights()} if self.average else {}
        if self.world.main:
            checkpoint.save(self.folder, state | {"progress": asdict(progress) | {"ledger": asdict(ledger)}})
            if self.schedule.keeps(progress.step):
                checkpoint.keep(self.folder, progress.step * self.schedule.batch_size)
            self._write_log(progress)
        progress.seconds += time.perf_counter() - begun
        return ledger

    def whole_ledger(self, progress: Progress) -> Ledger:
        """Return the ledger of all processes; all must call it."""
        ledger = Ledger()
        for part in self.world.collect(progress.ledger):
            ledger.add(part)
        return ledger

    def _try_save(self, progress: Progress) -> None:
        """Save on the way; if that fails, say so and train on, for the disk may have room again by the next time."""
        try:
            self._save(progress)
        except DataError as error:
            print(f"\nwarning: no checkpoint at step {progress.step}. {error.what}", file=sys.stderr)

    def _restore(self) -> Progress:
        state = checkpoint.load(self.folder, self.identity)
        if state is None:
            return Progress()
        self.spread.load_optimizer(self.optimizer, state["optimizer"])
        if self.average is not None:
            self.average.load(state["average"])
        self.spread.load_weights(state["model"])
        kept = state["progress"]
        ledger = Ledger.restored(kept["ledger"]) if self.world.main else Ledger()
        return Progress(kept["step"], ledger, kept["seconds"], kept["waited"], kept["log"])
