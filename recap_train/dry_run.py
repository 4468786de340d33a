"""`recap-train clip --dry-run`: everything about a run before anything is spent. Nothing is written, nothing is trained."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap_train.captions import Captions
from recap_train.estimate import Assumptions, activation_bytes, count_flops, count_parameters, duration, memory, meta_model
from recap_train.mixing import Choices, Mix, MixCount
from recap_train.recipes import UNSTATED, Recipe

if TYPE_CHECKING:
    from recap_train.run import Run
    from recap_train.schedule import Schedule

FIRST = 4  # samples shown
FIXED = (  # of this trainer and in no recipe
    ("optimizer", "AdamW", "paper"),
    ("learning rate after its rise", "cosine to 0", "CLIPA"),
    ("learning rate of step n of its rise", "peak x (n + 1) / steps of the rise", UNSTATED),
    ("loss", "softmax over the global batch, both directions", "paper"),
    ("largest logit scale", 100, UNSTATED),
    ("weights without decay", "gains, biases, class token, logit scale", "CLIPA"),
)


def schedule_facts(schedule: Schedule) -> dict[str, Any]:
    """Return steps and learning rate at key steps, and a curve of 60 points."""
    last, rise = schedule.steps - 1, schedule.rise
    keys = {0: "first", max(0, rise - 1): "end of the rise", schedule.steps // 4: "a quarter"}
    keys |= {schedule.steps // 2: "half", 3 * schedule.steps // 4: "three quarters", last: "last"}
    values = [{"step": step, "what": what, "lr": schedule.lr_at(step)} for step, what in sorted(keys.items())]
    points = [schedule.lr_at(round(number * last / 59)) for number in range(60)]
    return {"steps": schedule.steps, "warmup_steps": rise, "key_steps": values, "curve": points}


def stage_facts(run: Run, assumed: Assumptions) -> dict[str, Any]:
    """Return all that can be said of one stage without its data."""
    recipe, schedule = run.recipe, run.schedule()
    model = meta_model(recipe)
    parameters, flops = count_parameters(model), count_flops(model)
    kept = activation_bytes(recipe, assumed.precision)
    seen = schedule.steps * schedule.batch_size
    return {
        "stage": recipe.stage,
        "out": str(run.out),
        "constants": constants(recipe),
        "samples_seen": seen,
        "samples_left_over": run.samples_seen - seen,
        "schedule": schedule_facts(schedule),
        "parameters": parameters,
        "flops": flops,
        "memory": memory(parameters, kept, schedule.batch_size, assumed),
        "duration": duration(flops, seen, assumed),
    }


def constants(recipe: Recipe) -> list[dict[str, Any]]:
    """Return each constant of a recipe with its source, and whether the user's options changed it."""
    rows = []
    for name, value in recipe.constants().items():
        source = recipe.sources.get(name, "")
        rows.append({"name": name, "value": value, "source": source, "changed": source.startswith("changed")})
    return rows


def data_facts(run: Run) -> dict[str, Any]:
    """Return what the data holds, and the first samples with the captions that are drawn in two epochs."""
    from recap_train.training_data import plan_of, read_training_data, some_captions

    data = read_training_data(run)
    plan = plan_of(run, data)
    seen = plan.visit(0, min(FIRST, len(data)))
    drawn = [run.mix.draw(seen.keys, epoch, run.seed) for epoch in (0, 1)]
    shown = []
    for row, index in enumerate(seen.index.tolist()):
        captions = data.captions_at(index)
        epochs = [_shown(captions, choices.take([row]), run.mix) for choices in drawn]
        shown.append({"key": data.name(index), "epochs": epochs})
    looked_at = list(some_captions(data))
    empty = {"original": sum(not one.original.strip() for one in looked_at) / len(looked_at)}
    empty |= {"recaption": sum(not any(text.strip() for text in one.recaptions) for one in looked_at) / len(looked_at)}
    sizes = data.sizes()
    return {
        "folder": str(run.data), "shards": None if sizes is None else len(sizes), "samples": len(data), "empty": empty,
        "fingerprint": data.fingerprint, "first": shown,
    }  # fmt: skip


def _shown(captions: Captions, choices: Choices, mix: Mix) -> dict[str, str]:
    count = MixCount()
    (text,) = mix.show([captions], choices, count)
    kinds = {"original": count.original, "recaption": count.recaption, "both": count.concatenated, "dropped": count.dropped}
    return {"kind": next((kind for kind, number in kinds.items() if number), "empty"), "caption": text}


def collect(runs: list[Run], assumed: Assumptions, data: Path | str | None) -> dict[str, Any]:
    """Return everything a dry run says.

    Args:
        runs: One a stage.
        assumed: What time and cost are worked out from.
        data: The data's folder; None if none was named.

    Raises:
        UserError, DataError: What would stop the run itself.
    """
    stages = [stage_facts(run, assumed) for run in runs]
    hours = sum(stage["duration"]["hours"] for stage in stages)
    total = {"hours": hours, "gpu_hours": hours * assumed.gpus}
    total |= {"cost": hours * assumed.gpus * assumed.price} if assumed.price is not None else {}
    return {
        "name": runs[-1].name,
        "p_original": runs[-1].mix.p_original,
        "mix": runs[-1].mix.describe(),
        "seed": runs[-1].seed,
        "fixed": [dict(zip(("name", "value", "source"), row, strict=True)) for row in FIXED],
        "stages": stages,
        "data": data_facts(runs[-1]) if data is not None else None,
        "assumptions": asdict(assumed) | assumed.facts(),
        "total": total,
    }
