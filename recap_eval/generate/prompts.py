"""Prompts with their ids: what images are made for, and what a folder of images is scored against."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from recap_eval.errors import DataError
from recap_eval.files import digest_json


@dataclass(frozen=True)
class Prompt:
    """One prompt.

    Args:
        id: Its id, unique in its set; seeds are drawn for it, and images are paired by it.
        text: What the model is asked for, stripped of surrounding whitespace and otherwise as it stands.
        reference: Id of the real image that it describes, or "".
        extra: Further fields of its row, kept in the manifest.
    """

    id: str
    text: str
    reference: str = ""
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PromptSet:
    """An ordered set of prompts.

    Args:
        name: What tables call it.
        prompts: The prompts, ids distinct.
        source: Where they come from: file name or data set, columns.
    """

    name: str
    prompts: tuple[Prompt, ...]
    source: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.prompts)

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the ordered ids and texts."""
        return digest_json([[prompt.id, prompt.text] for prompt in self.prompts])

    def first(self, n: int | None) -> PromptSet:
        """Return the set of the first `n` prompts; of all if None."""
        if n is None or n >= len(self):
            return self
        return PromptSet(self.name, self.prompts[:n], self.source | {"first": n})


def text_digest(text: str) -> str:
    """Return the sha256 hex digest of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def make_set(name: str, placed: Sequence[tuple[str, Prompt]], source: dict[str, Any]) -> PromptSet:
    """Return a set of prompts once every one can be asked for.

    Args:
        name: What tables call it.
        placed: (N) where each prompt stands, such as "prompts.csv: line 3", and the prompt.
        source: Where they come from.

    Raises:
        DataError: There is none, an id or a prompt is empty or no valid text, or an id occurs twice; the message says where.
    """
    if not placed:
        raise DataError(f"{name} holds no prompt.", "It needs one prompt at least.")
    seen: dict[str, str] = {}
    for place, prompt in placed:
        _check(place, prompt)
        if prompt.id in seen:
            raise DataError(
                f"{place}: the id {prompt.id!r} occurs twice; first at {seen[prompt.id]}.",
                "Ids must be distinct: seeds are drawn for them. Several images a prompt: --samples",
            )
        seen[prompt.id] = place
    return PromptSet(name, tuple(prompt for _, prompt in placed), source)


def _check(place: str, prompt: Prompt) -> None:
    hint = "Mend that row, or leave it out."
    if not prompt.id:
        raise DataError(f"{place} has an empty id.", hint)
    if not prompt.text:
        raise DataError(f"{place} has an empty prompt.", hint)
    try:
        (prompt.id + prompt.text).encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{place} is no valid text ({error.reason}).", hint) from error
