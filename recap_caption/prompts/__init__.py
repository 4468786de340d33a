"""What a captioner is asked, by a name that stands in every row. `files` reads prompts; the shipped ones lie beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property

from recap_eval.errors import DataError
from recap_eval.files import digest_json
from recap_eval.hashrand import combine, text_key

FIELDS = ("org_caption", "re_caption")  # what a prompt's text may ask for
FIELD = re.compile(r"\{(" + "|".join(FIELDS) + r")\}")
HEAD = 8  # characters of a digest that stand in an id
SEED_BITS = 31  # what every server and every generator takes


class MissingText(DataError):
    """A prompt asks for a text that the sample does not have."""


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen.

    Args:
        max_new_tokens: Tokens after which a caption is cut.
        temperature: 0 is greedy decoding.
        top_k: Of how many tokens the next one is drawn; None for all.
        top_p: Of what share of the probability; None for all.
    """

    max_new_tokens: int = 128
    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None

    @property
    def is_greedy(self) -> bool:
        """True if nothing is drawn."""
        return self.temperature == 0


@dataclass(frozen=True)
class Prompt:
    """One way of asking.

    Args:
        id: Its name in rows: a shipped prompt's, or a file's stem and the head of its digest.
        text: What the model is told; {org_caption} and {re_caption} are filled in from the sample.
        system: A system message, or None.
        sees_image: Whether the image is shown.
        sampling: How tokens are chosen.
        samples: How many captions an image gets.
        without: What the model is told where a text to be filled in is missing or blank; None if nothing can be asked then.
    """

    id: str
    text: str
    system: str | None = None
    sees_image: bool = True
    sampling: Sampling = Sampling()
    samples: int = 1
    without: str | None = None

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """The texts of a sample that it asks for, of `FIELDS`."""
        found = set(FIELD.findall(self.text))
        return tuple(name for name in FIELDS if name in found)

    @property
    def digest(self) -> str:
        """Digest of all that a caption depends on: neither the id nor how many there are."""
        return digest_json({name: value for name, value in asdict(self).items() if name not in ("id", "samples")})

    def fill(self, texts: Mapping[str, str | None]) -> str:
        """Return what the model is told of a sample.

        Each field is filled in once, with white space and control characters in it made one space: what stands in a text is
        data, and is never expanded again. Half a surrogate pair, which no request can hold, becomes a question mark.

        Args:
            texts: The sample's texts by the names of `FIELDS`.

        Raises:
            MissingText: A field has no text, and there is no question without it.
        """
        found = {name: plain(texts.get(name)) for name in self.fields}
        missing = [name for name, text in found.items() if not text]
        if missing and self.without is None:
            raise MissingText(
                f"The sample has no {missing[0]}, which the prompt {self.id} asks for.",
                'A prompt\'s file may say what is asked without it: without = "…"',
            )
        if missing:
            return str(self.without)
        return FIELD.sub(lambda field: found[field[1]], self.text)

    def seed(self, run_seed: int, key: str, sample: int = 0) -> int | None:
        """Return the seed of one caption, a function of the run's seed, the sample's key, the prompt and the caption's number.

        Returns:
            An integer in [0, 2^31); None for greedy decoding.
        """
        if self.sampling.is_greedy:
            return None
        parts = (text_key(name.encode("utf-8", "replace").decode()) for name in (key, self.id))
        return combine(run_seed, *parts, sample) >> (64 - SEED_BITS)


def plain(text: str | None) -> str:
    """Return a text in one line, fit for a request; "" for none."""
    return " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", " ", text or "").split()).encode("utf-8", "replace").decode()
