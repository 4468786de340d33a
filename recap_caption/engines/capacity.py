"""How many captions are made at once."""

from __future__ import annotations

from typing import Any

ON_CPU = 8  # beyond that a CPU gains nothing, unless a model is so small that the calls around it take longer than it does
SMALL = 1e8  # weights times captions of a batch that keep a CPU busy
MOST = 128
TOKENS = 1024  # of prompt and caption together
ROOM = 0.7  # of the memory that is free; the rest is left to activations and the allocator
LOGITS = 16  # bytes a word of the vocabulary, in the copies that choosing a token makes


def batch_size(model: Any, device: str) -> int:
    """Return how many captions to make at once: on a GPU what its free memory holds, by the keys and values of a caption.

    On a CPU few, and more of them the smaller the model is. An estimate for the first batch; one that does not fit is halved.
    """
    import torch

    if device == "cpu":
        return max(ON_CPU, min(MOST, int(SMALL // max(1, model.num_parameters()))))
    free, _ = torch.cuda.mem_get_info(torch.device(device))
    n = int(ROOM * free) // max(1, caption_bytes(model))
    return max(1, min(MOST, 1 << max(0, n.bit_length() - 1)))


def caption_bytes(model: Any) -> int:
    """Return the bytes that one caption needs: keys and values in every layer, and the scores of its next token."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    kept = 2 * config.num_hidden_layers * heads * width * TOKENS * model.dtype.itemsize
    return int(kept + LOGITS * config.vocab_size)
