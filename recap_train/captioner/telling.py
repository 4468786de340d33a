"""What a captioner's recipe says: every constant with its source, and what the paper leaves open."""

from __future__ import annotations

import json
from typing import Any

from recap_train.captioner.recipe import WHOLE, CaptionerRecipe
from recap_train.recipes.layers import flat


def facts_of(recipe: CaptionerRecipe, stage: str) -> dict[str, Any]:
    """Return a stage's constants, each with its source, and what is unknown."""
    trees: dict[str, Any] = {"model_cfg": recipe.model_cfg, "preprocess_cfg": recipe.preprocess_cfg}
    trees |= {"train": recipe.train} if stage == WHOLE else {f"stages.{stage}": recipe.stages[stage]}
    said = {}
    for head, tree in trees.items():
        for place, value in flat(tree).items():
            name = ".".join(place)
            said[name] = {"value": value, "source": recipe.sources.get(f"{head}.{name}", "")}
    facts: dict[str, Any] = {"recipe": recipe.name, "stage": stage, "constants": said, "unknown": list(recipe.unknown)}
    settings = recipe.stages.get(stage, {})
    if "rows" in settings:
        facts["steps"] = settings["rows"] * settings["epochs"] // settings["batch_size"]
    return facts


def told(recipe: CaptionerRecipe, stage: str, as_json: bool) -> str:
    """Return the facts as text, or as JSON."""
    facts = facts_of(recipe, stage)
    if as_json:
        return json.dumps(facts)
    width = max(len(name) for name in facts["constants"])
    lines = [f"{recipe.name}, stage {stage}: {recipe.summary}", ""]
    lines += [f"{name:<{width}}  {one['value']!s:<40}  {one['source']}" for name, one in facts["constants"].items()]
    if "steps" in facts:
        lines += ["", f"One epoch of the paper's rows: {facts['steps']:,} steps."]
    if facts["unknown"]:
        lines += ["", "What the paper leaves open, and what is taken:", *(f"- {one}" for one in facts["unknown"])]
    return "\n".join(lines)
