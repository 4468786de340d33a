"""TRL's trainer with what a stage needs beside it: its own order, checkpoints that are whole, a stop that loses nothing.

This file defines a class over transformers' callbacks, so it is imported only where a stage is trained.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback  # noqa: TID253

from recap_eval.console import progress_bar
from recap_eval.errors import DataError, UserError
from recap_eval.files import read_json, write_json, write_text
from recap_eval.signals import Wishes
from recap_train.captioner.collate import FAILURE
from recap_train.parallel import World

if TYPE_CHECKING:
    import torch

MARK = "recap.json"  # written last into a checkpoint's folder: what has none is not whole
LOG = "log.jsonl"


@cache
def stage_trainer() -> Any:
    """Return the class of the trainer: TRL's, which is imported only here."""
    from peft import PeftModel
    from torch.utils.data import SequentialSampler
    from trl import SFTTrainer

    class StageTrainer(SFTTrainer):  # type: ignore[misc]
        """Shows the rows in the order of its data set, and saves weights under the names that the model itself uses."""

        optimizer: Any
        rates: dict[str, float] | None = None  # learning rate by part of a weight's name, where parts differ

        def _get_train_sampler(self, dataset: Any = None) -> Any:
            """Return the order of the data set, which is the run's."""
            return SequentialSampler(self.train_dataset if dataset is None else dataset)

        def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
            """Save a checkpoint's weights under their present names.

            transformers saves them under the names of the checkpoint that they came from, and goes on from a file by present
            names, without a word about those it does not find: it would go on from the weights that the stage started from.
            """
            if isinstance(self.model, PeftModel):  # saves adapters, whose names do not change
                super()._save(output_dir, state_dict)
            elif self.args.should_save:
                model, place = self.accelerator.unwrap_model(self.model), output_dir or self.args.output_dir
                model.save_pretrained(place, state_dict=state_dict, save_original_format=False)

        def _get_num_items_in_batch(self, batch_samples: list[Any], device: Any) -> Any:
            """Tell what went wrong in a worker, which could hand it over only in place of a batch."""
            for batch in batch_samples:
                if FAILURE in batch:
                    raise DataError(*batch[FAILURE])
            return super()._get_num_items_in_batch(batch_samples, device)

        def create_optimizer(self, *given: Any) -> Any:
            """Make the optimiser; the parts that `rates` names learn at their own rate."""
            if self.rates is None or self.optimizer is not None:
                return super().create_optimizer(*given)
            self.optimizer = rated_optimizer(self.model, self.args, self.rates)
            return self.optimizer

    return StageTrainer


def rated_optimizer(model: Any, args: Any, rates: dict[str, float]) -> torch.optim.Optimizer:
    """Return AdamW in which parts of a model learn at their own rate.

    Args:
        model: What is trained.
        args: The trainer's arguments.
        rates: Learning rate by part of a weight's name; what has none learns at that of the arguments.
    """
    import torch

    groups: dict[float, list[Any]] = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            rate = next((rate for part, rate in rates.items() if part in name), args.learning_rate)
            groups.setdefault(rate, []).append(weight)
    return torch.optim.AdamW(
        [{"params": weights, "lr": rate} for rate, weights in groups.items()], lr=args.learning_rate, eps=args.adam_epsilon,
        betas=(args.adam_beta1, args.adam_beta2), weight_decay=args.weight_decay,
    )  # fmt: skip


@dataclass
class Pace(TrainerCallback):  # type: ignore[misc]
    """Saves when time has passed, stops when asked to, keeps the newest whole checkpoint and the log.

    Args:
        folder: Where checkpoints lie.
        identity: Digest of everything the run depends on.
        seconds: A checkpoint is written when so much time has passed.
        wishes: What was asked for by signals.
        world: The processes.
        spent: Seconds of earlier sessions.
        stopped: What made it stop before its end.
    """

    folder: Path
    identity: str
    seconds: float
    wishes: Wishes
    world: World
    spent: float = 0.0
    stopped: Wishes = field(default_factory=Wishes)

    def __post_init__(self) -> None:
        self.begun = self.saved = time.perf_counter()
        self.bar: Any = None

    @property
    def total(self) -> float:
        """Seconds spent in all sessions."""
        return self.spent + time.perf_counter() - self.begun

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Show how far it is."""
        hidden = {} if self.world.main else {"disable": True}
        self.bar = progress_bar(state.max_steps, "train", "step", initial=state.global_step, **hidden)

    def close(self) -> None:
        """Take the bar away, whatever ended the training."""
        if self.bar is not None:
            self.bar.close()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **given: Any) -> None:
        """Show the loss."""
        if logs and "loss" in logs:
            self.bar.set_postfix(loss=f"{float(logs['loss']):.3f}")

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Save or stop, all processes at the same step."""
        self.bar.update()
        due = time.perf_counter() - self.saved > self.seconds
        term, interrupt, save = self.world.total(self.wishes.term, self.wishes.interrupt, due and self.world.main)
        asked = Wishes(term > 0, interrupt > 0)
        last = state.global_step >= state.max_steps
        if asked and not last:
            self.stopped = asked
            control.should_save = control.should_training_stop = True
        elif save:
            control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Mark the checkpoint as whole; drop the earlier ones and write the log."""
        self.saved = time.perf_counter()
        self.world.wait()  # the others may still write their part
        if not self.world.main:
            return
        place = self.folder / f"checkpoint-{state.global_step}"
        write_json(place / MARK, {"identity": self.identity, "step": state.global_step, "seconds": self.total})
        for other in self.folder.glob("checkpoint-*"):
            if other != place:
                shutil.rmtree(other)
        write_log(self.folder.parent, state)


def write_log(folder: Path, state: Any) -> None:
    """Write what the trainer noted, a line an entry: the checkpoint holds it, so a killed run neither repeats nor lacks one."""
    write_text(folder / LOG, "".join(json.dumps(entry) + "\n" for entry in state.log_history))


def newest(folder: Path, identity: str) -> tuple[Path, dict[str, Any]] | None:
    """Return the newest whole checkpoint of a run and its mark, or None.

    Raises:
        UserError: It is another run's.
    """
    marks = sorted(folder.glob(f"checkpoint-*/{MARK}"), key=lambda path: int(path.parent.name.rpartition("-")[2]))
    if not marks:
        return None
    note = read_json(marks[-1])
    if note["identity"] != identity:
        raise UserError(f"{folder.parent} holds an unfinished run with other settings.", "Choose another --out, or delete it.")
    return marks[-1].parent, note
