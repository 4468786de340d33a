"""Captions held against reference captions: CIDEr, BLEU, ROUGE-L, by pycocoevalcap."""

from __future__ import annotations

import contextlib
import io
import re
import shutil
from collections.abc import Callable
from typing import Any

from recap_eval.captions.survey import All
from recap_eval.errors import DataError, UserError
from recap_eval.tasks.base import ItemScores, Scores
from recap_eval.tasks.captions import Given

Texts = dict[str, list[str]]
WORD = re.compile(r"n't\b|'(?:s|m|re|ve|ll|d)\b|\w+(?:[-./]\w+)*(?=n't\b)|\w+(?:[-./]\w+)*", re.IGNORECASE)
HINT = "Give a file of references: --references FILE, or the column that holds them: --against caption"


def scores(given: Given) -> Scores:
    """Score the captions that have references; of several captions with one key the first counts.

    Raises:
        UserError: There are no references, or Java is not there for the PTB tokenizer.
        DataError: No caption has one.
    """
    state = given.survey.states["all"]
    assert isinstance(state, All)
    captions: Texts = {}
    for key, text, _ in state.found:
        captions.setdefault(key, [text])
    references = given.references if given.references is not None else _originals(state)
    if not references:
        raise UserError("There is nothing to hold the captions against.", HINT)
    keys = [key for key in captions if references.get(key)]
    if not keys:
        raise DataError(
            "No caption has a reference with its key.",
            f"Captions' keys are such as {next(iter(captions))!r}, references' {next(iter(references))!r}.",
        )
    found = {key: captions[key] for key in keys}
    return score_texts(found, {key: references[key] for key in keys}, given.reference_tokens, len(captions))


def score_texts(captions: Texts, references: Texts, how: str, n: int) -> Scores:
    """Score captions against references.

    Args:
        captions: One caption by key.
        references: Its references, by the same keys.
        how: One of `TOKENS`.
        n: How many captions there are, with those that have no reference.

    Raises:
        UserError: Unknown `how`, or Java is not there.
    """
    ours, theirs = tokenized(how, captions, references)
    return _scores(list(captions), ours, theirs, n)


def _originals(state: All) -> Texts:
    found: Texts = {}
    for key, _, original in state.found:
        if original and original.strip():
            found.setdefault(key, [original])
    return found


def check_tokens(how: str) -> None:
    """Check that texts can be split into words in a way, before any is made.

    Raises:
        UserError: Unknown `how`, or Java is not there.
    """
    tokenized(how, {})


def tokenized(how: str, *sets: Texts) -> tuple[Texts, ...]:
    """Return texts as lower-case words with spaces between them, punctuation left out.

    Args:
        how: One of `TOKENS`.
        sets: Texts by key.

    Raises:
        UserError: Unknown `how`, or Java is not there.
    """
    if how not in TOKENS:
        raise UserError(f"--reference-tokens {how!r} is unknown.", f"Choose one of {', '.join(TOKENS)}.")
    return tuple(TOKENS[how](texts) for texts in sets)


def _ptb(texts: Texts) -> Texts:
    """Tokenize as the COCO evaluation server does: Stanford's PTBTokenizer, which needs Java."""
    if shutil.which("java") is None:
        raise UserError(
            "The PTB tokenizer needs Java, which is not there.",
            "Install a Java runtime, or take other words: --reference-tokens words",
        )
    if not texts:
        return {}
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    with contextlib.redirect_stdout(io.StringIO()):
        found: Texts = PTBTokenizer().tokenize(
            {key: [{"caption": " ".join(text.split())} for text in each] for key, each in texts.items()}
        )
    return found


def _words(texts: Texts) -> Texts:
    """Tokenize by a regular expression: words, and contractions cut as the Penn Treebank cuts them."""
    return {key: [" ".join(WORD.findall(text.lower())) for text in each] for key, each in texts.items()}


TOKENS: dict[str, Callable[[Texts], Texts]] = {"ptb": _ptb, "words": _words}


def _scores(keys: list[str], ours: Texts, theirs: Texts, captions: int) -> Scores:
    import numpy as np
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    def run(scorer: Any, **options: Any) -> tuple[Any, Any]:
        with contextlib.redirect_stdout(io.StringIO()):
            found: tuple[Any, Any] = scorer.compute_score(theirs, ours, **options)
        return found

    whole, _ = run(Bleu(4), verbose=0)
    each = {"cider": run(Cider())[1], "rouge_l": run(Rouge())[1]}
    items = {name: ItemScores(keys, keys, np.asarray(values, dtype=np.float64)) for name, values in each.items()}
    corpus = {f"bleu_{n}": float(value) for n, value in enumerate(whole, start=1)}
    references = sum(len(texts) for texts in theirs.values())
    extra = {"references": float(references), "without_reference": float(captions - len(keys))}
    return Scores(items, extra, corpus=corpus)
