"""A user's own captioner: any class with one method, named MODULE:ATTR or FILE.py:ATTR.

    class Mine:
        revision = "epoch 3"                                # optional; names the weights in results
        def generate(self, images, texts, max_new_tokens):  # a list of RGB PIL images for each of the texts -> as many strings
            ...

Where an image stands within a text, the text has "<image>"; images without such a place go before it. Optional: `name`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from recap_eval.errors import UserError
from recap_eval.files import digest_json
from recap_eval.models.base import ModelId
from recap_eval.models.captioner import Ask, Keep, Missed, Said, in_batches
from recap_eval.models.own import subject_of
from recap_eval.models.pixels import decode_image

METHODS = ("generate",)
PLACE = "<image>"
BATCH = 8
PROBES, PROBE = 4, "What is in this image?"  # asked of a captioner without a revision: its answers name it


class OwnCaptioner:
    """A user's object behind the `Captioner` protocol.

    Args:
        subject: Has the method.
        name: What tables call it.
        batch_size: Prompts a batch; None for 8.
    """

    context = 0

    def __init__(self, subject: Any, name: str, batch_size: int | None = None) -> None:
        self._subject, self._size = subject, batch_size or BATCH
        self.id = ModelId(
            str(getattr(subject, "name", name)), self._revision(), {}, {"precision": "own", "decoding": "own", "images": "own"}
        )

    def answer(self, asks: Sequence[Ask], keep: Keep, skip_bad: bool, progress: bool) -> Missed:
        """Answer in batches; see `Captioner.answer`."""
        return in_batches(self, asks, self._size, keep, skip_bad, progress)

    def generate(self, prompts: Sequence[Sequence[Any]], max_new_tokens: int) -> list[Said]:
        """Answer (B) prompts of words and RGB images; see `Generator.generate`."""
        images = [[part for part in parts if not isinstance(part, str)] for parts in prompts]
        found = self._subject.generate(images, [_told(parts) for parts in prompts], max_new_tokens)
        if not isinstance(found, list | tuple) or len(found) != len(prompts) or not all(isinstance(one, str) for one in found):
            raise UserError(f"generate gave something else than {len(prompts)} strings.", "It must give a string a text.")
        return [Said(text.encode("utf-8", "replace").decode()) for text in found]

    def _revision(self) -> str:
        """Return the revision that the object states, else a digest of what it says of some drawn scenes."""
        stated = getattr(self._subject, "revision", None)
        if stated is not None:
            return f"own:{stated}"
        from recap_eval.data.scenes.preview import drawn

        images = [decode_image(image, "a drawn scene") for image in drawn(PROBES)[0]]
        return f"probe:{digest_json([one.text for one in self.generate([[image, PROBE] for image in images], 32)])}"


def _told(parts: Sequence[Any]) -> str:
    """Return the words of a prompt, images after the first words marked."""
    words = next((place for place, part in enumerate(parts) if isinstance(part, str)), len(parts))
    return "".join(part if isinstance(part, str) else PLACE for part in parts[words:])


def load(spec: str, batch_size: int | None = None) -> OwnCaptioner:
    """Load a user's own captioner.

    Args:
        spec: MODULE:ATTR or FILE.py:ATTR.
        batch_size: Prompts a batch; None for 8.

    Raises:
        UserError: No such module or attribute, or it lacks the method.
    """
    subject, name = subject_of(spec, METHODS, "docs/captioners.md")
    return OwnCaptioner(subject, name, batch_size)
