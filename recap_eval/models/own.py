"""A user's own model: any class with two methods, named MODULE:ATTR or FILE.py:ATTR.

    class Mine:
        revision = "epoch 3"                                # optional; names the weights in results
        def encode_images(self, images): ...                # list of RGB PIL images -> (B, D) array or tensor
        def encode_texts(self, texts): ...                  # list of strings -> (B, D)

ATTR is the class, a function that returns such an object, or the object. Optional: `name`; `context_length` with
`lengths(texts)`, so that cut texts are counted. docs/models.md has an example that runs.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from recap_eval.errors import UserError
from recap_eval.files import digest_json
from recap_eval.models.base import Loading, ModelId
from recap_eval.models.pixels import ImagePixels, Pixels, decode_image

if TYPE_CHECKING:
    import torch

METHODS = ("encode_images", "encode_texts")
PROBES = 8  # drawn scenes whose embeddings name a model without a revision


class OwnModel:
    """A user's object behind the `DualEncoder` protocol.

    Args:
        subject: Has the two methods.
        name: What tables call it.
        how: How it is run; precision and device are the object's own affair.
    """

    trims = False

    def __init__(self, subject: Any, name: str, how: Loading) -> None:
        self._subject, self.device = subject, "cpu"
        self.pixels: Pixels = ImagePixels()
        self.id = ModelId(str(getattr(subject, "name", name)), self._revision(), {}, {"precision": "own", "preprocess": "own"})

    def encode_images(self, batch: list[Any]) -> torch.Tensor:
        """Embed a list of PIL images: (B, D) float32 features."""
        return self._checked("encode_images", batch)

    def encode_texts(self, texts: list[str]) -> torch.Tensor:
        """Embed a list of texts: (B, D) float32 features."""
        return self._checked("encode_texts", texts)

    def lengths(self, texts: list[str]) -> list[int]:
        """Return the uncut token counts as the object tells them; 0 if it does not."""
        count = getattr(self._subject, "lengths", None)
        return [int(n) for n in count(texts)] if count else [0] * len(texts)

    @property
    def context_length(self) -> int:
        """Tokens a text may have, 0 if the object does not say."""
        return int(getattr(self._subject, "context_length", 0)) if hasattr(self._subject, "lengths") else 0

    def _checked(self, method: str, batch: list[Any]) -> torch.Tensor:
        import torch

        found = getattr(self._subject, method)(batch)
        features = torch.as_tensor(found).detach().float().cpu()
        if features.ndim != 2 or len(features) != len(batch):
            shape = tuple(features.shape)
            raise UserError(f"{method} gave an array of shape {shape} for {len(batch)} items.", "It must give (B, D).")
        return features

    def _revision(self) -> str:
        """Return the revision that the object states, else a digest of what it makes of some drawn scenes."""
        stated = getattr(self._subject, "revision", None)
        if stated is not None:
            return f"own:{stated}"
        from recap_eval.data.scenes.preview import drawn

        images, texts = drawn(PROBES)
        pictures = self.encode_images([decode_image(image, "a drawn scene") for image in images])
        found = [vectors.numpy().round(4).tobytes() for vectors in (pictures, self.encode_texts(texts))]
        return f"probe:{digest_json([hashlib.sha256(part).hexdigest() for part in found])}"


def load(spec: str, how: Loading) -> OwnModel:
    """Load a user's own model.

    Args:
        spec: MODULE:ATTR or FILE.py:ATTR.
        how: How to run it.

    Raises:
        UserError: No such module or attribute, or it lacks a method.
    """
    subject, attribute = subject_of(spec, METHODS, "docs/models.md")
    return OwnModel(subject, attribute, how)


def subject_of(spec: str, methods: Sequence[str], see: str) -> tuple[Any, str]:
    """Return a user's object and what it is called.

    Args:
        spec: MODULE:ATTR or FILE.py:ATTR.
        methods: What it must have.
        see: Where they are explained.

    Raises:
        UserError: No such module or attribute, or it lacks a method.
    """
    where, _, attribute = spec.rpartition(":")
    module = module_of(where, spec)
    if not hasattr(module, attribute):
        raise UserError(f"{where} has no {attribute!r}.", "Name a class, a function or an object: MODULE:ATTR")
    subject = getattr(module, attribute)
    if (callable(subject) and not all(hasattr(subject, method) for method in methods)) or isinstance(subject, type):
        subject = subject()
    if lacking := [method for method in methods if not callable(getattr(subject, method, None))]:
        raise UserError(f"{spec} has no method {lacking[0]}.", f"It needs {' and '.join(methods)}: see {see}")
    return subject, attribute


def module_of(where: str, spec: str) -> ModuleType:
    """Import a user's module.

    Args:
        where: A module on the Python path or in the working folder, or a file.
        spec: What the user typed, for the message.

    Raises:
        UserError: There is no such module or file.
    """
    hint = "Name MODULE:ATTR on the Python path, or FILE.py:ATTR. Other models: recap-eval list models"
    path = Path(where).expanduser()
    if path.suffix == ".py":
        found = importlib.util.spec_from_file_location(path.stem, path) if path.is_file() else None
        if found is None or found.loader is None:
            raise UserError(f"{where} does not exist.", hint)
        module = importlib.util.module_from_spec(found)
        found.loader.exec_module(module)
        return module
    sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(where)
    except ModuleNotFoundError as error:
        raise UserError(f"{spec}: there is no module {error.name!r}.", hint) from error
    finally:
        sys.path.pop(0)
