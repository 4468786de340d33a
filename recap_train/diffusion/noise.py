"""Random numbers of training by sample key and epoch: a batch, a resumed run and any number of processes draw the same.

Each stream is its own (noise, timestep, draw from the auto-encoder's posterior), and none depends on the mix of captions: runs
at different p add the same noise to the same images.
"""

from __future__ import annotations

import numpy as np

from recap_eval.hashrand import combine_array, text_key, uniform_array

NOISE, TIME, POSTERIOR = text_key("diffusion noise"), text_key("diffusion time"), text_key("posterior draw")
HALF = np.uint64(32)
LOW = np.uint64((1 << 32) - 1)


def _bases(keys: np.ndarray, epochs: np.ndarray, seed: int, stream: int) -> np.ndarray:
    """Return (B,) uint64, one for each sample in its epoch."""
    return combine_array(combine_array(keys, seed, stream) ^ epochs.astype(np.uint64))


def uniforms(keys: np.ndarray, epochs: np.ndarray, seed: int, stream: int) -> np.ndarray:
    """Draw a number for each sample in its epoch.

    Args:
        keys: (B,) uint64 `text_key` of the sample keys.
        epochs: (B,) epochs.
        seed: The run's seed.
        stream: What the numbers are for.

    Returns:
        (B,) float64 in [0, 1).
    """
    return uniform_array(_bases(keys, epochs, seed, stream))


def normals(keys: np.ndarray, epochs: np.ndarray, seed: int, stream: int, shape: tuple[int, ...]) -> np.ndarray:
    """Draw standard normal numbers for each sample in its epoch, by Box and Muller's transform of its hashes.

    Args:
        keys: (B,) uint64 `text_key` of the sample keys.
        epochs: (B,) epochs.
        seed: The run's seed.
        stream: What the numbers are for.
        shape: Of one sample's numbers.

    Returns:
        (B, *shape) float32.
    """
    wanted = int(np.prod(shape))
    pairs = np.arange((wanted + 1) // 2, dtype=np.uint64)
    bits = combine_array(_bases(keys, epochs, seed, stream)[:, None] ^ pairs)
    first = ((bits >> HALF).astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-32)  # never 0
    angle = (bits & LOW).astype(np.float32) * np.float32(2 * np.pi * 2.0**-32)
    radius = np.sqrt(-2 * np.log(np.minimum(first, np.float32(1 - 2.0**-24))))
    both = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return both[:, :wanted].reshape(len(keys), *shape)
