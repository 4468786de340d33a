"""Alt-text that spells a model's special tokens: taken apart, so that it stays text. What a page says of an image is data."""

from __future__ import annotations

import re
from collections.abc import Iterable

# The forms of special tokens in wide use, for servers whose tokenizer nobody here sees.
KNOWN = re.compile(
    r"<(?=\|[^<>|]{1,40}\|>)|<(?=/?(?:s|image|im_patch|im_start|im_end|img|video|audio|pad|unk|bos|eos|start_of_turn|"
    r"end_of_turn|start_of_image|end_of_image|image_soft_token|fake_token_around_image)>)|\[(?=/?(?:INST|IMG|IMG_BREAK|IMG_END)\])"
)


def neutralised(text: str, special: Iterable[str]) -> str:
    """Return a text in which no special token stands: a space comes after its first character.

    Args:
        text: The text.
        special: The tokens; those in wide use are taken apart in any case.
    """
    text = KNOWN.sub(lambda found: f"{found[0]} ", text)
    long = [name for token in special if len(name := token.strip()) > 1]  # with a space at its end there would be no end
    while (token := next((one for one in long if one in text), None)) is not None:
        text = text.replace(token, f"{token[0]} {token[1:]}")
    return text
