"""Random numbers of training by sample key and epoch: a batch, a resumed run and any number of processes draw the same.

Each stream is its own (noise, timestep, draw from the auto-encoder's posterior), and none depends on the mix of captions: runs
at different p add the same noise to the same images.

A GPU draws for itself: on a processor it would wait for them in every step (26 ms for 256 samples of 4 x 32 x 32, one core).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from recap_eval.hashrand import GOLDEN, MIX_1, MIX_2, combine_array, text_key, uniform_array

if TYPE_CHECKING:
    import torch

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


def normals_on(
    device: str, keys: np.ndarray, epochs: np.ndarray, seed: int, stream: int, shape: tuple[int, ...]
) -> torch.Tensor:
    """Return `normals` as a tensor on a device; a GPU's are the same up to the last digits of logarithms and cosines."""
    import torch

    if device == "cpu":
        return torch.from_numpy(normals(keys, epochs, seed, stream, shape))
    return _drawn_there(device, _bases(keys, epochs, seed, stream), shape)


def _drawn_there(device: str, bases: np.ndarray, shape: tuple[int, ...]) -> torch.Tensor:
    """Return (B, *shape) float32 normal numbers of (B,) uint64 by torch's operations on a device."""
    import torch

    wanted = math.prod(shape)
    pairs = torch.arange((wanted + 1) // 2, device=device)
    bits = _hashed(torch.from_numpy(bases.view(np.int64)).to(device)[:, None] ^ pairs)
    first = (_shifted(bits, 32).float() + 0.5) * 2.0**-32
    angle = (bits & int(LOW)).float() * (2 * math.pi * 2.0**-32)
    radius = (-2 * first.clamp(max=1 - 2.0**-24).log()).sqrt()
    both = torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)
    return both[:, :wanted].reshape(len(bases), *shape)


def _hashed(values: torch.Tensor) -> torch.Tensor:
    """Return `combine_array` of int64 that stand for uint64: sums and products wrap alike."""
    z = values + _signed(GOLDEN)
    z = (z ^ _shifted(z, 30)) * _signed(MIX_1)
    z = (z ^ _shifted(z, 27)) * _signed(MIX_2)
    return z ^ _shifted(z, 31)


def _shifted(values: torch.Tensor, by: int) -> torch.Tensor:
    """Return int64 shifted right as uint64 are, with zeros coming in."""
    return (values >> by) & ((1 << (64 - by)) - 1)


def _signed(number: int) -> int:
    """Return the int64 that has the bits of a uint64."""
    return number - (1 << 64) if number >> 63 else number
