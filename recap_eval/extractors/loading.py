"""From what a user types to an extractor."""

from __future__ import annotations

from collections.abc import Callable

from recap_eval.errors import unknown_name
from recap_eval.extractors.base import Extraction, Extractor
from recap_eval.extractors.clip import ClipExtractor
from recap_eval.extractors.dinov2 import Dinov2Extractor
from recap_eval.extractors.inception import InceptionExtractor

EXTRACTORS: dict[str, Callable[[str, Extraction], Extractor]] = {
    "inception": lambda rest, how: InceptionExtractor(how),
    "dinov2": Dinov2Extractor,
    "clip": ClipExtractor,
    "clip-raw": lambda rest, how: ClipExtractor(rest, how, unit=False),
}
PLAIN = ("inception", "dinov2")  # those that are names by themselves
EXAMPLES = "inception, dinov2, dinov2:b, dinov2:FOLDER, clip:ViT-L-14-336/openai, clip-raw:MODEL"


def load_extractor(word: str, how: Extraction | None = None) -> Extractor:
    """Load an extractor.

    Args:
        word: `inception`; `dinov2`, or `dinov2:` and s, b, l, g, a folder or ORG/NAME; `clip:` and any model of
            `recap-eval clip` for embeddings of unit length, `clip-raw:` for embeddings as they are.
        how: How it is built and run.

    Raises:
        UserError: Unknown name.
        DataError: Weights are missing or damaged; the hub cannot be reached.
    """
    name, _, rest = word.partition(":")
    if name not in EXTRACTORS or (name not in PLAIN and not rest) or (name == "inception" and rest):
        raise unknown_name("extractor", word, PLAIN, EXAMPLES)
    return EXTRACTORS[name](rest, how or Extraction())
