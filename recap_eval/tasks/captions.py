"""What a caption set is measured by: a table of families of metrics, of its text alone or with what it is a caption of."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from recap_eval.captions import flags
from recap_eval.captions.survey import Survey
from recap_eval.errors import UserError, unknown_name
from recap_eval.tasks.base import Metric, Scores
from recap_eval.tasks.judged import METRICS as JUDGED

if TYPE_CHECKING:
    from pathlib import Path

    from recap_eval.captions.pictured import Views
    from recap_eval.judge.rating import Config
    from recap_eval.tasks.captions_seen import Sight

KIND = "captions"
LIMITS = (77, 128, 248)  # CLIP's context, the paper's text length, LongCLIP's context


@dataclass(frozen=True)
class Given:
    """What a family is made of.

    Args:
        survey: The caption set.
        other: The other column of the same rows, or None.
        references: Reference captions by key, for the family that asks for them.
        reference_tokens: How references are split into words: "ptb" or "words".
        truth: Parquet of a scenes split, for the family that asks for it.
        column: Which column it is.
        views: The keyed sample with its images, for families that ask for it.
        sight: That sample as a dual encoder sees it, likewise.
        jury: The judge at work, likewise.
    """

    survey: Survey
    other: Survey | None = None
    references: dict[str, list[str]] | None = field(default=None, repr=False)
    reference_tokens: str = "ptb"
    truth: Path | None = None
    column: str = ""
    views: Views | None = None
    sight: Sight | None = None
    jury: Config | None = None


@dataclass(frozen=True)
class Family:
    """A family of metrics of caption sets.

    Args:
        name: The task's name in results.
        metrics: What it measures, the one that stands for it first.
        states: What of `survey.STATES` it needs.
        score: "module:attr" of what makes `Scores` of a `Given`.
        paired: Whether its figures depend on the other column, so that they name it in their settings.
        version: Raised whenever the same captions would give another figure.
        tokenizer: Whose tokens it counts; set where it is asked for.
        looks: What looks at images for it: "model", "judge", or "" for a family of the text alone.
        scorer: Which model that is, by the user's word; set where it is asked for.
    """

    name: str
    metrics: tuple[Metric, ...]
    states: tuple[str, ...]
    score: str
    paired: bool = False
    version: int = 1
    tokenizer: str = ""
    looks: str = ""
    scorer: str = ""

    @property
    def kind(self) -> str:
        """Its family."""
        return KIND

    @property
    def primary(self) -> Metric:
        """The metric that stands for it."""
        return self.metrics[0]

    def measure(self, given: Given) -> Scores:
        """Return its scores.

        Raises:
            DataError: There is no caption, or what it needs is not there.
        """
        module, _, name = self.score.partition(":")
        found: Callable[..., Scores] = getattr(importlib.import_module(module), name)
        return found(given, self.tokenizer) if self.tokenizer else found(given)


def _lower(*names: str) -> tuple[Metric, ...]:
    """Return shares of which less is better."""
    return tuple(Metric(name, name.replace("_", " "), higher_is_better=False) for name in names)


def _shares(**labels: str) -> tuple[Metric, ...]:
    return tuple(Metric(name, label) for name, label in labels.items())


LENGTH = (Metric("words", "words", scale=1, unit="words"), *_lower("missing"))
TOKENS = (Metric("tokens", "tokens", scale=1, unit="tokens"), *_lower(*(f"over_{limit}" for limit in LIMITS)))
VOCABULARY = (
    *_shares(union_share="share of both vocabularies"), Metric("vocabulary", "distinct words", scale=1, unit="words"),
    *_shares(once="words that occur once"),
)  # fmt: skip
DIVERSITY = (Metric("mtld", "MTLD", scale=1, unit="words"), *_shares(**{f"distinct_{n}": f"distinct-{n}" for n in (1, 2, 3)}))
NOUNS = (
    Metric("nouns", "distinct nouns per 1000 words", scale=1, unit="words"),
    *_shares(noun_share="nouns", adjective_share="adjectives", verb_share="verbs"),
)
REFERENCES = (
    Metric("cider", "CIDEr", unit="score"),
    *_shares(bleu_1="BLEU-1", bleu_2="BLEU-2", bleu_3="BLEU-3", bleu_4="BLEU-4", rouge_l="ROUGE-L"),
)
CLIP = (Metric("clip_cosine", "CLIP cosine", unit="cosine"), *_lower("truncated"))
SHARES = (Metric("clip_share_softmax", "CLIP share (softmax)", 0.5), Metric("clip_win_rate", "CLIP wins", 0.5))
CLAIMS = ("object", "colour", "size", "place", "relation", "count", "ground", "texture")
TRUTH = (
    *_shares(truth="true claims", recall="told of what is there"),
    Metric("hallucination", "invented things", higher_is_better=False),
    *_shares(all_true="all true", **{name: name for name in CLAIMS}),
)  # fmt: skip

COUNTED, DRAWN = "recap_eval.tasks.captions_counted", "recap_eval.tasks.captions_sampled"
SEEN = "recap_eval.tasks.captions_seen"
FAMILIES = {
    "length": Family("captions-length", LENGTH, ("length",), f"{COUNTED}:lengths"),
    "tokens": Family("captions-tokens", TOKENS, (), f"{COUNTED}:token_lengths"),
    "vocabulary": Family("captions-vocabulary", VOCABULARY, ("vocabulary",), f"{COUNTED}:vocabulary", paired=True),
    "flags": Family(
        "captions-flags", _lower("any", *flags.NAMES, "duplicate"), ("flags",), f"{COUNTED}:flagged", paired=True,
        version=flags.VERSION,
    ),
    "diversity": Family("captions-diversity", DIVERSITY, (), f"{DRAWN}:diversity"),
    "nouns": Family("captions-nouns", NOUNS, (), f"{DRAWN}:nouns"),
    "references": Family("captions-references", REFERENCES, ("all",), "recap_eval.tasks.captions_references:scores"),
    "truth": Family("captions-truth", TRUTH, ("all",), "recap_eval.tasks.captions_truth:scores"),
    "clip": Family("captions-clip", CLIP, (), f"{SEEN}:looked", looks="model"),
    "longclip": Family("captions-longclip", CLIP, (), f"{SEEN}:looked", looks="model"),
    "judge": Family("captions-judge", (JUDGED["rating"],), (), "recap_eval.tasks.captions_judged:rated", looks="judge"),
}  # fmt: skip
TWO_WAY = {  # asked for with the family of the same key wherever there are two columns
    name: Family(f"captions-{name}-shares", SHARES, (), f"{SEEN}:shared", paired=True, looks="model")
    for name in ("clip", "longclip")
}
SCORERS = {"clip": "ViT-L-14/openai", "longclip": "longclip:BeichenZhang/LongCLIP-L"}  # the paper's, section 4
DEFAULT = ("length", "tokens", "vocabulary", "flags", "diversity")


def find_families(words: str | None) -> dict[str, Family]:
    """Return the families that a user names, commas between them, or the usual ones.

    Raises:
        UserError: Unknown name, or none.
    """
    asked = list(DEFAULT) if words is None else [word.strip() for word in words.split(",") if word.strip()]
    if not asked:
        raise UserError("--metrics names no metric.", f"Choose some of {', '.join(FAMILIES)}.")
    for word in asked:
        if word not in FAMILIES:
            raise unknown_name("metric", word, FAMILIES, "recap-eval captions --help")
    return {word: FAMILIES[word] for word in dict.fromkeys(asked)}


def states_of(families: Sequence[Family]) -> tuple[str, ...]:
    """Return what has to be counted for families."""
    return tuple(dict.fromkeys(state for family in families for state in family.states))
