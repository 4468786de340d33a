"""Recipes made of shared parts, where every constant stands under the name of its source.

A family file holds `parts`; a part groups its constants by source ("paper", "CLIPA", …), and a recipe names the parts it is
laid together from, later ones over earlier ones. So nothing is written twice, and no constant can lack a source.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from recap_eval.errors import UserError, unknown_name

SOURCES = ("paper", "CLIPA", "DiT", "PixArt", "LLaVA-1.5", "default (unstated)", "scaled down")
SECTIONS = ("model_cfg", "preprocess_cfg", "tokenizer", "train", "stages")


def lay(parts: list[dict[str, Any]], path: Path, sections: tuple[str, ...] = SECTIONS) -> tuple[dict[str, Any], dict[str, str]]:
    """Lay parts over each other.

    Args:
        parts: Constants by source, later parts over earlier ones.
        path: The file they stand in, for messages.
        sections: What they may be about.

    Returns:
        The constants as one tree, and each one's source by its dotted path.

    Raises:
        UserError: A source or a section that is not known.
    """
    tree: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for part in parts:
        for source, constants in part.items():
            if source not in SOURCES:
                raise unknown_name(f"source in {path}", source, SOURCES, ", ".join(SOURCES))
            if strange := sorted(set(constants) - set(sections)):
                raise unknown_name(f"section in {path}", strange[0], sections, ", ".join(sections))
            for place, value in flat(constants).items():
                _put(tree, place, copy.deepcopy(value))
                sources[".".join(place)] = source
    return tree, sources


def flat(tree: dict[str, Any], above: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Return a tree's leaves by their place, in order; lists are leaves."""
    leaves: dict[tuple[str, ...], Any] = {}
    for key, value in tree.items():
        leaves |= flat(value, (*above, key)) if isinstance(value, dict) and value else {(*above, key): value}
    return leaves


def _put(tree: dict[str, Any], place: tuple[str, ...], value: object) -> None:
    for key in place[:-1]:
        tree = tree.setdefault(key, {})
    tree[place[-1]] = value


def parts_of(family: dict[str, Any], name: str, path: Path) -> list[dict[str, Any]]:
    """Return the parts that a recipe of a family is made of.

    Raises:
        UserError: It names a part that the family has not.
    """
    found = []
    for part in family["recipes"][name]["parts"]:
        if part not in family["parts"]:
            raise UserError(
                f"{path}: {name} is made of {part!r}, which is none of its parts.", "Add the part, or name another."
            )
        found.append(family["parts"][part])
    return found
