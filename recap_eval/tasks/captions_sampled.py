"""Figures of the keyed sample of a caption set: how varied its words are, and how many nouns there are among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from recap_eval.captions.diversity import BLOCK, blocks, distinct_n, mtld
from recap_eval.captions.sample import Sample
from recap_eval.captions.words import normal_words
from recap_eval.errors import DataError, UserError
from recap_eval.stats import Estimate, estimate
from recap_eval.tasks.base import Scores
from recap_eval.tasks.captions import Given

if TYPE_CHECKING:
    import numpy as np

KINDS = {"noun_share": "NN", "adjective_share": "JJ", "verb_share": "VB"}  # beginnings of Penn Treebank tags
GET = "pip install 'recap[pos]' (textblob; its tagger comes with it, nothing is downloaded), or leave nouns out of --metrics"


def diversity(given: Given) -> Scores:
    """Score distinct-n and MTLD as means over blocks of 1,000 words of the sample.

    Raises:
        DataError: The sample has fewer words than a block.
    """
    sample = given.survey.sample
    found = list(blocks([normal_words(one.text) for one in sample.drawn]))
    if not found:
        raise too_few(sample)
    columns = {"mtld": [mtld([word for words in block for word in words]) for block in found]}
    columns |= {f"distinct_{n}": [distinct_n(block, n) for block in found] for n in (1, 2, 3)}
    return Scores({}, _extra(sample, len(found)), folded={name: _mean(values) for name, values in columns.items()})


def nouns(given: Given) -> Scores:
    """Score distinct nouns per 1,000 words and shares of parts of speech, by textblob's tagger (Brill's, Pattern's lexicon).

    Raises:
        UserError: textblob is not installed.
        DataError: The sample has fewer words than a block.
    """
    tag, sample = _tagger(), given.survey.sample
    found = list(blocks([_tagged(tag, one.text) for one in sample.drawn]))
    if not found:
        raise too_few(sample)
    flat = [[pair.partition("\t")[::2] for words in block for pair in words] for block in found]
    columns = {"nouns": [float(len({word for word, kind in block if kind.startswith("NN")})) for block in flat]}
    columns |= {name: [_share(block, tag) for block in flat] for name, tag in KINDS.items()}
    return Scores({}, _extra(sample, len(found)), folded={name: _mean(values) for name, values in columns.items()})


def _share(block: Sequence[tuple[str, ...]], tag: str) -> float:
    return sum(kind.startswith(tag) for _, kind in block) / len(block)


def _tagger() -> Any:
    try:
        from textblob.en import tag
    except ImportError as error:
        raise UserError("Parts of speech need textblob, which is not installed.", GET) from error
    return tag


def _tagged(tag: Any, text: str) -> list[str]:
    """Return word and tag of each word, a tab between them; punctuation left out."""
    return [f"{form}\t{kind}" for word, kind in tag(text) if (form := "".join(normal_words(word)))]


def _mean(values: Sequence[float]) -> Estimate:
    array: np.ndarray = _array(values)
    return estimate(array, [str(number) for number in range(len(values))], share=False)


def _array(values: Sequence[float]) -> np.ndarray:
    import numpy as np

    return np.array(values, dtype=np.float64)


def _extra(sample: Sample, count: int) -> dict[str, float]:
    return {"sampled_captions": float(len(sample.drawn)), "blocks": float(count), "words_a_block": float(BLOCK)}


def too_few(sample: Sample) -> DataError:
    """Return the error of a sample that is no block long."""
    return DataError(
        f"{len(sample.drawn):,} captions have fewer than {BLOCK:,} words together.",
        "Diversity is measured in blocks of so many; leave it out.",
    )
