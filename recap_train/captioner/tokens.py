"""A tokenizer made from the captions at hand, with LLaMA-3's special tokens: every frequent word is one token.

Any text can be written with it, byte by byte where it is new. How it splits text is LLaMA-3's: a run of line breaks stays one
token, whatever follows, so that a prompt has the same tokens before an answer as without one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from recap_eval.errors import UserError

BEGIN, END_OF_TEXT, EOT = "<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"
SPECIAL = ("<pad>", BEGIN, END_OF_TEXT, "<|start_header_id|>", "<|end_header_id|>", EOT, "<image>")
SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
ROLES = ("system", "user", "assistant", "\n\n")  # what a conversation writes besides
RARE = 2  # a pair of tokens that is seen less often is not merged


def make_tokenizer(captions: Sequence[str], prompt: str, size: int, template: str) -> Any:
    """Return a tokenizer in which captions and prompt are few tokens.

    Args:
        captions: The captions.
        prompt: What the model is asked.
        size: Tokens at most, the 256 bytes and the special ones among them.
        template: Its chat template.

    Raises:
        UserError: There is no word in any caption.
    """
    if not any(caption.strip() for caption in captions):
        raise UserError("The captions hold no words to make a tokenizer of.", "Check which texts they are: --caption-key")
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(SPLIT), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=RARE,
        initial_alphabet=sorted(alphabet),
        special_tokens=list(SPECIAL),
        show_progress=False,
    )
    inner.train_from_iterator([*captions, *[prompt, *ROLES] * RARE], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, padding_side="left", clean_up_tokenization_spaces=False, chat_template=template,
        pad_token="<pad>", bos_token=BEGIN, eos_token=EOT, extra_special_tokens={"image_token": "<image>"},
    )  # fmt: skip
