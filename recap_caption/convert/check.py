"""Holds a converted model against the original's own forward pass, on a random image and text, both computed in fp32.

In fp32 a right conversion is some 10⁻⁶ standard deviations of the logits away, and one with another activation, rotary base or
layer at least 0.02; in bf16 rounding would hide some of that.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap_caption.convert.original import image_tokens
from recap_caption.convert.reference import original_logits
from recap_caption.convert.source import Source
from recap_eval.errors import DataError
from recap_eval.models.llava.vocabulary import Vocabulary

if TYPE_CHECKING:
    import torch

BEFORE, AFTER, SEED = 8, 24, 0  # tokens before and after the image
BOUND = 1e-3  # of the logits' standard deviation
SIZE = 4  # bytes of a weight in fp32


@dataclass(frozen=True)
class Checked:
    """How far a converted model is from the original.

    Args:
        max_difference: Largest difference of a logit.
        logit_sd: Standard deviation of the original's logits.
        same_choice: Share of the places at which both choose the same token.
        places: How many places there were.
    """

    max_difference: float
    logit_sd: float
    same_choice: float
    places: int

    def sentence(self) -> str:
        """Return it in words."""
        return (
            f"logits differ from the original's by at most {self.max_difference:.2g} (their standard deviation is "
            f"{self.logit_sd:.3g}); the same token first at {self.same_choice:.1%} of {self.places} places"
        )


def check_logits(source: Source, plan: Vocabulary, folder: Path) -> Checked:
    """Compare logits of the converted model and of the original.

    Args:
        source: The original.
        plan: Its rows and tokens.
        folder: The converted model.

    Raises:
        DataError: They differ by more than rounding explains, are no numbers, or the folder does not load.
    """
    import torch

    generator = torch.Generator().manual_seed(SEED)
    side, rows = int(source.vision["image_size"]), source.weights.rows
    pixels = torch.randn(1, int(source.vision["num_channels"]), side, side, generator=generator)
    ids = torch.randint(0, rows, (BEFORE + AFTER,), generator=generator)
    ids[ids == plan.image_id] = 0
    read = source.weights.read
    wanted = original_logits(lambda name: read(name).float(), source.original, source.vision, ids.tolist(), BEFORE, pixels)
    found = _converted_logits(folder, ids, plan.image_id, image_tokens(source.vision, source.original.select), pixels)
    return judge(found[:, :rows], wanted, source.name)


def check_memory(weights: int) -> None:
    """Check that a model of so many weights can be held in fp32, where that can be told.

    Raises:
        DataError: It cannot.
    """
    needed, free = weights * SIZE, _free_memory()
    if free is not None and free < needed:
        raise DataError(
            f"--check holds the model in fp32, which takes {needed / 1e9:.0f} GB; {free / 1e9:.0f} GB are free.",
            "Convert without --check, or on a larger machine.",
        )


def _free_memory() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):
        return None


def judge(found: torch.Tensor, wanted: torch.Tensor, name: str) -> Checked:
    """Compare (L, V) logits.

    Raises:
        DataError: They are no numbers, or differ by more than `BOUND` standard deviations.
    """
    gap, spread = float((found - wanted).abs().max()), float(wanted.std())
    same = float((found.argmax(1) == wanted.argmax(1)).float().mean())
    checked = Checked(gap, spread, same, len(wanted))
    if not gap <= BOUND * spread:  # of NaN, too
        raise DataError(
            f"{name} was not converted rightly: {checked.sentence()}.",
            "Nothing was written. Please report it, with its config.json.",
        )
    return checked


def _converted_logits(folder: Path, ids: torch.Tensor, image_id: int, n: int, pixels: torch.Tensor) -> torch.Tensor:
    import torch

    model = load_converted(folder)
    tokens = torch.cat([ids[:BEFORE], torch.full((n,), image_id), ids[BEFORE:]])[None]
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=tokens, pixel_values=pixels, attention_mask=torch.ones_like(tokens)).logits[0]
    return found


def load_converted(folder: Path) -> Any:
    """Return a converted model as transformers loads it, in fp32.

    Raises:
        DataError: Weights are missing, or some have no place.
    """
    import torch
    import transformers
    from safetensors import SafetensorError
    from transformers import LlavaForConditionalGeneration

    transformers.utils.logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # `torch_dtype` is the name that all our versions know
            model, info = LlavaForConditionalGeneration.from_pretrained(
                folder, torch_dtype=torch.float32, attn_implementation="eager", output_loading_info=True
            )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"The converted model does not load ({line[:300]}).", "Please report it.") from error
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if found := sorted(map(str, info[kind])):
            raise DataError(f"The converted model has {kind.replace('_', ' ')}: {found[0]}.", "Please report it.")
    return model.eval()
