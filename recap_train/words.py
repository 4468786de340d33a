"""A word tokenizer made from the captions at hand, for small worlds where a whole caption should be few tokens."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from recap_eval.errors import UserError

PAD, UNKNOWN, START, END = "<pad>", "<unk>", "<start>", "<end>"
SEPARATOR = r"[^a-z0-9]+"


def vocabulary(texts: Iterable[str], size: int) -> list[str]:
    """Return the tokens by id: padding, unknown, start, the commonest words, and last the end token.

    The end token has the highest id: open_clip's "argmax" pooling finds it by that.

    Args:
        texts: All captions.
        size: Most tokens the model's embedding table holds.

    Raises:
        UserError: No word in any caption.
    """
    counts = Counter(word for text in texts for word in re.split(SEPARATOR, text.lower()) if word)
    if not counts:
        raise UserError("The captions hold no words to make a tokenizer of.", "Check --original-key and --recaption-key.")
    common = sorted(counts, key=lambda word: (-counts[word], word))[: size - 4]
    return [PAD, UNKNOWN, START, *common, END]


def save_tokenizer(folder: Path, tokens: list[str], context_length: int) -> list[str]:
    """Write a word tokenizer that transformers (and so open_clip) loads from the folder.

    Returns:
        The names of the files written.
    """
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    ids = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(Regex(SEPARATOR), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, ids[START]), (END, ids[END])]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=context_length,
        pad_token=PAD, unk_token=UNKNOWN, bos_token=START, eos_token=END,
    )  # fmt: skip
    fast.save_pretrained(folder)
    return ["tokenizer.json", "tokenizer_config.json"]
