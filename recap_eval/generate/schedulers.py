"""Schedulers by name: how a pipeline's noise is taken away, step by step."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from recap_eval.errors import DataError, UserError, unknown_name

FOLDER = "scheduler"
SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {  # name: diffusers' class, and what is set in it
    "ddpm": ("DDPMScheduler", {}),
    "ddim": ("DDIMScheduler", {}),
    "pndm": ("PNDMScheduler", {}),
    "lms": ("LMSDiscreteScheduler", {}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler-a": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "kdpm2": ("KDPM2DiscreteScheduler", {}),
    "kdpm2-a": ("KDPM2AncestralDiscreteScheduler", {}),
    "dpm++": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "solver_order": 2}),
    "dpm++-sde": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++", "solver_order": 2}),
    "dpm++-karras": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "use_karras_sigmas": True}),
    "deis": ("DEISMultistepScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "flow-euler": ("FlowMatchEulerDiscreteScheduler", {}),
    "flow-heun": ("FlowMatchHeunDiscreteScheduler", {}),
}
CLIP = "clip_sample"
FLOWS = ("FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler")
VELOCITY = ("dpm++", "dpm++-sde", "unipc", "deis")  # that also sample where a solver's own configuration says "flow_prediction"


def make_scheduler(folder: Path, own: str, name: str | None) -> Any:
    """Return a scheduler with the configuration of a pipeline's own.

    Args:
        folder: The pipeline's folder.
        own: The class of its own scheduler.
        name: A name of `SCHEDULERS`, or None for its own.

    Raises:
        UserError: An unknown name, or a scheduler of another family than the pipeline was trained with.
        DataError: The pipeline's own configuration is damaged.
    """
    import diffusers

    mine = getattr(diffusers, own, None)
    if mine is None:
        raise DataError(f"{folder}: this version of diffusers has no {own}.", "Install the version that the model names.")
    try:
        scheduler = mine.from_pretrained(folder, subfolder=FOLDER)
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{folder / FOLDER} cannot be read: {str(error).splitlines()[0]}.", "Get the model again.") from error
    if name is None:
        return scheduler
    if name not in SCHEDULERS:
        raise unknown_name("scheduler", name, SCHEDULERS, ", ".join(SCHEDULERS))
    if scheduler.config.get("prediction_type") == "flow_prediction" and name not in VELOCITY:
        raise UserError(f"Scheduler {name} does not sample from a flow.", f"These do: {', '.join(VELOCITY)}.")
    wanted, settings = SCHEDULERS[name]
    fits = {own, *(kind.__name__ for kind in scheduler.compatibles), *(FLOWS if own in FLOWS else ())}
    if wanted not in fits:
        can = ", ".join(known for known, (kind, _) in SCHEDULERS.items() if kind in fits)
        raise UserError(f"Scheduler {name} does not fit this pipeline, which has {own}.", f"These do: {can}.")
    kind = getattr(diffusers, wanted)
    return kind.from_config(scheduler.config, **_unclipped(kind, scheduler.config), **settings)


def _unclipped(kind: Any, own: Any) -> dict[str, bool]:
    """Return that a scheduler is not to hold values within 1, where the pipeline's own configuration leaves that open.

    DDPM and DDIM do so by default, which suits pixels; latents go beyond.
    """
    return {CLIP: False} if CLIP in inspect.signature(kind.__init__).parameters and CLIP not in own else {}


def config_of(scheduler: Any) -> dict[str, Any]:
    """Return a scheduler's class and configuration as JSON."""
    from recap_eval.files import canonical_json

    def plain(value: object) -> object:
        try:
            canonical_json(value)
        except (TypeError, ValueError):
            return str(value)
        return value

    hidden = ("_class_name", "_diffusers_version", "_use_default_values")
    settings = {name: plain(value) for name, value in sorted(scheduler.config.items()) if name not in hidden}
    return {"class": type(scheduler).__name__} | settings
