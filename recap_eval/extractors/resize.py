"""The resizes to 299 x 299 that FID's implementations differ in, each two products with a matrix of weights per axis.

    clean            clean-fid             Pillow's bicubic (a = -0.5), antialiased, in floats, clipped to 0..255, not rounded
    tf1              torch-fidelity, TF 1  bilinear of two neighbours, grids aligned at the corner: pixel i from i * in / out
    legacy_pytorch   pytorch-fid           bilinear of two neighbours, grids aligned at the centre
    tm18             torchmetrics >= 1.8   bilinear, antialiased, grids aligned at the centre

Each weight is the kernel at the distance of a pixel from the point it is taken to, divided by their sum, as in Pillow. On a CPU
the matrices are sparse (a kernel has few taps), on a GPU dense: the sums differ in rounding alone, 6e-5 grey levels at most.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from recap_eval.errors import unknown_name

if TYPE_CHECKING:
    import numpy as np
    import torch

SIDE = 299


@dataclass(frozen=True)
class Resize:
    """A resize, and how its network then scales grey levels.

    Args:
        cubic: Bicubic; else bilinear.
        antialias: Widen the kernel when the image becomes smaller.
        corner: Align the grids at the corner; else at the centre.
        centre: The grey level that becomes 0; the network's input is (level - centre) / centre.
    """

    cubic: bool = False
    antialias: bool = False
    corner: bool = False
    centre: float = 128.0


RESIZES = {
    "clean": Resize(cubic=True, antialias=True),
    "tf1": Resize(corner=True),
    "legacy_pytorch": Resize(centre=127.5),  # 2 x - 1 of values in 0..1, where all others have TensorFlow's (x - 128) / 128
    "tm18": Resize(antialias=True),
}


def check_resize(name: str) -> str:
    """Return the name of a resize.

    Raises:
        UserError: There is none of that name.
    """
    if name not in RESIZES:
        raise unknown_name("resize", name, RESIZES, f"one of {', '.join(RESIZES)}")
    return name


def weights(name: str, size: int, to: int = SIDE) -> np.ndarray:
    """Return the (to, size) float64 matrix that resizes one axis; its rows sum to 1.

    Source: Pillow's `precompute_coeffs` for kernels and widening; without antialiasing they are the two neighbours' weights.
    """
    import numpy as np

    how, step = RESIZES[name], size / to
    width = max(step, 1.0) if how.antialias else 1.0
    points = np.arange(to) * step + 0.5 if how.corner else (np.arange(to) + 0.5) * step
    away = np.abs(np.arange(size) + 0.5 - points[:, None]) / width
    found = _bicubic(away) if how.cubic else np.maximum(1 - away, 0)
    each: np.ndarray = found / found.sum(axis=1, keepdims=True)
    return each


def _bicubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution with a = -0.5, of distances."""
    import numpy as np

    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    found: np.ndarray = np.where(x < 1, near, np.where(x < 2, far, 0))
    return found


@lru_cache(maxsize=1024)  # some tens of kilobytes each
def _sparse(name: str, size: int) -> Any:
    import numpy as np
    from scipy.sparse import csr_array

    return csr_array(weights(name, size).astype(np.float32))


@lru_cache(maxsize=32)  # up to some megabytes each
def _dense(name: str, size: int, device: str) -> torch.Tensor:
    import numpy as np
    import torch

    return torch.from_numpy(weights(name, size).astype(np.float32)).to(device)


def resize_one(pixels: np.ndarray, name: str) -> np.ndarray:
    """Resize an image of (H, W, 3) bytes on the CPU, on one thread.

    Returns:
        (3, 299, 299) float32, the network's input: channels last in memory.
    """
    import numpy as np

    height, width = pixels.shape[:2]
    flat = pixels.reshape(height, width * 3).astype(np.float32)
    rows = (_sparse(name, height) @ flat).reshape(SIDE, width, 3)
    turned = np.ascontiguousarray(rows.transpose(1, 0, 2)).reshape(width, SIDE * 3)
    done = (_sparse(name, width) @ turned).reshape(SIDE, SIDE, 3)
    scaled: np.ndarray = _scaled(np.ascontiguousarray(done.transpose(1, 0, 2)), name)
    return scaled.transpose(2, 0, 1)


def resize_many(pixels: torch.Tensor, name: str) -> torch.Tensor:
    """Resize (B, H, W, 3) bytes of one size on their device.

    Returns:
        (B, 3, 299, 299) float32, the network's input.
    """
    device = str(pixels.device)
    down, across = (_dense(name, size, device) for size in pixels.shape[1:3])
    planes = pixels.permute(0, 3, 1, 2).float()
    found: torch.Tensor = _scaled(down @ (planes @ across.T), name)
    return found


def _scaled(values: Any, name: str) -> Any:
    """Clip and scale grey levels, in place."""
    how = RESIZES[name]
    if how.cubic:
        values = values.clip(0, 255)  # the other kernels are nowhere negative
    values -= how.centre
    values /= how.centre
    return values
