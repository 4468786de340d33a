"""Which row of the embedding is which token, when `<image>` and padding are added to a language model's own.

LLaVA has no token for images (it marks them by -200), and transformers needs one. Rows are counted in the checkpoint and never
assumed: LLaVA++ adds a token for padding to LLaMA-3's 128,256. No row of the checkpoint changes its meaning: rows beyond the
tokenizer's get names of their own, `<image>` comes after them, and the whole is filled up to a multiple of 64. A new row is the
mean of the others, so that its logit is the mean logit, which no greedy choice picks.
"""

from __future__ import annotations

from dataclasses import dataclass

from recap_eval.errors import UserError

IMAGE, PAD = "<image>", "<pad>"
MULTIPLE = 64
MOST_UNNAMED = 256  # rows of a checkpoint beyond its tokenizer; more, and the tokenizer is another model's


@dataclass(frozen=True)
class Vocabulary:
    """Rows and tokens after conversion.

    Args:
        added: Tokens to add to the tokenizer, in order.
        image_id: The token that stands for an image.
        pad_id: The token for padding.
        rows: Rows of the embedding, a multiple of 64.
    """

    added: tuple[str, ...]
    image_id: int
    pad_id: int
    rows: int


def plan_vocabulary(tokens: int, rows: int, image_id: int | None = None, pad_id: int | None = None) -> Vocabulary:
    """Return where `<image>` and padding go.

    Args:
        tokens: Tokens of the tokenizer.
        rows: Rows of the checkpoint's embedding.
        image_id: The tokenizer's token for images, if it has one.
        pad_id: The tokenizer's token for padding, if it has one.

    Raises:
        UserError: The tokenizer is not the checkpoint's.
    """
    if not rows - MOST_UNNAMED <= tokens <= rows:
        raise UserError(
            f"The tokenizer has {tokens:,} tokens, and the checkpoint {rows:,} rows: it is another model's.",
            "Name the one it was trained with: --tokenizer ORG/NAME or a folder",
        )
    added = [f"<|unnamed_{number}|>" for number in range(tokens, rows)]
    if pad_id is None and added:
        added[0], pad_id = PAD, tokens
    if image_id is None:
        image_id = tokens + len(added)
        added.append(IMAGE)
    if pad_id is None:
        pad_id = tokens + len(added)
        added.append(PAD)
    whole = tokens + len(added)
    return Vocabulary(tuple(added), image_id, pad_id, -(-whole // MULTIPLE) * MULTIPLE)
