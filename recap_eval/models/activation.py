"""Which activation a checkpoint was trained with: OpenAI's models use QuickGELU, and nothing in a weight file says so.

The wrong one costs points and raises no error (RAIVNLab/sugar-crepe#7, mlfoundations/open_clip#771 are such cases).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap_eval.errors import UserError

if TYPE_CHECKING:
    import torch

    from recap_eval.models.open_clip import OpenClipModel

SCENES = 64  # drawn scenes looked at
SURE, GAIN = 5.0, 0.02  # t-value and share of the loss from which the other activation fits better beyond doubt


def check_params(name: str, path: Path) -> bool:
    """Hold a checkpoint, <run>/checkpoints/epoch_1.pt, against the <run>/params.txt that open_clip's training writes.

    Returns:
        True if there is one and it agrees, False if there is none.

    Raises:
        UserError: It was trained as another model, or with the other activation.
    """
    params = path.resolve().parent.parent / "params.txt"
    if not params.is_file():
        return False
    facts = dict(line.split(": ", 1) for line in params.read_text(encoding="utf-8").splitlines() if ": " in line)
    trained = facts.get("model", name)
    if trained.removesuffix("-quickgelu") != name.removesuffix("-quickgelu"):
        raise UserError(f"{path} was trained as {trained}, not {name} ({params}).", f"Name it {trained}/{path}")
    quick = trained.endswith("-quickgelu") or facts.get("force_quick_gelu") == "True" or facts.get("pretrained") == "openai"
    if quick != name.endswith("-quickgelu"):
        right = f"{name}-quickgelu" if quick else name.removesuffix("-quickgelu")
        raise UserError(f"{path} was trained with {'QuickGELU' if quick else 'GELU'} ({params}).", f"Name it {right}/{path}")
    return True


def doubt(model: OpenClipModel) -> str | None:
    """Say so if a model tells drawn scenes and their captions apart much better with the other activation.

    The contrastive loss of each scene among the others, paired: a model that knows nothing of scenes decides nothing.
    """
    net = model.model
    ours = _losses(model)
    swapped = _swap(net)
    if not swapped:
        return None
    theirs = _losses(model)
    _swap(net)
    gain = ours - theirs
    t = float(gain.mean() / (gain.std() / math.sqrt(len(gain)))) if float(gain.std()) > 0 else 0.0
    if t < SURE or float(gain.mean()) < GAIN * float(ours.mean()) or float(theirs.mean()) > 0.9 * math.log(SCENES):
        return None
    return (
        f"it fits drawn scenes better with the other activation (contrastive loss {theirs.mean():.3f}, not {ours.mean():.3f}; "
        f"t = {t:.1f}). OpenAI's weights, and those tuned from them, are to be named NAME-quickgelu/PATH"
    )


def _losses(model: OpenClipModel) -> torch.Tensor:
    """Return (2 SCENES,) contrastive losses of drawn scenes and their captions, both ways."""
    import torch

    pixels, captions = _scenes(model)
    unit = torch.nn.functional.normalize
    images = unit(model.encode_images(pixels), dim=-1)
    texts = unit(model.encode_texts(captions), dim=-1)
    logits = images @ texts.T * float(model.model.logit_scale.detach().exp())
    target = torch.arange(SCENES, device=logits.device)
    return torch.cat(
        [torch.nn.functional.cross_entropy(x, target, reduction="none").cpu() for x in (logits, logits.T)]
    ).double()


def _scenes(model: OpenClipModel) -> tuple[Any, list[str]]:
    from recap_eval.data.scenes.preview import drawn

    images, captions = drawn(SCENES)
    return model.pixels.batch([model.pixels.load(image, "a drawn scene") for image in images], model.device), captions


def _swap(net: Any) -> bool:
    """Put QuickGELU for GELU and the reverse, in every block; tell whether there was any."""
    import torch
    from open_clip.transformer import QuickGELU

    other = {torch.nn.GELU: QuickGELU, QuickGELU: torch.nn.GELU}
    found = [
        (module, name, other[type(child)])
        for module in net.modules()
        for name, child in module.named_children()
        if type(child) in other
    ]
    for module, name, kind in found:
        setattr(module, name, kind())
    return bool(found)
