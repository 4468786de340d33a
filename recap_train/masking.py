"""Images without a share of their patches (FLIP, Li et al. 2023; CLIPA, Li et al. 2023): less work a sample, more samples.

Which patches stay is a function of (seed, sample, epoch), so a second forward pass and a resumed run see the same ones.
"""

from __future__ import annotations

import numpy as np

from recap_eval.hashrand import combine_array, text_key

PATCHES = text_key("patches kept")


def kept_patches(keys: np.ndarray, epochs: np.ndarray, patches: int, share: float, seed: int) -> np.ndarray:
    """Draw the patches that stay.

    Args:
        keys: (B,) uint64 keys of the samples.
        epochs: (B,) epoch of each.
        patches: Patches an image has.
        share: Share of them that is left out, in [0, 1); at least one stays.
        seed: The run's seed.

    Returns:
        (B, K) int64 indices in rising order: the K patches of the smallest hashes.
    """
    kept = max(1, int(patches * (1 - share)))  # as open_clip's PatchDropout
    base = np.empty(len(keys), dtype=np.uint64)
    for epoch in np.unique(epochs):
        rows = epochs == epoch
        base[rows] = combine_array(keys[rows], seed, PATCHES, int(epoch))
    draws = combine_array(base[:, None] ^ np.arange(patches, dtype=np.uint64)[None])
    return np.sort(np.argsort(draws, axis=1, kind="stable")[:, :kept], axis=1)
