"""What a run would cost, worked out on torch's meta device: nothing is computed and no weight takes memory."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recap_eval.errors import UserError, unknown_name
from recap_train.gpus import PEAKS, gpus

if TYPE_CHECKING:
    import torch

    from recap_train.recipes import Recipe

BACKWARD = 2  # a backward pass has twice the products of its forward pass


@dataclass(frozen=True)
class Assumptions:
    """What time and cost are worked out from; none of it is measured.

    Args:
        gpu: A name in gpus.json.
        gpus: How many.
        mfu: Model FLOPs utilisation: share of the peak that the training reaches.
        price: Of a GPU hour; None for no cost.
        precision: "fp32" or "bf16".
    """

    gpu: str = "h100"
    gpus: int = 8
    mfu: float = 0.4
    price: float | None = None
    precision: str = "bf16"

    def facts(self) -> dict[str, Any]:
        """Return the GPU's data.

        Raises:
            UserError: No such GPU, or a share that is none.
        """
        known = gpus()
        if self.gpu not in known:
            raise unknown_name("GPU", self.gpu, known, ", ".join(known))
        if not 0 < self.mfu <= 1:
            raise UserError(f"--assume-mfu {self.mfu:g} is no share of the peak.", "It must lie in (0, 1]; 0.4 is usual.")
        return known[self.gpu]


def meta_model(recipe: Recipe) -> Any:
    """Return the recipe's model on the meta device."""
    import torch

    with torch.device("meta"):
        return _model(recipe)


def _model(recipe: Recipe) -> Any:
    import open_clip

    config = copy.deepcopy(recipe.model_cfg)
    kind = open_clip.CustomTextCLIP if config.pop("custom_text", False) else open_clip.CLIP
    return kind(**config)


def count_parameters(model: Any) -> dict[str, int]:
    """Return the parameters of both towers, their projections included, and of the whole; fixed positions are counted apart."""
    sizes = {name: weight.numel() for name, weight in model.named_parameters()}
    vision = sum(size for name, size in sizes.items() if name.startswith("visual."))
    scalars = sum(size for name, size in sizes.items() if name in ("logit_scale", "logit_bias"))
    fixed = sum(weight.numel() for weight in model.parameters() if not weight.requires_grad)
    whole = sum(sizes.values())
    return {"vision": vision, "text": whole - vision - scalars, "total": whole, "not_trained": fixed}


def count_flops(model: Any) -> dict[str, int]:
    """Return the floating-point operations of one image's and one text's forward pass, by torch's own counter.

    It counts matrix products, convolutions and attention, a multiplication and an addition as two.
    """
    from torch.utils.flop_counter import FlopCounterMode

    counts = {}
    for name, forward in _passes(model, "meta").items():
        with FlopCounterMode(display=False) as counter:
            forward()
        counts[name] = int(counter.get_total_flops())
    return counts


def _passes(model: Any, device: str) -> dict[str, Callable[[], torch.Tensor]]:
    import torch

    side = model.visual.image_size if isinstance(model.visual.image_size, tuple) else (model.visual.image_size,) * 2
    length = getattr(model, "context_length", None) or model.text.context_length
    pixels = torch.empty(1, 3, *side, device=device)
    tokens = torch.zeros(1, length, dtype=torch.long, device=device)
    return {"image": lambda: model.encode_image(pixels), "text": lambda: model.encode_text(tokens)}


def activation_bytes(recipe: Recipe, precision: str) -> int:
    """Return the bytes that a forward pass of both towers keeps for the backward pass, a sample.

    The tensors that autograd saves are counted, each storage once and weights apart, with torch's fused attention, which keeps
    no matrix of scores; on tensors without content, so nothing is computed. In fp32 that is exact up to the allocator; bf16 is
    taken as half of it, which is a little too few, for the residual stream stays in fp32.
    """
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode  # the meta device would choose attention by plain products

    kept: dict[int, torch.UntypedStorage] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor.untyped_storage()
        return tensor

    with FakeTensorMode(allow_non_fake_inputs=True):
        model = _model(recipe)
        weights = {weight.untyped_storage()._cdata for weight in model.parameters()}
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            outputs = [forward() for forward in _passes(model, "cpu").values()]
        total = sum(storage.nbytes() for key, storage in kept.items() if key not in weights)
    del outputs
    return total // 2 if precision == "bf16" else total


def memory(parameters: dict[str, int], per_sample: int, batch_size: int, assumed: Assumptions) -> dict[str, Any]:
    """Estimate the memory of one GPU under data parallelism, in bytes, and the largest micro-batch that fits into it.

    Weights, gradients and AdamW's two moments are in fp32 and whole on every GPU (no sharding). A tenth is left to the
    allocator, the loss and communication.
    """
    trained = parameters["total"] - parameters["not_trained"]
    state = {"weights": 4 * parameters["total"], "gradients": 4 * trained, "adamw": 8 * trained}
    share = max(1, batch_size // assumed.gpus)
    room = int(0.9e9 * assumed.facts()["memory_gb"]) - sum(state.values())
    fits = min(share, max(0, room // per_sample))
    whole = sum(state.values()) + share * per_sample
    return state | {
        "activations_a_sample": per_sample, "batch_a_gpu": share, "all_at_once": whole, "largest_micro_batch": fits
    }  # fmt: skip


def duration(flops: dict[str, int], samples: int, assumed: Assumptions) -> dict[str, float]:
    """Estimate a stage's hours and cost: three forward passes' worth of products a sample, at the assumed share of the peak."""
    work = (1 + BACKWARD) * sum(flops.values()) * samples
    speed = assumed.facts()[PEAKS[assumed.precision]] * 1e12 * assumed.mfu * assumed.gpus
    hours = work / speed / 3600
    found = {
        "flops": float(work),
        "hours": hours,
        "gpu_hours": hours * assumed.gpus,
        "samples_per_second": samples / hours / 3600,
    }
    return found | ({"cost": hours * assumed.gpus * assumed.price} if assumed.price is not None else {})
