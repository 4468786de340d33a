"""A network begun so that it hears all of a text: the first layer that sees text states sees them whitened.

A contrastive text tower's states spread in a few directions, and what tells one word from another is mostly not among those:
in our CLIP of scenes the means of "left" and of "right" lie a tenth of the states' spread apart. Mean and covariance of the
states, of texts of the data set, are folded into the layer's initial weights; the network stays what diffusers opens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from recap_eval.errors import DataError
from recap_train.training_data import spread

if TYPE_CHECKING:
    import torch

    from recap_train.diffusion.encoded import Encoders
    from recap_train.training_data import TrainingData

SAMPLES, BATCH = 256, 64  # samples whose captions count; texts encoded at a time
FLOOR = 1e-3  # of the mean variance: below it a direction is taken for empty


def texts_of(data: TrainingData) -> list[str]:
    """Return the captions, of every role, of some samples at even distances."""
    found = [text for index in spread(len(data), SAMPLES) for text in data.captions_at(index).texts()]
    return [text for text in dict.fromkeys(found) if text.strip()]


def moments_of(encoders: Encoders, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (D,) mean and (D, D) covariance of texts' token states, in float64.

    Raises:
        DataError: There are no two tokens.
    """
    import torch

    found = []
    for start in range(0, len(texts), BATCH):
        states, present = encoders.states(encoders.text.tokens(list(texts[start : start + BATCH])))
        found.append(states[present].double().cpu())
    states = torch.cat(found) if found else torch.zeros(0, encoders.text.width, dtype=torch.float64)
    if len(states) < 2:
        raise DataError("The data set's captions have no tokens to begin from.", "Check which texts they are: --recaption-key")
    return states.mean(dim=0), torch.cov(states.T)


def begin_whitened(network: Any, mean: torch.Tensor, covariance: torch.Tensor) -> None:
    """Draw the layers that project text states anew, for states of mean 0 and variance 1; fold the whitening into the first.

    Args:
        network: diffusers' PixArtTransformer2DModel, as it was begun.
        mean: (D,) of the states.
        covariance: (D, D) of the states.
    """
    import torch

    values, vectors = torch.linalg.eigh(covariance)
    kept = values.clamp(min=FLOOR * float(values.mean()))
    whitening = vectors @ torch.diag(kept.rsqrt()) @ vectors.T
    first, second = network.caption_projection.linear_1, network.caption_projection.linear_2
    with torch.no_grad():
        for layer in (first, second):
            torch.nn.init.normal_(layer.weight, std=layer.weight.shape[1] ** -0.5)
        folded = first.weight.double() @ whitening
        first.weight.copy_(folded)
        first.bias.copy_(-folded @ mean)
