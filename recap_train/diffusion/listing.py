"""The recipes of diffusion transformers and auto-encoders, for `recap-train list`."""

from __future__ import annotations

from typing import Any

from recap_train.diffusion.dry_run import size_of
from recap_train.diffusion.recipe import AUTOENCODERS, TRANSFORMERS, load_image_recipe, names_of


def describe_networks() -> list[dict[str, Any]]:
    """Return each recipe's size and one line."""
    return [_describe(name, family) for family in (TRANSFORMERS, AUTOENCODERS) for name in names_of(family)]


def _describe(name: str, family: str) -> dict[str, Any]:
    recipe = load_image_recipe(name, family)
    sizes = dict(zip(("parameters", "flops"), size_of(recipe), strict=True)) if family == TRANSFORMERS else {}
    command = "dit" if family == TRANSFORMERS else "vae"
    return {"name": name, "command": command, "summary": recipe.summary, "image_size": recipe.image_size} | sizes


def render_networks(rows: list[dict[str, Any]]) -> str:
    """Return the recipes as a table for a terminal."""
    width = max(len(row["name"]) for row in rows)
    lines = [f"{'recipe':<{width}}  command   px  params M  GFLOPs forward"]
    for row in rows:
        numbers = f"{row['parameters'] / 1e6:8.1f}  {row['flops'] / 1e9:14.1f}" if "flops" in row else f"{'':8}  {'':14}"
        lines.append(f"{row['name']:<{width}}  {row['command']:<7}  {row['image_size']:>3}  {numbers}  {row['summary']}")
    lines.append("Diffusion transformers with 77 text tokens of 768 numbers, encoders not counted: docs/diffusion.md")
    return "\n".join(lines)
