"""A gallery as it is handed to its page."""

from __future__ import annotations

from dataclasses import dataclass

from recap_eval.data.items import ImageItem
from recap_eval.gallery.scores import Read, Score
from recap_eval.gallery.sections import Section
from recap_eval.generate.plan import Key
from recap_eval.generate.sheet import Sheet


@dataclass(frozen=True)
class Gallery:
    """A gallery, as it is to be shown.

    Args:
        sheets: The models' images.
        scores: Their scores.
        sections: Which rows are shown.
        read: By model and image, what a scorer read of a prompt that it cut.
        real: Real images by the ids that prompts refer to.
        notes: What a reader must know, a sentence each.
    """

    sheets: tuple[Sheet, ...]
    scores: tuple[Score, ...]
    sections: tuple[Section, ...]
    read: dict[int, dict[str, Read]]
    real: dict[str, ImageItem]
    notes: tuple[str, ...]

    @property
    def has_real(self) -> bool:
        """True if a real image stands beside any row that is shown."""
        return any(self.real_of(key) is not None for section in self.sections for key in section.keys)

    def real_of(self, key: Key) -> ImageItem | None:
        """Return the real image that a prompt refers to, else the one of the prompt's own id, or None."""
        known = [sheet.shots[key].reference for sheet in self.sheets if key in sheet.shots]
        return next((self.real[word] for word in (*known, key[0]) if word in self.real), None)
