"""What a captioner is asked, by a name that stands in every row."""

from __future__ import annotations

from dataclasses import dataclass


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
    """

    id: str
    text: str
    system: str | None = None
    sees_image: bool = True
    sampling: Sampling = Sampling()
    samples: int = 1
