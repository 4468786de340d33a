"""The training loop: optimiser, schedule, progress, checkpoints, and a stop that loses nothing."""

from __future__ import annotations

import contextlib
import json
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from recap_eval.console import progress_bar
from recap_eval.errors import DataError
from recap_eval.files import write_text
from recap_train import checkpoint
from recap_train.loader import Batch, Ledger
from recap_train.mixing import MixCount

if TYPE_CHECKING:
    import torch

LOG = "log.jsonl"
LOG_EVERY = 50  # steps
MAX_LOGIT_SCALE = math.log(100)  # CLIP section 2.5 clips the temperature there


class Stopped(Exception):
    """The run was asked to stop (Ctrl-C, SIGTERM) and has saved its state."""


@dataclass(frozen=True)
class Schedule:
    """Length and optimiser of a run.

    Args:
        steps: Steps to take in all.
        batch_size: Samples a step.
        lr: Peak learning rate.
        warmup: Share of the steps in which it rises; it then falls to 0 along a cosine.
        betas: AdamW's.
        weight_decay: AdamW's, on matrices only.
        save_seconds: A checkpoint is written when so much time has passed.
        warmup_steps: Steps in which it rises, instead of a share of them.
        eps: AdamW's.
        no_decay: Ends of the names of further weights without decay.
    """

    steps: int
    batch_size: int
    lr: float
    warmup: float
    betas: tuple[float, float]
    weight_decay: float
    save_seconds: float = 60.0
    warmup_steps: int | None = None
    eps: float = 1e-8
    no_decay: tuple[str, ...] = ()

    @property
    def rise(self) -> int:
        """Steps in which the learning rate rises."""
        return math.ceil(self.warmup * self.steps) if self.warmup_steps is None else self.warmup_steps

    def lr_at(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        rise: float = self.warmup * self.steps if self.warmup_steps is None else self.warmup_steps
        if step < rise:
            return self.lr * (step + 1) / self.rise
        return self.lr * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1.0, self.steps - rise)))


@dataclass
class Progress:
    """Where a run stands.

    Args:
        step: Steps done.
        ledger: What was seen in them.
        seconds: Wall time spent in them, over all sessions.
        waited: Part of that spent waiting for data.
        log: One entry every LOG_EVERY steps, and one a measurement on the way.
    """

    step: int = 0
    ledger: Ledger = field(default_factory=Ledger)
    seconds: float = 0.0
    waited: float = 0.0
    log: list[dict[str, Any]] = field(default_factory=list)


