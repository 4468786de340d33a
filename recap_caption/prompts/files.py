"""Prompts as TOML files: the shipped ones, and a user's own in the same form, which docs/engines.md shows."""

from __future__ import annotations

import re
import tomllib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from recap_caption.prompts import FIELDS, HEAD, Prompt, Sampling
from recap_eval.errors import DataError, UserError, nearest, unknown_name

FOLDER = Path(__file__).parent
DEFAULT = "paper"
HINT = "docs/engines.md shows what a prompt's file may say."
PLACEHOLDER = re.compile(r"\{(\w+)\}")
MOST_TOKENS, MOST_SAMPLES = 8192, 100
KINDS: dict[str, type | tuple[type, ...]] = {
    "about": str, "source": str, "text": str, "without": str, "system": str, "sees_image": bool, "samples": int,
    "sampling": dict,
}  # fmt: skip
SAMPLING_KINDS: dict[str, type | tuple[type, ...]] = {
    "max_new_tokens": int, "temperature": (int, float), "top_k": int, "top_p": (int, float),
}  # fmt: skip
WITHIN = {  # what a number may be, both ends included
    "max_new_tokens": (1, MOST_TOKENS), "temperature": (0, 2), "top_k": (1, 1_000_000), "top_p": (1e-6, 1),
    "samples": (1, MOST_SAMPLES),
}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """A prompt and what its file says of it.

    Args:
        prompt: The prompt.
        stem: Its file's name without ending; what its id begins with.
        about: What it is for.
        source: Where its wording is from.
    """

    prompt: Prompt
    stem: str
    about: str = ""
    source: str = ""


def shipped() -> list[str]:
    """Return the names of the prompts that come with the package, the default first."""
    return sorted((path.stem for path in FOLDER.glob("*.toml")), key=lambda name: (name != DEFAULT, name))


def find_prompt(word: str) -> Entry:
    """Return a prompt by name, or from a file.

    Raises:
        UserError: Neither.
        DataError: The file is not a prompt; the message says why.
    """
    if word in shipped():
        return read_prompt(FOLDER / f"{word}.toml", word)
    path = Path(word).expanduser()
    if not path.is_file():
        raise unknown_name("prompt", word, shipped(), f"{', '.join(shipped())}, or a file FILE.toml")
    return read_prompt(path)


def read_prompt(path: Path, id: str | None = None) -> Entry:
    """Read a prompt's file.

    Args:
        path: The file.
        id: The prompt's id; None for the file's stem and the head of the prompt's digest.

    Raises:
        DataError: It is no TOML, lacks the text, holds unknown names or placeholders, or a value of the wrong kind.
        UserError: What it says makes no sense.
    """
    try:
        facts = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"{path} is no readable TOML ({error}).", HINT) from error
    _check(path, facts, KINDS)
    sampling = facts.get("sampling", {})
    _check(path, sampling, SAMPLING_KINDS)
    _check_texts(path, facts)
    prompt = Prompt(
        id or path.stem, facts["text"].strip("\n"), facts.get("system"), facts.get("sees_image", True),
        Sampling(**sampling), facts.get("samples", 1), facts.get("without"),
    )  # fmt: skip
    checked(prompt, str(path))
    prompt = prompt if id else named(prompt, path.stem)
    return Entry(prompt, path.stem, facts.get("about", ""), facts.get("source", ""))


def named(prompt: Prompt, stem: str) -> Prompt:
    """Return a prompt under an id of its own, which holds the head of its digest."""
    return replace(prompt, id=f"{stem}-{prompt.digest[:HEAD]}")


def checked(prompt: Prompt, where: str) -> None:
    """Check that a prompt can be asked.

    Args:
        prompt: The prompt.
        where: Who says so, for messages.

    Raises:
        UserError: A number is out of its bounds, the prompt shows nothing of the sample, or greedy decoding is to be sampled.
    """
    sampling = prompt.sampling
    for name, value in {**asdict(sampling), "samples": prompt.samples}.items():
        low, high = WITHIN[name]
        if value is not None and not low <= value <= high:
            raise UserError(f"{where} says {name} = {value!r}.", f"It must lie between {low:g} and {high:g}.")
    if not prompt.sees_image and not prompt.fields:
        raise UserError(f"{where} shows neither the image nor a text.", "Set sees_image = true, or fill in {org_caption}.")
    if sampling.is_greedy and (prompt.samples > 1 or sampling.top_k or sampling.top_p):
        raise UserError(
            f"{where} decodes greedily, and wants several captions, or top_k or top_p.", "Say a temperature, such as 1.0."
        )


def _check(path: Path, facts: dict[str, Any], kinds: dict[str, type | tuple[type, ...]]) -> None:
    for name, value in facts.items():
        if name not in kinds:
            guess = nearest(name, kinds)
            hint = f"Did you mean {guess!r}?" if guess else f"Known are {', '.join(kinds)}."
            raise DataError(f"{path} says {name!r}, which no prompt has.", hint)
        if not isinstance(value, kinds[name]) or (isinstance(value, bool) and kinds[name] is not bool):
            raise DataError(
                f"{path} says {name} = {value!r}, which is of the wrong kind.", "See docs/engines.md for an example."
            )


def _check_texts(path: Path, facts: dict[str, Any]) -> None:
    if not facts.get("text", "").strip():
        raise DataError(f"{path} holds no text.", 'Begin with: text = "Describe this image."')
    allowed = {"text": FIELDS, "without": (), "system": ()}
    for name, fields in allowed.items():
        for found in PLACEHOLDER.findall(facts.get(name, "")):
            if found not in fields:
                known = " and ".join(f"{{{field}}}" for field in FIELDS)
                raise DataError(
                    f"{path} asks for {{{found}}} in its {name}.", f"Only {known} can be filled in, and only into text."
                )
