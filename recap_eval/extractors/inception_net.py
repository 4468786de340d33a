"""The FID Inception: TensorFlow's `inception-2015-12-05` up to its pool3, batch normalisation folded into the convolutions.

The layout is that of torchvision's Inception v3 with three differences, as the peers' ports of the graph have them (pytorch-fid
0.3.0 `inception.py`, torch-fidelity 0.4.0 `feature_extractor_inceptionv3.py`): 1,008 classes; average pools inside blocks do
not count the padding; the last block has a maximum pool where the others average. Shapes come from the weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from recap_eval.errors import DataError

if TYPE_CHECKING:
    import torch

EPSILON = 1e-3  # of the batch normalisation
DIM, CLASSES = 2048, 1008
STEM = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "pool", "Conv2d_3b_1x1", "Conv2d_4a_3x3", "pool")
NARROWING = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_4a_3x3")  # the stem's convolutions without padding

Branch = tuple[str | tuple[str, str], ...]  # convolutions one after the other; a pair: side by side on the same input
A: tuple[Branch, ...] = (("branch1x1",), ("branch5x5_1", "branch5x5_2"), ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"))
B: tuple[Branch, ...] = (("branch3x3",), ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"))
C: tuple[Branch, ...] = (
    ("branch1x1",),
    ("branch7x7_1", "branch7x7_2", "branch7x7_3"),
    ("branch7x7dbl_1", "branch7x7dbl_2", "branch7x7dbl_3", "branch7x7dbl_4", "branch7x7dbl_5"),
)
D: tuple[Branch, ...] = (("branch3x3_1", "branch3x3_2"), ("branch7x7x3_1", "branch7x7x3_2", "branch7x7x3_3", "branch7x7x3_4"))
E: tuple[Branch, ...] = (
    ("branch1x1",),
    ("branch3x3_1", ("branch3x3_2a", "branch3x3_2b")),
    ("branch3x3dbl_1", "branch3x3dbl_2", ("branch3x3dbl_3a", "branch3x3dbl_3b")),
)
BLOCKS: dict[str, tuple[tuple[Branch, ...], str]] = {  # branches, and the pool beside them; "halve" is one of stride 2
    "Mixed_5b": (A, "average"), "Mixed_5c": (A, "average"), "Mixed_5d": (A, "average"), "Mixed_6a": (B, "halve"),
    "Mixed_6b": (C, "average"), "Mixed_6c": (C, "average"), "Mixed_6d": (C, "average"), "Mixed_6e": (C, "average"),
    "Mixed_7a": (D, "halve"), "Mixed_7b": (E, "average"), "Mixed_7c": (E, "maximum"),
}  # fmt: skip
HALVING = {  # convolutions of stride 2, all without padding
    "Conv2d_1a_3x3", "Mixed_6a.branch3x3", "Mixed_6a.branch3x3dbl_3", "Mixed_7a.branch3x3_2", "Mixed_7a.branch7x7x3_4",
}  # fmt: skip


def convolutions() -> Iterator[str]:
    """Yield the names of all convolutions."""
    yield from (name for name in STEM if name != "pool")
    for block, (branches, pool) in BLOCKS.items():
        for branch in branches:
            for step in branch:
                yield from (f"{block}.{name}" for name in ((step,) if isinstance(step, str) else step))
        if pool != "halve":
            yield f"{block}.branch_pool"


class InceptionNet:
    """The network, folded and channels last, for inference.

    Args:
        state: Tensors by the names that pytorch-fid's and torch-fidelity's files give them.
        where: The file they are from, for messages.
        dtype: Type of weights and arithmetic.
        device: Where it runs.

    Raises:
        DataError: Tensors are missing or of other shapes: it is another network.
    """

    def __init__(self, state: Mapping[str, torch.Tensor], where: str, dtype: torch.dtype, device: str) -> None:
        import torch

        _check(state, where)
        self._dtype, self._device = dtype, device
        self._layers = {}
        for name in convolutions():
            weight, bias = folded(state, name)
            on = weight.to(device, dtype, memory_format=torch.channels_last)
            self._layers[name] = (on, bias.to(device, dtype))
        self._fc = state["fc.weight"].float().T.contiguous()

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return (B, 2048) float32 features of (B, 3, 299, 299) scaled images: pool3."""
        import torch

        with torch.inference_mode():
            x = images.to(self._device, self._dtype).contiguous(memory_format=torch.channels_last)
            for name in STEM:
                x = _halved(x) if name == "pool" else self._convolve(x, name).relu_()
            for name in BLOCKS:
                x = self._block(x, name)
            return x.float().mean((2, 3))

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """Return (B, 1008) logits without their bias, of features: what the Inception Score is computed of."""
        return features @ self._fc

    def _convolve(self, x: torch.Tensor, name: str) -> torch.Tensor:
        from torch.nn import functional

        weight, bias = self._layers[name]
        if name in HALVING:
            return functional.conv2d(x, weight, bias, stride=2)
        padding = (0, 0) if name in NARROWING else (weight.shape[2] // 2, weight.shape[3] // 2)
        return functional.conv2d(x, weight, bias, padding=padding)

    def _block(self, x: torch.Tensor, block: str) -> torch.Tensor:
        import torch

        branches, pool = BLOCKS[block]
        found = [part for branch in branches for part in self._branch(x, block, branch)]
        return torch.cat([*found, self._pooled(x, block, pool)], 1)

    def _branch(self, x: torch.Tensor, block: str, branch: Branch) -> list[torch.Tensor]:
        parts = [x]
        for step in branch:
            names = (step,) if isinstance(step, str) else step
            parts = [self._convolve(parts[0], f"{block}.{name}").relu_() for name in names]
        return parts

    def _pooled(self, x: torch.Tensor, block: str, pool: str) -> torch.Tensor:
        from torch.nn import functional

        if pool == "halve":
            return _halved(x)
        name = f"{block}.branch_pool"
        if pool == "maximum":
            return self._convolve(functional.max_pool2d(x, 3, stride=1, padding=1), name).relu_()
        # an average and a convolution of one pixel commute: pool the fewer channels that come out
        return functional.avg_pool2d(self._convolve(x, name), 3, stride=1, padding=1, count_include_pad=False).relu_()


def folded(state: Mapping[str, torch.Tensor], name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weight and bias, float64, of the convolution that equals a convolution and its batch normalisation."""
    weight, running = state[f"{name}.conv.weight"].double(), state[f"{name}.bn.running_mean"].double()
    scale = state[f"{name}.bn.weight"].double() / (state[f"{name}.bn.running_var"].double() + EPSILON).sqrt()
    return weight * scale.view(-1, 1, 1, 1), state[f"{name}.bn.bias"].double() - running * scale


def _halved(x: torch.Tensor) -> torch.Tensor:
    from torch.nn import functional

    return functional.max_pool2d(x, 3, stride=2)


def _check(state: Mapping[str, torch.Tensor], where: str) -> None:
    parts = ("conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")
    wanted = [f"{name}.{part}" for name in convolutions() for part in parts]
    lost = [name for name in [*wanted, "fc.weight"] if name not in state]
    hint = "It must hold the weights of inception-2015-12-05 in the names of pytorch-fid or torch-fidelity."
    if lost:
        raise DataError(f"{where} is not the FID Inception: it lacks {lost[0]} and {len(lost) - 1} others.", hint)
    if tuple(state["fc.weight"].shape) != (CLASSES, DIM):
        shape = " x ".join(map(str, state["fc.weight"].shape))
        raise DataError(f"{where} is another Inception: its last layer is {shape}, not {CLASSES} x {DIM}.", hint)