def make_optimizer(model: torch.nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    """Return AdamW with weight decay on matrices and none on gains, biases, the logit scale and what the schedule names."""
    import torch

    matrices: list[torch.Tensor] = []
    others: list[torch.Tensor] = []
    for name, weight in model.named_parameters():
        decays = weight.ndim > 1 and not name.removesuffix(".weight").endswith(schedule.no_decay or ("\0",))
        (matrices if decays else others).append(weight)
    groups = [{"params": matrices, "weight_decay": schedule.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=schedule.lr, betas=schedule.betas, eps=schedule.eps, fused=True)


@contextlib.contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Turn the first SIGINT or SIGTERM into a wish that the loop asks for; a second one interrupts at once."""
    wished = False

    def wish(number: int, frame: FrameType | None) -> None:
        nonlocal wished
        if wished:
            raise KeyboardInterrupt
        wished = True

    before = {number: signal.signal(number, wish) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: wished
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass
class Loop:
    """A run: model, loss, data and where its state is kept.

    Args:
        model: Trained in place.
        loss_of: Batch to scalar loss.
        batches: First positions to batches.
        schedule: Length and optimiser.
        folder: Where checkpoint and log go.
        identity: Digest of everything the run depends on.
        after_step: Called after every step, and where a run goes on, with its progress and the question whether it is asked
            to stop; it may add to the log, and must leave the model alone.
    """

    model: torch.nn.Module
    loss_of: Callable[[Batch], torch.Tensor]
    batches: Callable[[range], Iterator[Batch]]
    schedule: Schedule
    folder: Path
    identity: str
    after_step: Callable[[Progress, Callable[[], bool]], None] | None = None

    def run(self) -> Progress:
        """Train to the end, going on where an earlier call stopped.

        Raises:
            Stopped: A signal asked for it; the state is saved.
            DataError: The loss is not finite, or data is unreadable; the last checkpoint is intact.
        """
        optimizer = make_optimizer(self.model, self.schedule)
        progress = self._restore(optimizer)
        size = self.schedule.batch_size
        batches = self.batches(range(progress.step * size, self.schedule.steps * size, size))
        with stop_signals() as stop_wished, contextlib.closing(batches) as ahead:  # type: ignore[type-var]
            self._steps(progress, optimizer, ahead, stop_wished)
        self._save(progress, optimizer)  # so that nothing that comes after can cost the training
        return progress

    def _steps(
        self,
        progress: Progress,
        optimizer: torch.optim.Optimizer,
        batches: Iterator[Batch],
        stop_wished: Callable[[], bool],
    ) -> None:
        total = self.schedule.steps * self.schedule.batch_size
        done = progress.step * self.schedule.batch_size
        saved = clock = time.perf_counter()
        with progress_bar(total, "train", "sample", initial=done, unit_scale=True) as bar:
            if self.after_step is not None and progress.step:
                self.after_step(progress, stop_wished)
                clock = time.perf_counter()
            while progress.step < self.schedule.steps:
                batch = next(batches)
                waited = time.perf_counter() - clock
                loss = self._step(progress.step, optimizer, batch)
                now = time.perf_counter()
                progress.step += 1
                progress.ledger.add(batch.ledger)
                progress.seconds, progress.waited, clock = progress.seconds + now - clock, progress.waited + waited, now
                self._note(progress, loss, bar)
                bar.update(self.schedule.batch_size)
                if self.after_step is not None:
                    self.after_step(progress, stop_wished)
                    clock = time.perf_counter()
                if stop_wished():
                    self._save(progress, optimizer)
                    raise Stopped(f"stopped at step {progress.step} of {self.schedule.steps}")
                if now - saved > self.schedule.save_seconds:
                    self._try_save(progress, optimizer)
                    saved = time.perf_counter()

    def _step(self, step: int, optimizer: torch.optim.Optimizer, batch: Batch) -> float:
        import torch

        for group in optimizer.param_groups:
            group["lr"] = self.schedule.lr_at(step)
        optimizer.zero_grad(set_to_none=True)
        loss = self.loss_of(batch)
        value = loss.item()
        if not math.isfinite(value):
            raise DataError(f"The loss is {value} at step {step}.", "Lower the learning rate; the last checkpoint is intact.")
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        with torch.no_grad():
            self.model.logit_scale.clamp_(0, MAX_LOGIT_SCALE)  # type: ignore[operator]
        return value

    def _note(self, progress: Progress, loss: float, bar: Any) -> None:
        if progress.step % LOG_EVERY and progress.step != self.schedule.steps:
            return
        bar.set_postfix(loss=f"{loss:.3f}")
        entry = {"step": progress.step, "samples": progress.step * self.schedule.batch_size, "loss": loss}
        entry |= {"lr": self.schedule.lr_at(progress.step - 1), "seconds": round(progress.seconds, 2)}
        entry |= {"logit_scale": self.model.logit_scale.exp().item()}  # type: ignore[operator]
        progress.log.append(entry)

    def _write_log(self, progress: Progress) -> None:
        write_text(self.folder / LOG, "".join(json.dumps(entry) + "\n" for entry in progress.log))

    def _save(self, progress: Progress, optimizer: torch.optim.Optimizer) -> None:
        state = {"identity": self.identity, "model": self.model.state_dict(), "optimizer": optimizer.state_dict()}
        checkpoint.save(self.folder, state | {"progress": asdict(progress)})
        self._write_log(progress)

    def _try_save(self, progress: Progress, optimizer: torch.optim.Optimizer) -> None:
        """Save on the way; if that fails, say so and train on, for the disk may have room again by the next time."""
        try:
            self._save(progress, optimizer)
        except DataError as error:
            print(f"\nwarning: no checkpoint at step {progress.step}. {error.what}", file=sys.stderr)

    def _restore(self, optimizer: torch.optim.Optimizer) -> Progress:
        state = checkpoint.load(self.folder, self.identity)
        if state is None:
            return Progress()
        self.model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        kept = state["progress"]
        ledger = Ledger(MixCount(**kept["ledger"]["mix"]), kept["ledger"]["bad"])
        return Progress(kept["step"], ledger, kept["seconds"], kept["waited"], kept["log"])
