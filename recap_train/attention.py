"""How attention is computed where it matters for speed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def plain_attention() -> Iterator[None]:
    """Let attention be plain matrix products on a CPU.

    torch's fused CPU attention has a slow backward pass at small heads, the larger half of a step of scenes-tiny; plain
    products made the whole step twice as fast; see benchmarks/attention.py.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with sdpa_kernel(SDPBackend.MATH):
        yield


def fast_attention(device: str) -> contextlib.AbstractContextManager[None]:
    """Let attention be computed the fastest way on a device: plain products on a CPU, torch's own choice elsewhere."""
    return plain_attention() if device == "cpu" else contextlib.nullcontext()
