"""Prompt templates for zero-shot classification, by name or from a file; `{}` stands for the class name."""

from __future__ import annotations

import json
from pathlib import Path

from recap_eval.errors import DataError, unknown_name
from recap_eval.files import digest_json, read_json

SCENES = (
    "{}",
    "a {}",
    "a photo of a {}",
    "a picture of a {}",
    "an image of a {}",
    "there is a {} in the picture",
    "a {} on a background",
)


def _openai_80() -> tuple[str, ...]:
    """The 80 templates of Radford et al. 2021 for ImageNet, as open_clip ships them."""
    from open_clip import OPENAI_IMAGENET_TEMPLATES

    return tuple(template("{}") for template in OPENAI_IMAGENET_TEMPLATES)


def _openai_simple() -> tuple[str, ...]:
    """The 7 templates of OpenAI's prompt-engineering notebook, as open_clip ships them."""
    from open_clip import SIMPLE_IMAGENET_TEMPLATES

    return tuple(template("{}") for template in SIMPLE_IMAGENET_TEMPLATES)


def _clip_benchmark() -> tuple[str, ...]:
    """CLIP_benchmark's English templates for ImageNet, from its package."""
    from importlib.resources import files

    text = (files("clip_benchmark") / "datasets" / "en_zeroshot_classification_templates.json").read_text(encoding="utf-8")
    return tuple(template.replace("{c}", "{}") for template in json.loads(text)["imagenet1k"])


def _class_name() -> tuple[str, ...]:
    return ("{}",)


def _scenes() -> tuple[str, ...]:
    return SCENES


NAMED = {
    "openai-80": _openai_80,
    "openai-simple": _openai_simple,
    "clip-benchmark": _clip_benchmark,
    "class-name": _class_name,
    "scenes-7": _scenes,
}


def load_templates(word: str) -> tuple[str, tuple[str, ...]]:
    """Return what a set of templates is called in results, and its templates.

    Args:
        word: A name in `NAMED`, or a file: a JSON list, or one template a line; `{}` or `{c}` stands for the class.

    Raises:
        UserError: Neither a name nor a file.
        DataError: The file holds no template, or one without its place for the class name.
    """
    if word in NAMED:
        return word, NAMED[word]()
    path = Path(word).expanduser()
    if not path.is_file():
        raise unknown_name("set of templates (nor a file)", word, NAMED, "recap-eval clip --help")
    lines = read_json(path) if path.suffix == ".json" else path.read_text(encoding="utf-8").splitlines()
    found = parse_templates(lines, str(path))
    return f"file:{digest_json(list(found))[:12]}", found


def parse_templates(lines: object, where: str) -> tuple[str, ...]:
    """Return templates with `{}` for the class name.

    Raises:
        DataError: No template, or one without exactly one place for the class name.
    """
    hint = "Write one template a line, such as: a photo of a {}."
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise DataError(f"{where} is not a list of templates.", hint)
    found = tuple(line.strip().replace("{c}", "{}") for line in lines if line.strip())
    for template in found:
        if template.count("{}") != 1 or template.count("{") != 1 or template.count("}") != 1:
            raise DataError(f"{where} has a template without one {{}} for the class name: {template!r}.", hint)
    if not found:
        raise DataError(f"{where} holds no template.", hint)
    return found
