"""A captioner under its loss, for our own loop: the mean over the captions' tokens, the end of each among them.

What is before a caption, image tokens included, has no loss. This file defines modules, so torch is imported at its top.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch  # noqa: TID253

from recap_train.captioner.small import Wording
from recap_train.parallel import World
from recap_train.states import Spread

if TYPE_CHECKING:
    from recap_train.loader import Batch

PARTS, LEAST = 4, 32  # parts of a batch, at most; captions in a part, at least: below that a part costs more than padding


class Telling(torch.nn.Module):
    """Pixels and captions to the loss of each caption.

    Args:
        model: transformers' LlavaForConditionalGeneration.
        wording: How captions became tokens.
        preprocess: Mean and std, of pixels in [0, 1].
        bf16: Under bf16 autocast.
        device: "cpu" or a GPU.
    """

    def __init__(self, model: Any, wording: Wording, preprocess: dict[str, Any], bf16: bool, device: str) -> None:
        super().__init__()
        self.model, self.bf16, self.device = model, bf16, device
        self.pad = wording.tokenizer.pad_token_id
        self.register_buffer("prefix", torch.tensor(wording.prefix), persistent=False)
        for name in ("mean", "std"):
            values = torch.tensor(preprocess[name])[:, None, None] * 255
            self.register_buffer(name, values, persistent=False)

    def forward(self, pixels: torch.Tensor, captions: torch.Tensor) -> torch.Tensor:
        """Return the sum of the losses of all tokens.

        Args:
            pixels: (B, 3, S, S) of 0 to 255.
            captions: (B, L) token ids, filled up with padding.
        """
        x = (pixels.float() - self.mean) / self.std  # type: ignore[operator]
        prefix: torch.Tensor = self.prefix  # type: ignore[assignment]
        ids = torch.cat([prefix.expand(len(captions), -1), captions[:, :-1]], dim=1)  # nothing follows the last token
        with torch.autocast(self.device.partition(":")[0], torch.bfloat16, enabled=self.bf16):
            states = self.model.model(input_ids=ids, pixel_values=x, use_cache=False).last_hidden_state
            told = captions != self.pad
            logits = self.model.lm_head(states[:, len(prefix) - 1 :][told])
        loss: torch.Tensor = torch.nn.functional.cross_entropy(logits.float(), captions[told], reduction="sum")
        return loss


@dataclass(frozen=True)
class Captioning:
    """What `Loop` trains: a captioner under its loss.

    Args:
        spread: It as this process calls it.
        world: The processes.
        pad: The token of padding.
    """

    spread: Spread
    world: World
    pad: int

    def backward(self, batch: Batch, step: int) -> torch.Tensor:
        """Add a batch's gradients to the weights' and return its loss; the mean over processes is the whole batch's."""
        share = self.world.size / max(1.0, self.world.total(float((batch.tokens != self.pad).sum()))[0])
        total = torch.zeros((), device=self.world.device)
        for pixels, captions in self._parts(batch):
            loss = self.spread.module(pixels, captions) * share
            loss.backward()
            total += loss.detach()
        return total

    def _parts(self, batch: Batch) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield the batch in parts of similar length, each without the padding that all of it has."""
        lengths = (batch.tokens != self.pad).sum(dim=1)
        alone = self.world.gpu or self.world.size > 1  # each part would launch, and gather gradients, anew
        parts = 1 if alone else max(1, min(PARTS, len(lengths) // LEAST))
        for rows in lengths.argsort(stable=True).tensor_split(parts):
            longest = int(lengths[rows].max()) if len(rows) else 0
            yield batch.pixels[rows].to(self.world.device), batch.tokens[rows, :longest].to(self.world.device)

    def after_step(self) -> None:
        """Nothing follows a step."""

    def facts(self) -> dict[str, float]:
        """Return what the log tells beside the loss: nothing."""
        return {}

    def flops(self, batch: Batch) -> float:
        """Return the operations that training on one caption takes."""
        from torch.utils.flop_counter import FlopCounterMode

        counter = FlopCounterMode(display=False)
        with torch.no_grad(), counter:
            for pixels, captions in self._parts(batch):
                self.spread.module(pixels, captions)
        return 3.0 * counter.get_total_flops() / max(1, len(batch.keys))
