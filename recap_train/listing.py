"""`recap-train list`: the recipes that come with the package."""

from __future__ import annotations

from typing import Any

from recap_train.captioner.recipe import families, load_captioner_recipe, stages_of
from recap_train.estimate import count_parameters, meta_model
from recap_train.recipes import Recipe, load_recipe, recipe_names
from recap_train.stages import Changes, choose_stages, resolve


def describe_recipes() -> list[dict[str, Any]]:
    """Return each recipe's command, stages and one line, and a CLIP's sizes."""
    return [_describe(load_recipe(name)) for name in recipe_names()] + [_captioner(name) for name in families()]


def _captioner(name: str) -> dict[str, Any]:
    recipe = load_captioner_recipe(name)
    return {"name": name, "command": "captioner", "summary": recipe.summary, "stages": stages_of(recipe)}


def _describe(recipe: Recipe) -> dict[str, Any]:
    stages = resolve(recipe, choose_stages(recipe, None), Changes())
    settings = [{"image_size": one.image_size, "samples_seen": one.train.get("samples_seen")} for one in stages]
    sizes = count_parameters(meta_model(stages[-1]))
    return {"name": recipe.name, "command": "clip", "summary": recipe.summary, "parameters": sizes, "stages": settings}


def render_recipes(rows: list[dict[str, Any]]) -> str:
    """Return the recipes as a table for a terminal."""
    width = max(len(row["name"]) for row in rows)
    lines = [f"{'recap-train clip':<{width}}  vision M   text M  stages (px: samples)"]
    for row in (row for row in rows if row["command"] == "clip"):
        sizes = row["parameters"]
        stages = ", ".join(f"{stage['image_size']}: {_many(stage['samples_seen'])}" for stage in row["stages"])
        lines.append(
            f"{row['name']:<{width}}  {sizes['vision'] / 1e6:8.2f} {sizes['text'] / 1e6:8.2f}  {stages:<26}  {row['summary']}"
        )
    lines.append("Also any plain ViT of open_clip's configs (ViT-B-16), and recipe.json files of your own: docs/training.md")
    lines += ["", f"{'recap-train captioner':<{width}}  stages"]
    for row in (row for row in rows if row["command"] == "captioner"):
        lines.append(f"{row['name']:<{width}}  {', '.join(row['stages']):<46}  {row['summary']}")
    return "\n".join(lines)


def _many(number: int | None) -> str:
    if number is None:
        return "--samples-seen"
    for size, unit in ((10**9, "B"), (10**6, "M")):
        if number >= size:
            return f"{number / size:g}{unit}"
    return f"{number:,}"
