"""A model's weights in a folder, in open_clip's local form."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap_eval.errors import UserError
from recap_eval.files import replacing

if TYPE_CHECKING:
    from recap_train.states import State

WEIGHTS, CONFIG = "open_clip_model.safetensors", "open_clip_config.json"


def write_weights(folder: Path, state: State) -> None:
    """Write whole weights into a folder, as open_clip's local form has them.

    Args:
        folder: Where to.
        state: Weights by name, as `Spread.weights` gives them.
    """
    from safetensors.torch import save

    payload = save({name.removeprefix("model."): tensor.contiguous() for name, tensor in state.items()})
    with replacing(folder / WEIGHTS) as part:
        part.write_bytes(payload)


def load_weights(model: Any, folder: Path) -> None:
    """Load the weights of an artifact into a model of the same shape; fixed positions stay the model's own.

    Learned image positions are resampled where the image size differs, by open_clip.

    Raises:
        UserError: The artifact's model has another shape.
    """
    from open_clip.model import resize_pos_embed
    from safetensors.torch import load_file

    state = load_file(folder / WEIGHTS)
    fixed = [
        name for name, weight in model.named_parameters() if name.endswith("positional_embedding") and not weight.requires_grad
    ]
    state |= {name: model.state_dict()[name] for name in fixed}
    resize_pos_embed(state, model)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        line = str(error).splitlines()[-1].strip()
        raise UserError(f"{folder} does not fit the recipe: {line}", "Start from a model of the same recipe.") from error
