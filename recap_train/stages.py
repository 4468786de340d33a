"""From a recipe and what the user changes in it to the runs that are made, one a stage."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from recap_eval.errors import UserError, unknown_name
from recap_train.recipes import Recipe
from recap_train.start import Start

if TYPE_CHECKING:
    from recap_train.run import Run

ALL = "all"
PER = 256  # base learning rates are per so many samples


@dataclass(frozen=True)
class Changes:
    """What the user sets otherwise than the recipe; None leaves the recipe's.

    Args:
        samples_seen: Samples to see in all.
        batch_size: Samples a step; the learning rate follows by the recipe's rule, unless given.
        lr: Peak learning rate.
        warmup_samples: Samples during which it rises.
    """

    samples_seen: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    warmup_samples: int | None = None


def learning_rate(lr_per_256: float, batch_size: int) -> float:
    """Return the peak rate by CLIPA's rule, base x (batch // 256); below 256 samples, where that is 0, in proportion."""
    return lr_per_256 * (batch_size // PER if batch_size >= PER else batch_size / PER)


def choose_stages(recipe: Recipe, asked: str | None) -> list[str]:
    """Return the stages to run, in order; one unnamed stage where the recipe has no more.

    Raises:
        UserError: The recipe has no such stage, or none at all.
    """
    if not recipe.stages:
        if asked not in (None, ALL):
            raise UserError(f"{recipe.name} has one stage only, not a stage {asked!r}.", "Leave out --stage.")
        return [""]
    if asked in (None, ALL):
        return list(recipe.stages)
    if asked not in recipe.stages:
        raise unknown_name(f"stage of {recipe.name}", str(asked), [*recipe.stages, ALL], ", ".join([*recipe.stages, ALL]))
    return [str(asked)]


def resolve(recipe: Recipe, stages: list[str], changes: Changes) -> list[Recipe]:
    """Return a recipe of one stage for each of `stages`, changes made; their sources say what was changed.

    Samples to see are shared among the stages as in the recipe.

    Raises:
        UserError: A change that cannot be meant for several stages at once.
    """
    if len(stages) > 1 and (changes.lr is not None or changes.warmup_samples is not None):
        option = "--lr" if changes.lr is not None else "--warmup-samples"
        raise UserError(f"{option} is of one stage, and this runs {len(stages)}.", "Name one: --stage 1, then --stage 2.")
    whole = sum(recipe.stages[stage]["samples_seen"] for stage in stages if stage)
    resolved = []
    for stage in stages:
        one = _at(recipe, stage) if stage else recipe
        share = one.train["samples_seen"] / whole if whole and changes.samples_seen else 1.0
        seen = None if changes.samples_seen is None else round(changes.samples_seen * share)
        resolved.append(_changed(one, replace(changes, samples_seen=seen)))
    return resolved


def _at(recipe: Recipe, stage: str) -> Recipe:
    """Return what a recipe is at one of its stages: a recipe without stages."""
    settings = dict(recipe.stages[stage])
    config, place = copy.deepcopy(recipe.model_cfg), f"stages.{stage}."
    config["vision_cfg"]["image_size"] = settings.pop("image_size")
    train = recipe.train | settings | {"lr": learning_rate(settings["lr_per_256"], settings["batch_size"])}
    sources = {key: source for key, source in recipe.sources.items() if not key.startswith("stages.")}
    sources |= {f"train.{key}": recipe.sources[place + key] for key in settings}
    sources |= {"model_cfg.vision_cfg.image_size": recipe.sources[f"{place}image_size"]}
    sources |= {"train.lr": _rule(settings["lr_per_256"], settings["batch_size"])}
    name = recipe.name if stage == list(recipe.stages)[-1] else f"{recipe.name}-stage{stage}"
    return replace(recipe, name=name, model_cfg=config, train=train, sources=sources, stages={}, stage=stage)


def _rule(base: float, batch_size: int) -> str:
    return f"CLIPA's rule: {base:g} x ({batch_size} // {PER})" if batch_size >= PER else f"{base:g} x {batch_size} / {PER}"


def _changed(recipe: Recipe, changes: Changes) -> Recipe:
    """Return the recipe with the changes made; each changed constant's source says what the recipe has."""
    train, sources = dict(recipe.train), dict(recipe.sources)

    def put(key: str, value: Any, why: str = "changed") -> None:
        if value is not None and value != train.get(key):
            there = f"; the recipe has {train[key]:g}" if key in train else ""
            train[key], sources[f"train.{key}"] = value, f"{why}{there}"

    if changes.samples_seen and "warmup_samples" in train:
        follows = round(train["warmup_samples"] * changes.samples_seen / train["samples_seen"])
        put("warmup_samples", follows, "changed with the samples, the same share")
    put("lr", _followed(train, changes.batch_size), "changed with the batch, by the rule")
    if recipe.stage:
        put("samples_seen", changes.samples_seen)
    put("batch_size", changes.batch_size)
    put("lr", changes.lr)
    put("warmup_samples", changes.warmup_samples)
    return replace(recipe, train=train, sources=sources)


def _followed(train: dict[str, Any], batch_size: int | None) -> float | None:
    if batch_size is None or batch_size == train["batch_size"]:
        return None
    if "lr_per_256" in train:
        return learning_rate(train["lr_per_256"], batch_size)
    return float(train["lr"] * batch_size / train["batch_size"])


def changed_constants(recipe: Recipe) -> list[str]:
    """Return a sentence for each constant that the user's options changed."""
    constants = recipe.constants()
    marked = {key: source for key, source in recipe.sources.items() if source.startswith("changed") and key in constants}
    values = {key: constants[key] if isinstance(constants[key], str) else f"{constants[key]:g}" for key in marked}
    return [f"{key.rpartition('.')[2]} is {values[key]} ({source})" for key, source in marked.items()]


def samples_of(recipe: Recipe, asked: int | None) -> int:
    """Return how many samples a run of a resolved recipe sees.

    Raises:
        UserError: Neither the recipe nor the user says it.
    """
    seen = recipe.train.get("samples_seen") if recipe.stage else asked
    if seen is None:
        raise UserError(f"{recipe.name} does not say how many samples to see.", "Say it: --samples-seen N")
    return int(seen)


def places(runs: list[Run]) -> list[Run]:
    """Return the runs of a recipe's stages, each in its own folder: OUT for the last, OUT/stageN for those before."""
    return [replace(run, out=run.out / f"stage{run.recipe.stage}") for run in runs[:-1]] + runs[-1:]


def chain(runs: list[Run]) -> Run:
    """Link the runs of a recipe's stages: each starts from the one before.

    Returns:
        The last run; training it trains what it starts from, where that is not done.
    """
    first, *later = places(runs)
    for run in later:
        first = replace(run, start=Start(before=first, tokenizer=run.start.tokenizer))
    return first
