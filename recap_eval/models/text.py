"""Text towers of open_clip without the padding that nothing looks at.

In a causal tower that pools at the end-of-text token, what stands behind that token changes nothing; open_clip runs the
full context all the same, which is most of the work when captions are short.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def text_tower(model: Any) -> Any:
    """Return the module that holds the text tower: the model itself (CLIP) or its `text` (CustomTextCLIP)."""
    return getattr(model, "text", model)


def _pool_type(tower: Any) -> str:
    return str(getattr(tower, "text_pool_type", getattr(tower, "pool_type", "")))


def is_trimmable(model: Any) -> bool:
    """Tell whether padding behind the end of the text cannot change an embedding.

    True for causal towers without a class token that pool at the end-of-text token; false for bidirectional ones, for
    last-token pooling (Recap-CLIP's own), and for anything that is not open_clip's text transformer.
    """
    tower = text_tower(model)
    known = all(hasattr(tower, name) for name in ("token_embedding", "positional_embedding", "transformer", "ln_final"))
    return (
        known
        and getattr(tower, "attn_mask", None) is not None
        and getattr(tower, "cls_emb", None) is None
        and not getattr(tower, "output_tokens", False)
        and _pool_type(tower) in ("argmax", "eos")
    )


def text_ends(tower: Any, tokens: torch.Tensor) -> torch.Tensor:
    """Return (B,) the position at which each text is pooled: its end-of-text token."""
    import torch

    if _pool_type(tower) == "eos":
        eos = int(getattr(tower, "text_eos_id", getattr(tower, "eos_id", -1)))
        tokens = torch.eq(tokens, eos).int()  # the first of the highest
    ends: torch.Tensor = tokens.argmax(dim=-1)
    return ends


def encode_text_trimmed(model: Any, tokens: torch.Tensor, chunks: int = 1) -> torch.Tensor:
    """Encode texts over the longest one's length only, the same function as `model.encode_text`.

    Args:
        model: An open_clip model for which `is_trimmable` holds.
        tokens: (B, context_length) token ids.
        chunks: Parts of similar length to encode one after the other, each over its own longest text: worth it where
            short and long texts are mixed in a batch.

    Returns:
        (B, D) features, not normalised; differentiable.
    """
    import torch

    tower = text_tower(model)
    ends = text_ends(tower, tokens)
    if chunks == 1:
        return _encode(tower, tokens, ends)
    order = torch.argsort(ends, stable=True)
    parts = [_encode(tower, tokens[rows], ends[rows]) for rows in order.chunk(chunks)]
    return torch.cat(parts)[torch.argsort(order)]


def _encode(tower: Any, tokens: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
    import torch

    length = int(ends.max()) + 1
    dtype = tower.transformer.get_cast_dtype()
    x = tower.token_embedding(tokens[:, :length]).to(dtype) + tower.positional_embedding[:length].to(dtype)
    x = tower.ln_final(tower.transformer(x, attn_mask=tower.attn_mask[:length, :length]))
    pooled: torch.Tensor = x[torch.arange(len(x), device=x.device), ends]
    projection = tower.text_projection
    if projection is not None:
        pooled = projection(pooled) if isinstance(projection, torch.nn.Linear) else pooled @ projection
    return pooled
