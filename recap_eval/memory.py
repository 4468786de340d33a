"""How this process asks the system for memory."""

from __future__ import annotations

import ctypes

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # parameters of glibc's mallopt(3)
NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let the C library keep what is freed instead of giving it back: a tensor then finds memory that was touched before.

    By default glibc maps every large block anew, and a model on a CPU spends a tenth of its time on the page faults of its
    activations. The process then holds its peak to its end, so this is for commands, which own their process, not for imports.

    Returns:
        Whether it could be set; not on systems without glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(TRIM_THRESHOLD, NEVER) and mallopt(MMAP_MAX, 0))
