"""A stage of LLaVA-1.5's training, on TRL's trainer: projector, instruct, hq-edit; weights out as a folder of transformers."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recap_eval.artifact import Artifact, find_artifact, verify, write_artifact
from recap_eval.console import note
from recap_eval.errors import UserError
from recap_eval.files import digest_json
from recap_eval.provenance import run_record
from recap_eval.signals import Stopped, stop_signals
from recap_train.captioner.collate import CHAT, Collate, check_template
from recap_train.captioner.opening import PARTS, Opened
from recap_train.captioner.order import order_of
from recap_train.captioner.recipe import CaptionerRecipe
from recap_train.captioner.rows import Marks, Rows
from recap_train.captioner.saving import quietly, save_llava
from recap_train.engine import Engine
from recap_train.parallel import World, joined

TRAINING = "training"  # folder of checkpoints
LOG_STEPS = 10
LORA_TARGETS = r".*language_model\.layers\..*\.(q|k|v|o|gate|up|down)_proj"


@dataclass(frozen=True)
class Stage:
    """A stage to be trained.

    Args:
        recipe: The recipe.
        name: The stage.
        settings: Its constants, as changed by the user.
        samples_seen: Rows to see in all; rounded down to whole batches.
        seed: Of a new projector, of the order, of dropout.
        out: The artifact's folder.
        called: What tables call it.
        lora: Train the language model by LoRA.
        precision: "fp32" or "bf16" (autocast over weights in fp32).
        workers: Processes that prepare batches.
        engine: How the machine trains.
    """

    recipe: CaptionerRecipe
    name: str
    settings: dict[str, Any]
    samples_seen: int
    seed: int
    out: Path
    called: str
    lora: bool = False
    precision: str = "fp32"
    workers: int = 0
    engine: Engine = field(default_factory=Engine)

    @property
    def steps(self) -> int:
        """Steps to take.

        Raises:
            UserError: Fewer rows than one batch.
        """
        steps = self.samples_seen // int(self.settings["batch_size"])
        if steps < 1:
            raise UserError(
                f"{self.samples_seen} rows are less than one batch of {self.settings['batch_size']}.",
                "Show more, or take smaller batches: --samples-seen, --batch-size",
            )
        return steps

    def share(self, world: World) -> tuple[int, int]:
        """Return how many rows a device takes at a time, and how often before a step.

        Raises:
            UserError: The batch cannot be cut so.
        """
        batch = int(self.settings["batch_size"])
        micro = self.engine.micro_batch or max(1, batch // world.size)
        if batch % (micro * world.size):
            raise UserError(
                f"A batch of {batch} is not made of {micro} rows on each of {world.size} devices.",
                "Choose another: --micro-batch",
            )
        return micro, batch // (micro * world.size)


def identity_of(stage: Stage, rows: Rows, opened: Opened, revision: dict[str, str]) -> str:
    """Return the digest of everything the trained weights depend on."""
    said = [
        stage.recipe.model_cfg["prompt"],
        stage.settings,
        stage.name,
        stage.steps,
        stage.seed,
        stage.lora,
        stage.precision,
        rows.fingerprint,
    ]
    return digest_json([*said, revision, opened.processor.chat_template])


def train(stage: Stage, rows: Rows, opened: Opened, revision: dict[str, str]) -> tuple[Artifact, bool]:
    """Train a stage, or go on, or find the finished artifact. Under torchrun, with the other processes.

    Args:
        stage: The stage.
        rows: What it is shown.
        opened: What it starts from; it is changed.
        revision: Digests of what it starts from, by part.

    Returns:
        The artifact, and whether it was there already.

    Raises:
        UserError, DataError: See the parts.
        Stopped: A signal stopped it; the same command goes on.
    """
    with joined(stage.engine.device, stage.engine.parallel) as world:
        identity = identity_of(stage, rows, opened, revision)
        known = _finished(stage.out, identity)
        world.wait()
        if known is not None:
            return known, True
        if stage.settings["form"] == CHAT:
            check_template(opened.processor)
        if world.main:
            stage.out.mkdir(parents=True, exist_ok=True)
            _show(stage, rows)
        with stop_signals(world.size > 1) as wishes:
            trainer, pace = _trainer(stage, rows, opened, identity, world, wishes)
            _run(stage, trainer, pace)
        made = _made(stage, rows, opened, identity, revision, trainer)
        return _finish(stage, opened, trainer, pace, made), False


def _finished(out: Path, identity: str) -> Artifact | None:
    artifact = find_artifact(out)
    if artifact is None:
        strange = [path.name for path in out.iterdir() if path.name not in (TRAINING, "log.jsonl")] if out.exists() else []
        if strange and not (out / TRAINING).exists():
            raise UserError(f"{out} holds other files ({strange[0]}).", "Choose a new or an empty folder for --out.")
        return None
    if artifact.made.get("identity") != identity:
        raise UserError(f"{out} holds {artifact.name!r}, made otherwise.", "Choose another --out, or delete that folder.")
    verify(out, artifact)
    return artifact


def _show(stage: Stage, rows: Rows) -> None:
    """Print the first rows, so that a wrong file is seen before anything is spent."""
    note(f"{len(rows):,} rows, {stage.name}: {stage.steps:,} steps of {stage.settings['batch_size']}")
    for number in range(min(3, len(rows))):
        row = rows[number]
        told = " | ".join(f"{role}: {text[:60]!r}" for role, text in row.turns[:2])
        note(f"  {row.name}: {len(row.pictures)} images, {told}")


def _trainer(stage: Stage, rows: Rows, opened: Opened, identity: str, world: World, wishes: Any) -> tuple[Any, Any]:
    """Return the trainer and what paces it."""
    from datasets import Dataset
    from transformers import PrinterCallback

    from recap_train.captioner.trainer import Pace, stage_trainer

    settings, tokenizer = stage.settings, opened.processor.tokenizer
    freeze(opened.model, ["projector"] if stage.lora else settings["trains"])  # LoRA leaves the language model as it is
    if stage.precision == "bf16" and opened.dtype == "bfloat16":
        halve(opened.model)
    marks = Marks(tuple({*tokenizer.all_special_tokens, *(str(one) for one in tokenizer.added_tokens_decoder.values())}))
    like = (rows.lengths(), rows.shown()) if settings["group"] else None
    order = order_of(len(rows), stage.steps * settings["batch_size"], settings["batch_size"], stage.seed, like)
    data = Dataset.from_dict({"row": order, "images": [[]] * len(order)})
    trainer = stage_trainer()(
        opened.model, args=_arguments(stage, world), train_dataset=data, processing_class=opened.processor,
        data_collator=Collate(rows, opened.processor, settings["form"], settings["max_length"], marks),
        peft_config=_lora(settings) if stage.lora else None,
    )  # fmt: skip
    if stage.lora:
        trainer.rates = {"multi_modal_projector": settings["lora"].get("projector_lr", settings["lr"])}
    pace = Pace(stage.out / TRAINING, identity, stage.engine.save_seconds, wishes, world)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(pace)
    return trainer, pace


def freeze(model: Any, trains: list[str]) -> None:
    """Let a model's named parts be trained, and nothing else; the language model's head is part of it.

    Args:
        model: transformers' LLaVA.
        trains: Names of `PARTS`.
    """
    model.requires_grad_(False)
    for part in [*trains, *(["head"] if "language_model" in trains else [])]:
        model.get_submodule(PARTS[part]).requires_grad_(True)


def halve(model: Any) -> None:
    """Hold what is not trained in bf16, in which it came: half the memory, and nothing is rounded."""
    import torch

    for weight in model.parameters():
        if not weight.requires_grad:
            weight.data = weight.data.to(torch.bfloat16)


def _lora(settings: dict[str, Any]) -> Any:
    from peft import LoraConfig

    lora = settings["lora"]
    return LoraConfig(
        r=lora["rank"], lora_alpha=lora["alpha"], lora_dropout=lora["dropout"], target_modules=LORA_TARGETS,
        modules_to_save=["multi_modal_projector"], task_type="CAUSAL_LM",
    )  # fmt: skip


def _arguments(stage: Stage, world: World) -> Any:
    """Return TRL's arguments; what is not said here is off or has no effect."""
    import math

    from trl import SFTConfig

    settings, engine = stage.settings, stage.engine
    micro, times = stage.share(world)
    rate = settings["lora"]["lr"] if stage.lora else settings["lr"]
    return SFTConfig(
        str(stage.out / TRAINING), max_steps=stage.steps, per_device_train_batch_size=micro, gradient_accumulation_steps=times,
        learning_rate=rate, lr_scheduler_type=settings["lr_schedule"], warmup_steps=math.ceil(settings["warmup"] * stage.steps),
        weight_decay=settings["weight_decay"], adam_beta1=settings["betas"][0], adam_beta2=settings["betas"][1],
        adam_epsilon=settings["eps"], max_grad_norm=settings["grad_clip"] or 0.0, bf16=stage.precision == "bf16", fp16=False,
        use_cpu=not world.gpu, seed=stage.seed, data_seed=stage.seed, save_strategy="no", logging_steps=LOG_STEPS,
        report_to="tensorboard" if engine.tensorboard else "none", remove_unused_columns=False, max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True}, activation_checkpointing=engine.grad_checkpointing,
        tf32=engine.tf32 or None, dataloader_num_workers=stage.workers,
        dataloader_drop_last=True, dataloader_pin_memory=world.gpu, optim="adamw_torch",
        disable_tqdm=True, log_level="error",
    )  # fmt: skip


