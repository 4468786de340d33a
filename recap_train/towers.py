"""Both towers of CLIP behind one forward pass, so that DDP and FSDP see all of a step; masking and image size with them.

This file defines modules, so torch is imported at its top; it is itself imported only where a model is made.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch  # noqa: TID253

from recap_eval.models.text import encode_text_trimmed, is_trimmable, text_tower
from recap_train.engine import Engine
from recap_train.parallel import World

TEXT_CHUNKS = 4  # alt-texts of 5 tokens and recaptions of 40 share a batch


class KeptPatches(torch.nn.Module):
    """Takes the place of open_clip's PatchDropout: lets the patches through that `kept` names, beside the class token."""

    kept: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, 1 + K, D) of (B, 1 + patches, D), or all if nothing is named."""
        if self.kept is None:
            return x
        rows = self.kept[..., None].expand(-1, -1, x.shape[-1])
        return torch.cat([x[:, :1], x[:, 1:].gather(1, rows)], dim=1)


@dataclass(frozen=True)
class Form:
    """How the towers compute.

    Args:
        device: "cpu" or a GPU.
        bf16: Towers under bf16 autocast; features are normalised in fp32 always.
        chunks: Parts of similar length in which texts are encoded, where padding can be left out.
    """

    device: str = "cpu"
    bf16: bool = False
    chunks: int = TEXT_CHUNKS

    @staticmethod
    def of(precision: str, world: World) -> Form:
        """Return the form for a precision ("fp32", "bf16") and a process's device."""
        whole = world.gpu or (world.size > 1 and world.kind == "fsdp")  # each part would gather and launch anew
        return Form(world.device, precision == "bf16", 1 if whole else TEXT_CHUNKS)


class Towers(torch.nn.Module):
    """An open_clip model whose forward pass gives what a contrastive loss takes.

    Args:
        model: open_clip's CLIP or CustomTextCLIP.
        preprocess: The recipe's mean and std, of pixels in [0, 1].
        form: How it computes.
    """

    def __init__(self, model: Any, preprocess: dict[str, Any], form: Form) -> None:
        super().__init__()
        self.model, self.form = model, form
        for name in ("mean", "std"):
            values = torch.tensor(preprocess[name])[:, None, None] * 255
            self.register_buffer(name, values, persistent=False)
        self.trimmed = is_trimmable(model)

    def forward(
        self, pixels: torch.Tensor, tokens: torch.Tensor, kept: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Encode a batch.

        Args:
            pixels: (B, 3, S, S) of 0 to 255, uint8 or float.
            tokens: (B, L) token ids.
            kept: (B, K) indices of the patches that are not masked; None for all.

        Returns:
            (B, D) unit image features, (B, D) unit text features, both fp32, and the logit scale.
        """
        x = (pixels.float() - self.mean) / self.std  # type: ignore[operator]
        with torch.autocast(self.form.device.partition(":")[0], torch.bfloat16, enabled=self.form.bf16):
            with self._masked(kept):
                image = self.model.encode_image(x)
            text = self._encode_text(tokens)
        unit = torch.nn.functional.normalize
        return unit(image.float(), dim=-1), unit(text.float(), dim=-1), self.model.logit_scale.exp()

    @contextlib.contextmanager
    def _masked(self, kept: torch.Tensor | None) -> Iterator[None]:
        """Mask images for one pass only: whoever else calls the model sees whole ones."""
        if kept is None:
            yield
            return
        self.model.visual.patch_dropout.kept = kept
        try:
            yield
        finally:
            self.model.visual.patch_dropout.kept = None

    def _encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        if self.trimmed:
            return encode_text_trimmed(self.model, tokens, self.form.chunks)
        features: torch.Tensor = self.model.encode_text(tokens)
        return features

    @property
    def patches(self) -> int:
        """Patches of an image."""
        high, wide = self.model.visual.grid_size
        return int(high * wide)

    def blocks(self) -> list[torch.nn.Module]:
        """Return the transformer blocks of both towers: nearly all of the weights and the work."""
        return [*self.model.visual.transformer.resblocks, *text_tower(self.model).transformer.resblocks]


def prepare(model: Any, preprocess: dict[str, Any], form: Form, engine: Engine) -> Towers:
    """Return the towers on their device, with what the engine asks for switched on."""
    if masked_share(model, engine):
        model.visual.patch_dropout = KeptPatches()
    if engine.grad_checkpointing:
        model.set_grad_checkpointing()
    towers = Towers(model, preprocess, form).to(form.device)
    if form.device != "cpu":
        towers = towers.to(memory_format=torch.channels_last)
    if engine.compile:  # block by block: one compilation serves all of a tower; names stay, and FSDP's hooks stay outside
        for block in towers.blocks():
            block.forward = torch.compile(block.forward)
    return towers


def masked_share(model: Any, engine: Engine) -> float:
    """Return the share of the patches to mask: the engine's, else what the model's config says."""
    return engine.mask_images or float(getattr(model.visual.patch_dropout, "prob", 0.0))
