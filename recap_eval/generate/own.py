"""A user's own text-to-image model: any class with one method, named MODULE:ATTR or FILE.py:ATTR.

    class Mine:
        revision = "epoch 3"                       # optional; names the weights in results
        def generate(self, prompts, seeds): ...    # N texts and N integers in [0, 2^63) -> N PIL images

ATTR is the class, a function that returns such an object, or the object. Optional: `name`; `settings`, a dictionary of
what else the images depend on; `cuts(prompts)`, a list a prompt of what cut it.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from recap_eval.errors import DataError, UserError
from recap_eval.files import canonical_json, digest_file
from recap_eval.generate.base import Picture, Running, Sampling
from recap_eval.models.own import module_of

METHOD = "generate"


class OwnImageModel:
    """A user's object behind `ImageModel`.

    Args:
        subject: Has the method.
        name: What tables call it.
        source: The file of its code, which names it if it states no revision.
    """

    device = "own"

    def __init__(self, subject: Any, name: str, source: Path) -> None:
        self._subject = subject
        self.name = str(getattr(subject, "name", name))
        stated = getattr(subject, "revision", None)
        self.revision = f"own:{stated}" if stated is not None else f"code:{digest_file(source)}"
        self.identity = {"weights": self.revision, "pipeline": name} | _settings(subject)
        self.about: dict[str, Any] = {"class": name}

    def generate(self, prompts: list[str], seeds: list[int]) -> list[Picture]:
        """Return one image a prompt.

        Raises:
            UserError: The object gave something else.
        """
        from PIL import Image

        found = list(self._subject.generate(list(prompts), list(seeds)))
        if len(found) != len(prompts) or not all(isinstance(image, Image.Image) for image in found):
            kinds = ", ".join(sorted({type(image).__name__ for image in found})) or "nothing"
            raise UserError(
                f"{METHOD} gave {len(found)} of {kinds} for {len(prompts)} prompts.", "It must give a PIL image each."
            )
        return [Picture(image) for image in found]

    def cuts(self, prompts: list[str]) -> list[list[str]]:
        """Return by prompt what cut it, if the object tells."""
        count = getattr(self._subject, "cuts", None)
        return [list(own) for own in count(list(prompts))] if count else [[] for _ in prompts]


def _settings(subject: Any) -> dict[str, Any]:
    settings = getattr(subject, "settings", {})
    try:
        canonical_json(settings)
        return dict(settings)
    except (TypeError, ValueError) as error:
        raise UserError(f"`settings` of {type(subject).__name__} is no dictionary of plain values.", "Use JSON's.") from error


def load(spec: str, sampling: Sampling, running: Running) -> OwnImageModel:
    """Load a user's own model.

    Raises:
        UserError: No such module or attribute, it lacks the method, or an option is its own affair.
        DataError: Its code has no file, and it states no revision.
    """
    if sampling != Sampling() or running != Running(device=running.device):
        raise UserError(f"{spec} samples by itself: options of pipelines do not reach it.", "Put them into its `settings`.")
    where, _, attribute = spec.rpartition(":")
    module = module_of(where, spec)
    if not hasattr(module, attribute):
        raise UserError(f"{where} has no {attribute!r}.", "Name a class, a function or an object: MODULE:ATTR")
    subject = getattr(module, attribute)
    if isinstance(subject, type) or (callable(subject) and not hasattr(subject, METHOD)):
        subject = subject()
    if not callable(getattr(subject, METHOD, None)):
        raise UserError(f"{spec} has no method {METHOD}.", "It needs generate(prompts, seeds): see docs/generation.md")
    source = inspect.getsourcefile(module)
    if source is None:
        raise DataError(f"{spec}: its code is in no file.", "Give it a `revision` and a file of its own.")
    return OwnImageModel(subject, attribute, Path(source))