def _run(stage: Stage, trainer: Any, pace: Any) -> None:
    """Train, from the newest whole checkpoint if there is one.

    Raises:
        Stopped: A signal stopped it.
    """
    from recap_train.captioner.trainer import newest

    found = newest(stage.out / TRAINING, pace.identity)
    pace.spent = float(found[1]["seconds"]) if found else 0.0
    with quietly(), contextlib.closing(pace):
        trainer.train(resume_from_checkpoint=str(found[0]) if found else None)
    if pace.stopped:
        raise Stopped(f"stopped at step {trainer.state.global_step} of {stage.steps}", pace.stopped.interrupt)


def _finish(stage: Stage, opened: Opened, trainer: Any, pace: Any, made: dict[str, Any]) -> Artifact:
    """Write the model, then the description that makes the artifact complete; then drop the checkpoints."""
    from recap_train.captioner.trainer import write_log

    if pace.world.main:
        model = trainer.accelerator.unwrap_model(trainer.model)
        model = model.merge_and_unload() if stage.lora else model
        files = save_llava(stage.out, model, opened.processor, opened.dtype)
        record = run_record(pace.total) | {"samples_per_second": round(made["samples_seen"] / pace.total, 2)}
        write_log(stage.out, trainer.state)
        write_artifact(stage.out, "captioner", stage.called, files, made, record)
        shutil.rmtree(stage.out / TRAINING, ignore_errors=True)
    pace.world.wait()
    artifact = find_artifact(stage.out)
    assert artifact is not None
    return artifact


def _made(
    stage: Stage, rows: Rows, opened: Opened, identity: str, revision: dict[str, str], trainer: Any
) -> dict[str, Any]:  # fmt: skip
    config = stage.recipe.model_cfg
    return {
        "recipe": stage.recipe.name,
        "recipe_digest": stage.recipe.digest,
        "stage": stage.name,
        "settings": stage.settings,
        "lora": stage.lora,
        "samples_seen": stage.steps * int(stage.settings["batch_size"]),
        "seed": stage.seed,
        "train_data": rows.fingerprint,
        "data": rows.facts,
        "precision": stage.precision,
        "origin": opened.origin,
        "init": revision,
        "chat_template": opened.template,
        "prompt": config["prompt"],
        "caption_tokens": config["caption_tokens"],
        "unknown": list(stage.recipe.unknown),
        "identity": identity,
        "parameters": sum(weight.numel() for weight in opened.model.parameters()),
    }
